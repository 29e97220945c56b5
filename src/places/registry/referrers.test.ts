import assert from 'node:assert/strict'
import { test } from 'node:test'
import { descriptorOf, digestOf } from '../../../test/servers/push.ts'
import { type Exchange, type ScriptedServer, startScriptedServer } from '../../../test/servers/scripted-server.ts'
import { isWindlassError } from '../../errors.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import { parseReference } from '../../oci/reference.ts'
import { cosignTags, referrersTag } from '../../oci/referrers.ts'
import { noCredentials } from './credentials.ts'
import { openRegistry } from './registry.ts'
import { openRegistrySink } from './upload.ts'

const signal = new AbortController().signal
const subject = digestOf('subject')
const one = descriptorOf('one', mediaTypes.ociManifest)
const two = descriptorOf('two', mediaTypes.ociManifest)
const base = '/v2/team/app'
const listing = `GET ${base}/referrers/${subject}`
const headers = { 'content-type': mediaTypes.ociIndex }

function indexOf(...manifests: object[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests })
}

/** cosign's tags are asked for in any case. */
const noTags: Exchange[] = cosignTags(subject).map(tag => ({
  on: `GET ${base}/manifests/${tag}`,
  answer: { status: 404 },
}))

async function listAt(server: ScriptedServer): Promise<string[]> {
  await using source = openRegistry(parseReference(`${server.host}/team/app`), { credentials: noCredentials })
  return ((await source.listReferrers?.(subject, signal)) ?? []).map(({ descriptor }) => descriptor.digest)
}

test('the list of a registry is read page by page, and what cosign tagged is added', async () => {
  const next = `${base}/referrers/${subject}?page=2`
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, layers: [] })
  await using server = await startScriptedServer([
    {
      on: `GET ${base}/manifests/${cosignTags(subject)[0]}`,
      answer: { headers: { 'content-type': mediaTypes.ociManifest }, body: manifest },
    },
    ...noTags,
    { on: listing, answer: { headers: { ...headers, link: `<${next}>; rel="next"` }, body: indexOf(one) } },
    { on: `GET ${next}`, answer: { headers, body: indexOf(two) } },
  ])
  assert.deepEqual(await listAt(server), [one.digest, two.digest, digestOf(manifest)])
})

test('a registry that does not know the list has it under a tag, or has none', async () => {
  for (const status of [404, 405]) {
    await using server = await startScriptedServer([
      ...noTags,
      { on: listing, answer: { status } },
      { on: `GET ${base}/manifests/${referrersTag(subject)}`, answer: { headers, body: indexOf(one) }, times: 1 },
      { on: `GET ${base}/manifests/${referrersTag(subject)}`, answer: { status: 404 } },
    ])
    assert.deepEqual(await listAt(server), [one.digest])
    assert.deepEqual(await listAt(server), [])
  }
})

test('a list that never ends, that leads elsewhere, or that is refused, is an error', async () => {
  const cases = [
    [
      { headers: { ...headers, link: `<${base}/referrers/${subject}>; rel="next"` }, body: indexOf(one) },
      'LIMIT_EXCEEDED',
    ],
    [{ headers: { ...headers, link: '<http://127.0.0.1:1/>; rel="next"' }, body: indexOf(one) }, 'PROTOCOL'],
    [{ status: 403 }, 'DENIED'],
    [{ status: 500 }, 'NETWORK'],
    [{ headers, body: '{' }, 'CORRUPT'],
  ] as const
  for (const [answer, code] of cases) {
    await using server = await startScriptedServer([...noTags, { on: listing, answer }])
    await assert.rejects(listAt(server), error => isWindlassError(error, code))
  }
})

/** Pushes a manifest that refers to the subject. @returns what was put as its list, if anything */
async function push(exchanges: readonly Exchange[], answer: Exchange['answer']): Promise<string | undefined> {
  const config = { ...descriptorOf('{}', mediaTypes.ociEmpty) }
  const referrer = { mediaType: mediaTypes.ociManifest, digest: subject, size: 7 }
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    artifactType: 'application/x-list',
    config,
    layers: [],
    subject: referrer,
  }
  const bytes = Buffer.from(JSON.stringify(document))
  const descriptor = descriptorOf(bytes, mediaTypes.ociManifest)
  await using server = await startScriptedServer([
    { on: `PUT ${base}/manifests/${descriptor.digest}`, answer },
    ...exchanges,
    { on: `PUT ${base}/manifests/${referrersTag(subject)}`, answer: { status: 201 } },
  ])
  await using sink = openRegistrySink(parseReference(`${server.host}/team/app`), { credentials: noCredentials })
  await sink.putDocument({ descriptor, bytes }, {}, signal)
  return server.seen.find(({ on }) => on.endsWith(referrersTag(subject)) && on.startsWith('PUT'))?.body
}

test('what refers to an image is listed by the client where the registry does not say that it does', async () => {
  const known = { on: `GET ${base}/manifests/${referrersTag(subject)}`, answer: { headers, body: indexOf(one) } }
  const listed = JSON.parse((await push([known], { status: 201 })) ?? '{}').manifests
  assert.deepEqual(
    listed.map((entry: { digest: string; artifactType?: string }) => entry.artifactType),
    [undefined, 'application/x-list'],
  )
  const none = { on: known.on, answer: { status: 404 } }
  assert.equal(JSON.parse((await push([none], { status: 201 })) ?? '{}').manifests.length, 1)
  assert.equal(await push([], { status: 201, headers: { 'oci-subject': subject } }), undefined)
})
