import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { digestOf } from './push.ts'

/** How one request for a blob is answered; `bytes` are those from the offset that was asked for. */
export type Fault = (exchange: BlobExchange) => void | Promise<void>

export interface BlobExchange {
  /** Counts from 1 over all requests for blobs. */
  readonly number: number
  readonly offset: number
  readonly end: number
  readonly size: number
  readonly bytes: Buffer
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Status and headers of a right answer: 206 where a range was asked for. */
  head(headers?: Readonly<Record<string, string>>): void
  /** Sends some of the body, and counts it; resolves when the client has taken it. */
  send(bytes: Buffer): Promise<void>
}

export interface FaultyRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string
  /** Requests for blobs, in order. */
  readonly requests: { readonly range: string | undefined; readonly authorization: string | undefined; bytes: number }[]
  /** Most requests for blobs that were being answered at a time. */
  readonly parallelMax: number
  /** How many requests for manifests came. */
  readonly manifestRequests: number
  /** Bytes of blobs handed to sockets. */
  bytesServed(): number
  /** Adds a blob, and gives its digest. */
  add(bytes: Buffer): ReturnType<typeof digestOf>
  /** Adds a manifest under a tag. */
  tag(name: string, type: string, bytes: Buffer): void
}

export interface FaultyRegistryOptions {
  /** How the requests for blobs are answered, in order; what comes after them is answered well. */
  readonly faults?: readonly Fault[]
  /** How all others are answered. */
  readonly always?: Fault
  /** What it takes the time for. */
  readonly date?: string
  /** How requests for manifests are answered, if not well. */
  readonly manifests?: (response: ServerResponse) => void
  /** Speaks https with these. */
  readonly tls?: ServerOptions
  /** Whether it wants Basic credentials, whatever they are. */
  readonly password?: boolean
}

/** A registry on a free port of 127.0.0.1 that serves blobs and manifests from memory, and fails as told. */
export async function startFaultyRegistry(options: FaultyRegistryOptions = {}): Promise<FaultyRegistry> {
  const blobs = new Map<string, Buffer>()
  const manifests = new Map<string, { type: string; bytes: Buffer }>()
  const requests: FaultyRegistry['requests'] = []
  const faults = [...(options.faults ?? [])]
  let active = 0
  let manifestRequests = 0
  let parallelMax = 0
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.on('error', () => {})
    const [, kind, name = ''] = /\/(blobs|manifests)\/([^/?]+)$/.exec(request.url ?? '') ?? []
    if (options.password === true && request.headers.authorization === undefined) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end()
      return
    }
    if (options.date !== undefined) response.setHeader('date', options.date)
    if (request.url === '/v2/') return void response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    const manifest = kind === 'manifests' ? manifests.get(name) : undefined
    const blob = kind === 'blobs' ? blobs.get(name) : undefined
    if (kind === 'manifests') manifestRequests++
    if (kind === 'manifests' && options.manifests !== undefined) return options.manifests(response)
    if (blob === undefined) {
      response.writeHead(manifest === undefined ? 404 : 200, { 'content-type': manifest?.type ?? 'text/plain' })
      response.end(manifest?.bytes)
      return
    }
    const seen = { range: request.headers.range, authorization: request.headers.authorization, bytes: 0 }
    requests.push(seen)
    parallelMax = Math.max(parallelMax, ++active)
    response.on('close', () => active--)
    const fault = faults.shift() ?? options.always ?? well()
    await Promise.resolve(fault(makeExchange(requests.length, blob, request, response, seen))).catch(() => {
      response.destroy()
    })
  }
  const server = options.tls === undefined ? createServer(answer) : createTlsServer(options.tls, answer)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get parallelMax() {
      return parallelMax
    },
    get manifestRequests() {
      return manifestRequests
    },
    bytesServed: () => requests.reduce((sum, { bytes }) => sum + bytes, 0),
    add: bytes => {
      blobs.set(digestOf(bytes), bytes)
      return digestOf(bytes)
    },
    tag: (name, type, bytes) => {
      manifests.set(name, { type, bytes })
      manifests.set(digestOf(bytes), { type, bytes })
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

function makeExchange(
  number: number,
  blob: Buffer,
  request: IncomingMessage,
  response: ServerResponse,
  seen: { bytes: number },
): BlobExchange {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
  const offset = Number(from ?? 0)
  const end = to ? Number(to) + 1 : blob.length
  const size = blob.length
  const range = { 'content-range': `bytes ${offset}-${end - 1}/${size}` }
  const gone = Promise.withResolvers<never>()
  gone.promise.catch(() => {})
  response.once('close', () => gone.reject(new Error('the client is gone')))
  return {
    number,
    offset,
    end,
    size,
    bytes: blob.subarray(offset, end),
    request,
    response,
    head: (headers = {}) => {
      const isPart = from !== undefined
      const length = { 'content-length': String(end - offset), 'accept-ranges': 'bytes' }
      response.strictContentLength = false
      response.writeHead(isPart ? 206 : 200, { ...length, ...(isPart && range), ...headers })
      response.flushHeaders()
    },
    send: async bytes => {
      if (response.destroyed) throw new Error('the client is gone')
      seen.bytes += bytes.length
      const taken = new Promise<void>(resolve => void response.write(bytes, () => resolve()))
      await Promise.race([taken, gone.promise])
    },
  }
}

/** The right answer. */
export function well(): Fault {
  return async exchange => {
    exchange.head()
    await exchange.send(exchange.bytes)
    exchange.response.end()
  }
}

/** After `count` bytes the connection stays open, and nothing more comes. */
export function silentAfter(count: number): Fault {
  return async exchange => {
    exchange.head()
    await exchange.send(exchange.bytes.subarray(0, count))
  }
}

/** After `count` bytes the connection is reset (RST). */
export function resetAfter(count: number): Fault {
  return async exchange => {
    exchange.head()
    await exchange.send(exchange.bytes.subarray(0, count))
    exchange.response.socket?.resetAndDestroy()
  }
}

/** After `count` bytes the answer ends as if that were all; its length is not announced. */
export function endsAfter(count: number): Fault {
  return async exchange => {
    const { offset, end, size, response, request } = exchange
    const range = { 'content-range': `bytes ${offset}-${end - 1}/${size}` }
    response.writeHead(
      request.headers.range === undefined ? 200 : 206,
      request.headers.range === undefined ? {} : range,
    )
    await exchange.send(exchange.bytes.subarray(0, count))
    response.end()
  }
}

/** Sends `count` bytes every `everyMs`. */
export function trickle(count: number, everyMs: number): Fault {
  return async exchange => {
    exchange.head()
    for (let at = 0; at < exchange.bytes.length; at += count) {
      await exchange.send(exchange.bytes.subarray(at, at + count))
      await sleep(everyMs)
    }
    exchange.response.end()
  }
}

/** Ignores the range: status 200 and the whole length. What the client has already is sent as something else. */
export function wholeAlways(): Fault {
  return async exchange => {
    exchange.response.writeHead(200, { 'content-length': String(exchange.size) })
    await exchange.send(Buffer.concat([Buffer.alloc(exchange.offset, 'x'), exchange.bytes]))
    exchange.response.end()
  }
}

/** Says that it answers with another part than was asked for, and does. */
export function otherRange(): Fault {
  return async exchange => {
    if (exchange.request.headers.range === undefined) return well()(exchange)
    const { size, bytes } = exchange
    exchange.head({ 'content-range': `bytes 0-${bytes.length - 1}/${size}` })
    await exchange.send(bytes)
    exchange.response.end()
  }
}

/** A status without a body. */
export function refuses(status: number, headers: Readonly<Record<string, string>> = {}): Fault {
  return ({ response }) => void response.writeHead(status, headers).end()
}

/** Takes the request and never answers. */
export function mute(): Fault {
  return () => {}
}

/** Sends interim answers (103) every `everyMs`, and no other. */
export function interimOnly(everyMs: number): Fault {
  return async ({ request: { socket } }) => {
    while (!socket.destroyed) {
      socket.write('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n')
      await sleep(everyMs)
    }
  }
}

/** Sends a header line every `everyMs`, without end. */
export function endlessHeaders(everyMs: number): Fault {
  return async ({ request: { socket } }) => {
    socket.write('HTTP/1.1 200 OK\r\n')
    for (let line = 0; !socket.destroyed; line++) {
      socket.write(`x-${line}: y\r\n`)
      await sleep(everyMs)
    }
  }
}
