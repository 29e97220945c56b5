import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { digestOf } from '../../../test/servers/push.ts'
import type { Digest } from '../../oci/digest.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import { formatLogin, isDeliveryName, type LoopbackLogin, LoopbackRegistry, makeLogin } from './registry.ts'

const manifest = Buffer.from('{"schemaVersion":2}')
const document = {
  descriptor: { mediaType: mediaTypes.dockerManifest, digest: digestOf(manifest), size: manifest.length },
  bytes: manifest,
}
const whole = digestOf('whole')
const cut = digestOf('cut')

async function* bytesOf(digest: Digest): AsyncGenerator<Uint8Array> {
  yield Buffer.from('some bytes')
  if (digest === cut) throw new Error('the layer is wrong')
}

async function open(more: { readonly login?: LoopbackLogin } = {}): Promise<LoopbackRegistry> {
  return await LoopbackRegistry.open({
    ...more,
    documents: [document],
    openBlob: digest => ([whole, cut].includes(digest) ? { read: () => bytesOf(digest) } : undefined),
  })
}

function urlOf({ repository }: LoopbackRegistry, rest: string): string {
  const [host, ...path] = repository.split('/')
  return `http://${host}/v2/${path.join('/')}/${rest}`
}

test('it gives the image by tag and digest, and its blobs as they come', async () => {
  await using registry = await open()
  for (const name of ['latest', document.descriptor.digest]) {
    const answer = await fetch(urlOf(registry, `manifests/${name}`))
    assert.equal(answer.headers.get('content-type'), mediaTypes.dockerManifest)
    assert.equal(answer.headers.get('docker-content-digest'), document.descriptor.digest)
    assert.equal(await answer.text(), manifest.toString())
  }
  assert.equal(await (await fetch(urlOf(registry, `blobs/${whole}`))).text(), 'some bytes')
})

test('a blob that ends with an error cannot be taken for a whole one', async () => {
  await using registry = await open()
  await assert.rejects(fetch(urlOf(registry, `blobs/${cut}`)).then(answer => answer.text()))
})

test('who does not know its name gets nothing, and nobody can write', async () => {
  await using registry = await open()
  const host = registry.repository.split('/')[0]
  const guesses = ['windlass-delivery/x/manifests/latest', `windlass-delivery/blobs/${whole}`, '_catalog', '../../x']
  for (const guess of guesses) assert.equal((await fetch(`http://${host}/v2/${guess}`)).status, 404)
  assert.equal((await fetch(`http://${host}/v2/`)).status, 200)
  assert.equal((await fetch(urlOf(registry, 'manifests/latest'), { method: 'PUT' })).status, 405)
  assert.equal((await fetch(urlOf(registry, `blobs/${digestOf('another')}`))).status, 404)
})

test('who knows its name, as from a command line, but not its password, gets nothing', async () => {
  const login = makeLogin()
  await using registry = await open({ login })
  const given = [undefined, 'Basic', `Basic ${formatLogin({ ...login, password: 'x'.repeat(32) })}`]
  for (const authorization of given)
    for (const rest of ['manifests/latest', `blobs/${whole}`]) {
      const answer = await fetch(
        urlOf(registry, rest),
        authorization === undefined ? {} : { headers: { authorization } },
      )
      assert.deepEqual([answer.status, await answer.text()], [401, ''])
      assert.match(answer.headers.get('www-authenticate') ?? '', /^Basic /)
    }
  const headers = { authorization: `Basic ${formatLogin(login)}` }
  assert.equal(await (await fetch(urlOf(registry, `blobs/${whole}`), { headers })).text(), 'some bytes')
})

test('a TLS greeting, with which docker begins, is answered in plain HTTP', async () => {
  await using registry = await open()
  const [, port] = /:(\d+)\//.exec(registry.repository) ?? []
  const socket = connect(Number(port), '127.0.0.1')
  socket.write(Buffer.from([0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x00]))
  const answer = Buffer.concat(await Array.fromAsync(socket))
  assert.match(answer.toString(), /^HTTP\/1\.1 400 /)
})

test('a name of a delivery is known from any other', () => {
  assert.ok(isDeliveryName(`127.0.0.1:40001/windlass-delivery/${'0a'.repeat(16)}@${whole}`))
  assert.ok(isDeliveryName(`127.0.0.1:40001/windlass-delivery/${'0a'.repeat(16)}:latest`))
  for (const name of [
    '127.0.0.1:40001/windlass-delivery/x:latest',
    'docker.io/library/debian:12',
    `localhost/${whole}`,
  ])
    assert.ok(!isDeliveryName(name))
})
