import { isIP } from 'node:net'
import { connect } from 'node:tls'
import type { buildConnector as Connector, Dispatcher, ProxyAgent, Pool as UndiciPool } from 'undici'
import { WindlassError } from '../../errors.ts'
import { errorCode, isLoopback } from './http.ts'
import { keepAliveMaxMs, type Timeouts } from './limits.ts'
import type { ProxyChoice } from './proxy.ts'
import { connectInSmallSegments } from './small-segments.ts'
import { Trust, type TrustOptions } from './trust.ts'
import { Agent, buildConnector, loadProxyAgent, Pool } from './undici.ts'

/** How hosts are reached. */
export interface ConnectionOptions extends TrustOptions {
  /** The proxy for an address; none if absent. */
  readonly proxy?: ProxyChoice | undefined
  /** The largest TCP segment to send and to want, to try a path; not where a proxy is on it. Default: what the path seems to take. */
  readonly segmentMax?: number | undefined
}

/** The connections of one registry, and to where it leads. */
export interface Connections {
  readonly dispatcher: Dispatcher
  readonly trust: Trust
}

/**
 * Opens connections to a registry. HTTP/1.1 only: with HTTP/2 all layers would share one connection and its flow-control window, and
 * one stalled socket would stop them all.
 */
export function openConnections(registry: string, timeouts: Timeouts, options: ConnectionOptions): Connections {
  const trust = new Trust(registry, options)
  const limits = {
    allowH2: false,
    headersTimeout: timeouts.headersMs,
    bodyTimeout: timeouts.idleMs,
    keepAliveMaxTimeout: keepAliveMaxMs,
  }
  const dispatcher = new Agent({
    ...limits,
    factory: origin => {
      const url = new URL(origin)
      const proxy = options.proxy?.(url)
      const connector = { timeout: timeouts.connectMs, allowH2: false }
      const secure = url.protocol === 'https:' ? { ...connector, ...trust.mannerFor(url) } : connector
      const { segmentMax } = options
      const connect = segmentMax === undefined ? buildConnector(secure) : connectInSmallSegments(secure, segmentMax)
      if (proxy === undefined) return new Pool(origin, { ...limits, connect })
      return openProxy(proxy, { ...limits, requestTls: secure }, { ...connector, ...trust.mannerFor(proxy) }, timeouts)
    },
  })
  return { dispatcher, trust }
}

function openProxy(
  proxy: URL,
  options: Omit<ProxyAgent.Options, 'uri'>,
  proxyTls: NonNullable<ProxyAgent.Options['proxyTls']>,
  { connectMs }: Timeouts,
): ProxyAgent {
  const ViaProxy = loadProxyAgent()
  return new ViaProxy({
    ...options,
    uri: proxy.href,
    proxyTls,
    connectTimeout: connectMs,
    // A proxy that takes CONNECT and never answers would hold this and all later requests.
    clientFactory: (origin, more) => openToProxy(origin, { ...more, headersTimeout: connectMs }),
    factory: openToProxy,
  })
}

/** TLS knows no names that are addresses, and Node refuses to ask for one. */
function openToProxy(origin: string | URL, options: object): UndiciPool {
  const { connect, ...rest } = options as { connect?: Connector.connector }
  if (connect === undefined) return new Pool(origin, rest)
  return new Pool(origin, {
    ...rest,
    connect: ({ servername, ...to }, callback) =>
      connect({ ...to, ...(servername !== undefined && isIP(servername) === 0 && { servername }) }, callback),
  })
}

export interface FindOptions {
  /** Hosts that may speak plain http, besides those that need not be secure. */
  readonly plainHttp: (hostname: string) => boolean
  readonly proxy?: ProxyChoice | undefined
  readonly connectMs: number
  readonly signal: AbortSignal
}

/**
 * Where a registry answers: https, or plain http if that is allowed for the host and it does not speak TLS. Only the handshake is
 * tried, and nothing is sent in it; whether the certificate is good is decided by the first real request.
 * @throws WindlassError NETWORK if nobody listens, CANCELLED
 */
export async function findOrigin(host: string, { dispatcher, trust }: Connections, options: FindOptions): Promise<URL> {
  const secure = new URL(`https://${host}`)
  if (!options.plainHttp(secure.hostname) && !trust.isInsecure(secure)) return secure
  // The port of an address without one depends on the scheme: with TLS 443, else 80.
  const plain = new URL(`http://${host}`)
  const answer =
    options.proxy?.(secure) === undefined
      ? await tryHandshake(secure, { ...options, isReachable: options.proxy?.(plain) === undefined })
      : await tryRequest(secure, dispatcher, options)
  if (answer === 'tls') return secure
  return plain
}

/** True for the hosts that may speak plain http without being asked, as in docker. */
export function isPlainHttpAllowed(hostname: string): boolean {
  return isLoopback(hostname)
}

/** @param options `isReachable` is false where only a proxy for plain http may reach the host */
async function tryHandshake(
  url: URL,
  options: { connectMs: number; signal: AbortSignal; isReachable: boolean },
): Promise<'tls' | 'plain'> {
  const { signal, connectMs, isReachable } = options
  const doing = `Cannot connect to ${url.host}`
  if (signal.aborted) throw new WindlassError('CANCELLED', `${doing}: cancelled`, { cause: signal.reason })
  const { promise, resolve, reject } = Promise.withResolvers<'tls' | 'plain'>()
  const hostname = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = Number(url.port || 443)
  const socket = connect({ host: hostname, port, rejectUnauthorized: false })
  const cancel = () => reject(new WindlassError('CANCELLED', `${doing}: cancelled`, { cause: signal.reason }))
  signal.addEventListener('abort', cancel, { once: true })
  socket.once('secureConnect', () => resolve('tls'))
  // A server that waits for a line of HTTP may just stay silent, or send what never becomes a handshake.
  const timer = setTimeout(() => resolve('plain'), connectMs)
  socket.once('error', error => {
    const refused = /^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/.test(errorCode(error))
    // To refuse a handshake for want of a certificate is to speak TLS.
    if (/^ERR_SSL_.*_ALERT_/.test(errorCode(error))) return resolve('tls')
    // Without a port, https and http are two ports, so a refusal of one says nothing about the other.
    if (!refused || url.port === '' || !isReachable) return resolve('plain')
    reject(new WindlassError('NETWORK', `${doing}: ${error.message}`, { cause: error, facts: { host: url.host } }))
  })
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', cancel)
    socket.on('error', () => {})
    socket.destroy()
  }
}

/** Behind a proxy a handshake alone cannot be tried: any answer over TLS will do. What fails is told by the first real request. */
async function tryRequest(
  url: URL,
  dispatcher: Dispatcher,
  { connectMs, signal }: FindOptions,
): Promise<'tls' | 'plain'> {
  try {
    const response = await dispatcher.request({
      origin: url.origin,
      path: '/v2/',
      method: 'GET',
      signal: AbortSignal.any([signal, AbortSignal.timeout(connectMs)]),
    })
    response.body.on('error', () => {}).destroy()
    return 'tls'
  } catch (error) {
    if (!signal.aborted) return 'plain'
    throw new WindlassError('CANCELLED', `Cannot connect to ${url.host}: cancelled`, { cause: error })
  }
}
