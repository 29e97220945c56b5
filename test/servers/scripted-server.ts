import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'

/** What a scripted server answers. */
export interface Answer {
  /** Default 200. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  /** Content-Length is its length, unless `headers` says otherwise. */
  readonly body?: Uint8Array | string
  /** How long it waits before it answers. Default: not at all. */
  readonly delayMs?: number
  /** After the body: `cut` breaks the connection, `silence` leaves it open and sends nothing more, as does `mute` before any header. */
  readonly ending?: 'cut' | 'silence' | 'mute'
}

/** One line of the table: a request that may come, and its answer. */
export interface Exchange {
  /** `GET /v2/app/blobs/sha256:…?query`, exactly. */
  readonly on: string
  /** Headers the request must have, or, if undefined, must not have. The first exchange that fits answers. */
  readonly with?: Readonly<Record<string, string | undefined>>
  /** How often it may answer. Default: always. */
  readonly times?: number
  readonly answer: Answer | ((request: SeenRequest) => Answer)
}

export interface SeenRequest {
  readonly on: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

export interface ScriptedServer extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string
  readonly url: string
  /** Everything that was asked, in order. */
  readonly seen: readonly SeenRequest[]
  /** Adds lines to the table; they may need to know the server's own address. */
  add(...exchanges: Exchange[]): void
}

/**
 * A faulty registry, as a table of request and answer, on a free port of 127.0.0.1. A request that is not in the table is answered
 * with 599, and disposing then throws.
 * @param tls PEM key and certificate, for https
 */
export async function startScriptedServer(
  exchanges: readonly Exchange[] = [],
  tls?: { key: string; cert: string },
): Promise<ScriptedServer> {
  const table = exchanges.map(exchange => ({ ...exchange, used: 0 }))
  const seen: SeenRequest[] = []
  const unmatched: string[] = []
  const listener = async (incoming: IncomingMessage, response: ServerResponse) => {
    const body = Buffer.concat(await Array.fromAsync(incoming)).toString()
    const request = { on: `${incoming.method} ${incoming.url}`, headers: incoming.headers, body }
    seen.push(request)
    const line = table.find(
      exchange => exchange.used < (exchange.times ?? Number.POSITIVE_INFINITY) && fits(exchange, request),
    )
    if (line === undefined) {
      unmatched.push(`${request.on} ${JSON.stringify(request.headers)}`)
      response.writeHead(599).end()
      return
    }
    line.used += 1
    const answer = typeof line.answer === 'function' ? line.answer(request) : line.answer
    if (answer.delayMs === undefined) send(response, answer)
    else setTimeout(send, answer.delayMs, response, answer)
  }
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    host,
    url: `${tls === undefined ? 'http' : 'https'}://${host}`,
    seen,
    add: (...more) => void table.push(...more.map(exchange => ({ ...exchange, used: 0 }))),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
      if (unmatched.length > 0) throw new Error(`requests that are not in the script:\n${unmatched.join('\n')}`)
    },
  }
}

function fits(exchange: Exchange, request: SeenRequest): boolean {
  const headers = Object.entries(exchange.with ?? {})
  return exchange.on === request.on && headers.every(([name, value]) => request.headers[name] === value)
}

function send(response: ServerResponse, { status = 200, headers = {}, body = '', ending }: Answer): void {
  if (ending === 'mute') return
  const bytes = Buffer.from(body)
  const length = Object.keys(headers).some(name => /^(?:content-length|transfer-encoding)$/i.test(name))
  response.strictContentLength = false
  const all = { ...(!length && { 'content-length': String(bytes.length) }), ...headers }
  response.writeHead(status, all as Record<string, string | string[]>)
  if (ending === undefined) {
    response.end(bytes)
  } else {
    response.write(bytes.length > 0 ? bytes : Buffer.alloc(0), () => {
      if (ending === 'cut') response.socket?.destroy()
    })
    response.flushHeaders()
  }
}
