import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { isWindlassError } from '../../errors.ts'
import { findEndpoint, parseHost } from './endpoint.ts'

let directory: string

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-endpoint-'))
  const id = createHash('sha256').update('far').digest('hex')
  await mkdir(join(directory, 'contexts/meta', id), { recursive: true })
  await mkdir(join(directory, 'contexts/tls', id, 'docker'), { recursive: true })
  const meta = { Name: 'far', Endpoints: { docker: { Host: 'tcp://far.example:2376', SkipTLSVerify: false } } }
  await writeFile(join(directory, 'contexts/meta', id, 'meta.json'), JSON.stringify(meta))
  await writeFile(join(directory, 'contexts/tls', id, 'docker', 'ca.pem'), 'the authority')
  await writeFile(join(directory, 'config.json'), JSON.stringify({ currentContext: 'far' }))
})
after(() => rm(directory, { recursive: true, force: true }))

const far = { kind: 'tcp', host: 'far.example', port: 2376, tls: { verify: true, ca: 'the authority' } }

test('DOCKER_HOST goes before a context, a context before the socket of this host', async () => {
  const env = { DOCKER_CONFIG: directory }
  assert.deepEqual(await findEndpoint({ env: { ...env, DOCKER_HOST: 'unix:///run/d' } }), {
    kind: 'unix',
    path: '/run/d',
  })
  assert.deepEqual(await findEndpoint({ env: { ...env, DOCKER_CONTEXT: 'far' } }), far)
  assert.deepEqual(await findEndpoint({ env }), far)
  assert.deepEqual(await findEndpoint({ env: { DOCKER_CONFIG: '/nonexistent' } }), {
    kind: 'unix',
    path: '/var/run/docker.sock',
  })
})

test('a context that is not there is told by its name', async () => {
  const env = { DOCKER_CONFIG: directory, DOCKER_CONTEXT: 'nowhere' }
  await assert.rejects(findEndpoint({ env }), /there is no context "nowhere"/)
})

test('addresses are read as docker reads them', () => {
  assert.deepEqual(parseHost('tcp://[::1]:2375'), { kind: 'tcp', host: '::1', port: 2375 })
  assert.deepEqual(parseHost('ssh://ops@node-7:2222'), { kind: 'ssh', host: 'node-7', user: 'ops', port: 2222 })
  assert.deepEqual(parseHost('ssh://node-7/run/user/1000/docker.sock'), {
    kind: 'ssh',
    host: 'node-7',
    path: '/run/user/1000/docker.sock',
  })
})

for (const text of [
  'ssh://-oProxyCommand=touch/x',
  'ssh://-l@host',
  'ssh://ops:secret@host',
  'ssh://host/a%20b;id',
  'npipe:////./pipe/docker',
  'unix://relative',
  'docker.sock',
]) {
  test(`${text} is no address`, () => {
    assert.throws(
      () => parseHost(text),
      error => isWindlassError(error, 'USAGE') && !error.message.includes('secret'),
    )
  })
}
