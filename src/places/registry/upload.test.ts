import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { isWindlassError } from '../../errors.ts'
import { parseDigest } from '../../oci/digest.ts'
import type { BlobReader } from '../place.ts'
import { noCredentials } from './credentials.ts'
import { openRegistrySink } from './upload.ts'

const bytes = randomBytes(6 * 1024 * 1024)
const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
const descriptor = { mediaType: 'application/octet-stream', digest, size: bytes.length }

interface Behaviour {
  /** Bytes after which the first PATCH is cut. */
  readonly cutAt: number
  /** Whether it says how far an upload came. */
  readonly tells: boolean
}

/** A registry that takes one blob, and breaks off in the middle of it once. */
async function startCuttingRegistry({ cutAt, tells }: Behaviour) {
  let received = Buffer.alloc(0)
  let stored: Buffer | undefined
  let isCut = false
  let uploads = 0
  const seen: string[] = []
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = '', url = '' } = request
    seen.push([method, request.headers['content-range']].filter(text => text !== undefined).join(' '))
    const location = `/v2/app/blobs/uploads/${uploads}`
    if (method === 'HEAD') return void response.writeHead(stored === undefined ? 404 : 200).end()
    if (method === 'POST') {
      received = Buffer.alloc(0)
      uploads++
      return void response.writeHead(202, { location: `/v2/app/blobs/uploads/${uploads}` }).end()
    }
    if (method === 'GET' && !url.includes('uploads')) return void response.writeHead(200).end()
    if (method === 'GET') {
      if (!tells) return void response.writeHead(404).end()
      return void response.writeHead(204, { location, range: `0-${received.length - 1}` }).end()
    }
    for await (const chunk of request as AsyncIterable<Buffer>) {
      received = Buffer.concat([received, chunk])
      if (isCut || received.length < cutAt) continue
      isCut = true
      return void request.socket.destroy()
    }
    if (method === 'PATCH') return void response.writeHead(202, { location }).end()
    stored = received
    response.writeHead(201).end()
  }
  const server = createServer((request, response) => void answer(request, response).catch(() => {}))
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  return {
    domain: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    stored: () => stored,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    },
  }
}

function readerOf(offsets: number[]): BlobReader {
  return {
    isLocal: true,
    open: offset => {
      offsets.push(offset)
      return pieces(offset)
    },
  }
}

async function* pieces(offset: number): AsyncGenerator<Uint8Array> {
  for (let at = offset; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000)
}

async function pushCut(behaviour: Behaviour) {
  await using server = await startCuttingRegistry(behaviour)
  await using sink = openRegistrySink({ domain: server.domain, path: 'app' }, { credentials: noCredentials })
  const signal = AbortSignal.timeout(30_000)
  const offsets: number[] = []
  await assert.rejects(sink.putBlob(descriptor, readerOf(offsets), signal), error => isWindlassError(error, 'NETWORK'))
  await sink.putBlob(descriptor, readerOf(offsets), signal)
  assert.ok(server.stored()?.equals(bytes))
  return { offsets, seen: server.seen }
}

test('an upload that broke off goes on where the registry says that it stopped', async () => {
  const { offsets, seen } = await pushCut({ cutAt: 3_000_000, tells: true })
  const [first, second = 0] = offsets
  assert.equal(first, 0)
  assert.ok(second >= 3_000_000 && second < bytes.length, `went on at ${second}`)
  assert.ok(seen.includes(`PATCH ${second}-${bytes.length - 1}`), seen.join(', '))
})

test('an upload that broke off begins anew where the registry knows nothing of it', async () => {
  const { offsets, seen } = await pushCut({ cutAt: 3_000_000, tells: false })
  assert.deepEqual(offsets, [0, 0])
  assert.equal(seen.filter(line => line === 'POST').length, 2)
})

test('an upload that a registry sends to another place by plain http, or without a place, is refused', async () => {
  for (const location of ['file:///etc/passwd', undefined]) {
    const server = createServer((request, response) => {
      if (request.method !== 'POST') return void response.writeHead(200).end()
      response.writeHead(202, location === undefined ? {} : { location }).end()
    })
    const { promise, resolve } = Promise.withResolvers<void>()
    server.listen(0, '127.0.0.1', resolve)
    await promise
    const domain = `127.0.0.1:${(server.address() as AddressInfo).port}`
    await using sink = openRegistrySink({ domain, path: 'app' }, { credentials: noCredentials })
    const putting = sink.putBlob(descriptor, readerOf([]), AbortSignal.timeout(10_000))
    await assert.rejects(putting, error => isWindlassError(error, 'PROTOCOL'))
    server.closeAllConnections()
    server.close()
  }
})
