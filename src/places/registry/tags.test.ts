import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startScriptedServer } from '../../../test/servers/scripted-server.ts'
import { isWindlassError } from '../../errors.ts'
import { parseReference } from '../../oci/reference.ts'
import { noCredentials } from './credentials.ts'
import { listTags } from './tags.ts'

const signal = new AbortController().signal
const list = '/v2/team/app/tags/list'
const bodyOf = (...tags: string[]): string => JSON.stringify({ name: 'team/app', tags })

test('tags are listed page by page, and a page that brings nothing new is the last', async () => {
  const link = { link: `<${list}?n=1000&last=b>; rel="next"` }
  await using server = await startScriptedServer([
    { on: `GET ${list}?n=1000`, answer: { headers: link, body: bodyOf('a', 'b') } },
    { on: `GET ${list}?n=1000&last=b`, answer: { headers: link, body: bodyOf('c') }, times: 1 },
    { on: `GET ${list}?n=1000&last=b`, answer: { headers: link, body: bodyOf('c') }, times: 1 },
  ])
  const reference = parseReference(`${server.host}/team/app`)
  assert.deepEqual(await listTags(reference, { credentials: noCredentials }, signal), ['a', 'b', 'c'])
})

test('a next page on another host is not asked for', async () => {
  await using stranger = await startScriptedServer([{ on: `GET ${list}`, answer: { body: bodyOf('c') } }])
  const headers = { link: `<http://${stranger.host}${list}>; rel="next"` }
  await using server = await startScriptedServer([{ on: `GET ${list}?n=1000`, answer: { headers, body: bodyOf('a') } }])
  const reference = parseReference(`${server.host}/team/app`)
  const listed = listTags(reference, { credentials: noCredentials }, signal)
  await assert.rejects(listed, error => isWindlassError(error, 'PROTOCOL') && /another host/.test(error.message))
})
