import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { WindlassError } from '../../errors.ts'
import { errorBytesMax, redirectsMax, streamBufferBytes } from './limits.ts'

/** One request. `doing` is the first half of every message about it: "Cannot read manifest …". */
export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | BodyStream
  readonly signal: AbortSignal
  readonly doing: string
  /** The proxy that it goes through, as `host:port`. */
  readonly via?: string | undefined
}

/** A large body; it may be sent more than once, as after a refusal for want of a token. */
export interface BodyStream {
  readonly size: number
  open(): AsyncIterable<Uint8Array>
}

export interface HttpResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Dispatcher.ResponseData['body']
  /** Where the answer came from, after redirects. */
  readonly url: URL
  readonly via?: string | undefined
}

/** Sends one request and gives the answer whatever its status; wrappers add redirects and access. */
export type Send = (request: HttpRequest) => Promise<HttpResponse>

/** The first value of a header. */
export function headerOf(response: HttpResponse, name: string): string | undefined {
  const value = response.headers[name]
  return typeof value === 'string' ? value : value?.[0]
}

export interface SendOptions {
  readonly userAgent: string
  /** From the request to the last header, connecting included: every interim answer (1xx) starts a dispatcher's own timeout anew. */
  readonly headMs: number
  /** The proxy that the dispatcher takes for an address, for messages. */
  readonly proxy?: ((url: URL) => URL | undefined) | undefined
}

/** One exchange on the wire through a dispatcher. */
export function openSend(dispatcher: Dispatcher, { userAgent, headMs, proxy }: SendOptions): Send {
  return async request => {
    const via = proxy?.(request.url)?.host
    const { method, url, headers, body, signal } = request
    const sinceMs = performance.now()
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(new DOMException('no headers in time', 'TimeoutError')), headMs)
    const isStream = body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array)
    try {
      signal.throwIfAborted()
      const response = await dispatcher.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: {
          'user-agent': userAgent,
          ...headers,
          ...(isStream && { 'content-length': String(body.size) }),
        },
        // While a long body is on its way, it is the body that must not stand still.
        ...(isStream && { headersTimeout: 0 }),
        ...(body === undefined ? {} : { body: isStream ? Readable.from(ticking(body.open(), timer)) : body }),
        signal: AbortSignal.any([signal, late.signal]),
        highWaterMark: streamBufferBytes,
      })
      // A body that is thrown away reports that as an error event, which without a listener would end the process.
      response.body.on('error', () => {})
      return { status: response.statusCode, headers: response.headers, body: response.body, url, via }
    } catch (error) {
      const { signal: ended } = late.signal.aborted && !signal.aborted ? late : request
      throw networkError(error, { ...request, signal: ended, via }, { when: beforeAnswer, sinceMs })
    } finally {
      clearTimeout(timer)
    }
  }
}

/** What a connection takes at a time: small enough that a slow one is seen to move. */
const bodyPieceBytes = 64 * 1024

/** Starts the timer anew with each piece that the connection takes. */
async function* ticking(bytes: AsyncIterable<Uint8Array>, timer: NodeJS.Timeout): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length; at += bodyPieceBytes) {
      timer.refresh()
      yield chunk.subarray(at, at + bodyPieceBytes)
    }
  }
  timer.refresh()
}

/** Reads what is left of an answer nobody wants, so that its connection serves the next request; gives up on a long one. */
export async function drain(response: HttpResponse): Promise<void> {
  try {
    await response.body.dump({ limit: errorBytesMax, signal: AbortSignal.timeout(1_000) })
  } catch {
    response.body.destroy()
  }
}

const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/** Follows redirects of requests without a body by hand. Headers given here go to every host, so no secret may be among them. */
export function withRedirects(send: Send): Send {
  return async request => {
    let response = await send(request)
    for (let hops = 0; redirectStatuses.has(response.status); hops += 1) {
      await drain(response)
      if (hops === redirectsMax) throw refuseHop(request.doing, response.url, `more than ${redirectsMax} redirects`)
      const url = redirectTarget(response, request.doing)
      response = await send({ ...request, url })
    }
    return response
  }
}

function redirectTarget(response: HttpResponse, doing: string): URL {
  const location = headerOf(response, 'location')
  const url = location === undefined ? null : URL.parse(location, response.url)
  if (url === null) throw refuseHop(doing, response.url, `status ${response.status} without a usable Location`)
  checkHop(response.url, url, doing)
  return url
}

/**
 * Refuses what a stranger's address must not make windlass do: leave https for plain http, or reach from another host into the
 * services on this machine's loopback.
 * @throws WindlassError PROTOCOL
 */
export function checkHop(from: URL, to: URL, doing: string): void {
  if (to.protocol !== 'https:' && to.protocol !== 'http:') throw refuseHop(doing, from, 'pointed to something not http')
  if (from.protocol === 'https:' && to.protocol === 'http:') {
    throw refuseHop(doing, from, `pointed from https to plain http at ${to.host}`)
  }
  if (isLoopback(to.hostname) && !isLoopback(from.hostname)) {
    throw refuseHop(doing, from, `pointed to this machine's own ${to.host}`)
  }
}

function refuseHop(doing: string, from: URL, what: string): WindlassError {
  return new WindlassError('PROTOCOL', `${doing}: ${from.host} ${what}; refused`, { facts: { host: from.host } })
}

/** True for localhost, names below it, 127.0.0.0/8 and [::1]. URL has already normalised every other spelling of an address. */
export function isLoopback(hostname: string): boolean {
  return /^(?:(?:.+\.)?localhost\.?|127(?:\.\d+){3}|\[::1\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\])$/.test(hostname)
}

/** Failures of TLS itself, as OpenSSL and Node name them. */
const tlsCode =
  /^(?:ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|EPROTO|UND_ERR_PRX_TLS)/

/** Nobody was there: names that do not resolve, hosts and ports that refuse. */
const connectCode = /^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN)$/

const beforeAnswer = 'before it answered'

/** The last that was seen of a host. */
export interface LastSeen {
  /** How far it had come: "before it answered", "after 12 of 34 bytes". */
  readonly when: string
  /** Since then nothing came, by `performance.now()`. */
  readonly sinceMs: number
}

/** As undici says it: the proxy wants to know who asks, or does not let it pass. Its other answers may pass. */
const proxyRefusal = /^(?:Proxy response \(4\d\d\)|Proxy Authentication Required)/

/** What went wrong on the wire, as an error that names the host, how far it had come, and for how long it had been silent. */
export function networkError(error: unknown, request: HttpRequest, { when, sinceMs }: LastSeen): WindlassError {
  if (error instanceof WindlassError) return error
  const { doing, signal, url, via } = request
  const code = errorCode(error)
  const silentMs = Math.round(performance.now() - sinceMs)
  const host = via === undefined ? url.host : `${url.host} (through proxy ${via})`
  const facts = { host: url.host, cause: code, silentMs, ...(via !== undefined && { proxy: via }) }
  const details = { cause: error, facts }
  const span = `for ${(silentMs / 1000).toFixed(1)} s`
  if (signal.aborted) return abortError(signal.reason, doing, host, `${when}, ${span}`)
  if (code === 'UND_ERR_CONNECT_TIMEOUT') {
    return new WindlassError('NETWORK', `${doing}: no connection to ${host} in time, ${span}`, details)
  }
  if (code === 'UND_ERR_HEADERS_TIMEOUT') {
    return new WindlassError('STALLED', `${doing}: ${host} took the request and did not answer ${span}`, details)
  }
  if (code === 'UND_ERR_BODY_TIMEOUT') {
    return new WindlassError('STALLED', `${doing}: ${host} went silent ${when}, ${span}`, details)
  }
  const text = reasonOf(error) ?? code
  if (via !== undefined && proxyRefusal.test(text)) {
    return new WindlassError('DENIED', `${doing}: proxy ${via} refuses it: ${text}`, {
      ...details,
      hint: 'check HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and what the proxy lets pass; a password goes into the address of the proxy',
    })
  }
  if (tlsCode.test(code)) return new WindlassError('TLS', `${doing}: no TLS with ${host}: ${text}`, details)
  if (connectCode.test(code))
    return new WindlassError('NETWORK', `${doing}: no connection to ${host}: ${text}`, details)
  if (/^(?:HPE_|UND_ERR_HEADERS_OVERFLOW)/.test(code)) {
    return new WindlassError('PROTOCOL', `${doing}: ${host} sent what is not HTTP: ${text}`, details)
  }
  const isUnwelcome = code === 'UND_ERR_SOCKET' && url.protocol === 'https:' && when === beforeAnswer
  return new WindlassError('NETWORK', `${doing}: lost ${host} ${when}: ${text}`, {
    ...details,
    // With TLS 1.3 the refusal comes after the handshake, and may look like the end of the connection.
    ...(isUnwelcome && {
      hint: 'a registry that wants a certificate hangs up without one: --cert and --key, or certs.d',
    }),
  })
}

/** Without what Node advises those who run it by hand, and without the places in OpenSSL's sources. */
function reasonOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const { reason } = error as { reason?: unknown }
  const text = typeof reason === 'string' ? reason : error.message.split('\n')[0]?.split('; if the root CA')[0]
  return text || undefined
}

/** The code of an error, or of the last attempt where several addresses were tried. */
export function errorCode(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return errorCode(error.errors.at(-1))
  const { code, name } = error as { code?: unknown; name?: unknown }
  return typeof code === 'string' ? code : typeof name === 'string' ? name : 'unknown'
}

function abortError(reason: unknown, doing: string, host: string, when: string): WindlassError {
  if (reason instanceof WindlassError) return reason
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new WindlassError('STALLED', `${doing}: ${host} was too slow, out of time ${when}`, { facts: { host } })
  }
  return new WindlassError('CANCELLED', `${doing}: cancelled ${when}`, { cause: reason })
}

/** Waits for what others wait for too: leaving does not stop it. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal, doing: string): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const cancel = () => aborted.reject(new WindlassError('CANCELLED', `${doing}: cancelled`, { cause: signal.reason }))
  if (signal.aborted) cancel()
  signal.addEventListener('abort', cancel, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', cancel)
  }
}
