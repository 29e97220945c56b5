/** An HTTP proxy in front of a registry that counts what passes, and passes it no faster than told. */
import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

export interface ProxiedRequest {
  readonly method: string
  readonly path: string
  readonly range: string | undefined
  status: number
  /** Bytes of the body handed on to the client so far. */
  bytes: number
}

export interface RegistryProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT`, for references. */
  readonly host: string
  /** Every request since the start, or since this list was emptied. */
  readonly requests: ProxiedRequest[]
  /** Body bytes of all blobs in `requests`. */
  blobBytes(): number
  /** For each connection; Infinity to let everything pass. */
  bytesPerSecond: number
  /** Breaks every connection that a body is on. */
  cut(): void
  /** Leaves every connection that a body is on open, and never sends on it again. */
  freeze(): void
}

/** @param target `host:port` of the registry behind */
export async function startProxy(target: string, bytesPerSecond: number): Promise<RegistryProxy> {
  const requests: ProxiedRequest[] = []
  const bodies = new Set<ServerResponse>()
  const frozen = new WeakSet<ServerResponse>()
  const server = createServer((incoming, outgoing) => {
    const seen: ProxiedRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      range: incoming.headers.range,
      status: 0,
      bytes: 0,
    }
    requests.push(seen)
    bodies.add(outgoing)
    outgoing.on('close', () => bodies.delete(outgoing))
    passOn(target, incoming, outgoing, seen, { proxy, frozen }).catch(() => outgoing.destroy())
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  const proxy: RegistryProxy = {
    host: `127.0.0.1:${address.port}`,
    requests,
    bytesPerSecond,
    blobBytes: () => requests.filter(({ path }) => path.includes('/blobs/')).reduce((sum, { bytes }) => sum + bytes, 0),
    cut: () => bodies.forEach(body => void body.destroy()),
    freeze: () => bodies.forEach(body => void frozen.add(body)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    },
  }
  return proxy
}

async function passOn(
  target: string,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  seen: ProxiedRequest,
  { proxy, frozen }: { proxy: RegistryProxy; frozen: WeakSet<ServerResponse> },
): Promise<void> {
  const upstream = await ask(target, incoming)
  outgoing.on('close', () => upstream.destroy())
  seen.status = upstream.statusCode ?? 0
  outgoing.writeHead(seen.status, upstream.headers)
  let dueMs = performance.now()
  for await (const chunk of upstream as AsyncIterable<Buffer>) {
    if (frozen.has(outgoing)) await once(outgoing, 'close')
    if (outgoing.destroyed) return
    seen.bytes += chunk.length
    const isFull = !outgoing.write(chunk)
    dueMs = Math.max(dueMs, performance.now() - 100) + (chunk.length / proxy.bytesPerSecond) * 1000
    if (dueMs > performance.now()) await sleep(dueMs - performance.now())
    else if (isFull) await drained(outgoing)
  }
  outgoing.end()
}

interface BufferingProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT`, for references. */
  readonly host: string
  /** Breaks every connection. */
  cut(): void
}

/** A proxy that looks through all that it passes on, and so sends nothing of it before it has the whole. */
export async function startBufferingProxy(target: string): Promise<BufferingProxy> {
  const server = createServer((incoming, outgoing) => {
    const passWhole = async () => {
      const upstream = await ask(target, incoming)
      outgoing.on('close', () => upstream.destroy())
      const body = Buffer.concat(await Array.fromAsync(upstream as AsyncIterable<Buffer>))
      outgoing.writeHead(upstream.statusCode ?? 0, upstream.headers).end(body)
    }
    passWhole().catch(() => outgoing.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  return {
    host: `127.0.0.1:${address.port}`,
    cut: () => server.closeAllConnections(),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    },
  }
}

function ask(target: string, incoming: IncomingMessage): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const url = `http://${target}${incoming.url}`
  incoming.pipe(httpRequest(url, { method: incoming.method, headers: incoming.headers }, resolve).on('error', reject))
  return promise
}

/** Resolves when more may be written, or when there is nobody left to write to. */
async function drained(outgoing: ServerResponse): Promise<void> {
  const gone = new AbortController()
  const leave = () => gone.abort()
  outgoing.once('close', leave)
  await once(outgoing, 'drain', { signal: gone.signal }).catch(() => {})
  outgoing.off('close', leave)
}
