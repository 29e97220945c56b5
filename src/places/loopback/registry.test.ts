import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
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

async function open(more: { readonly login?: LoopbackLogin } = {}, patienceMs?: number): Promise<LoopbackRegistry> {
  const image = {
    ...more,
    documents: [document],
    openBlob: (digest: Digest) => ([whole, cut].includes(digest) ? { read: () => bytesOf(digest) } : undefined),
  }
  return await LoopbackRegistry.open(image, patienceMs)
}

/** What waits fails, and lets go of its sockets. */
const soon = () => ({ signal: AbortSignal.timeout(10_000) })

async function connectTo({ repository }: LoopbackRegistry): Promise<Socket> {
  const socket = connect(Number(/:(\d+)\//.exec(repository)?.[1]), '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
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
  const socket = await connectTo(registry)
  socket.write(Buffer.from([0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x00]))
  const answer = Buffer.concat(await Array.fromAsync(socket))
  assert.match(answer.toString(), /^HTTP\/1\.1 400 /)
})

test('connections of others, however many, do not keep the engine out', async () => {
  for (const login of [undefined, makeLogin()]) {
    await using registry = await open(login === undefined ? {} : { login })
    const headers: Record<string, string> = login === undefined ? {} : { authorization: `Basic ${formatLogin(login)}` }
    const engine = await connectTo(registry)
    const [host = '', ...path] = registry.repository.split('/')
    const lines = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
    const request = `GET /v2/${path.join('/')}/blobs/${whole} HTTP/1.1\r\n${lines.join('')}\r\n`
    engine.write(request)
    await once(engine, 'data', soon())
    const strangers: Socket[] = []
    for (let at = 0; at < 80; at++) strangers.push(await connectTo(registry))
    assert.equal(await (await fetch(urlOf(registry, `blobs/${whole}`), { headers, ...soon() })).text(), 'some bytes')
    engine.write(request)
    assert.match(String(await once(engine, 'data', soon())), /200 OK/)
    for (const socket of [engine, ...strangers]) socket.destroy()
  }
})

test('who does not show that he is the engine is shown out', async () => {
  await using registry = await open({}, 50)
  const stranger = await connectTo(registry)
  await once(stranger.resume(), 'close', soon())
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
