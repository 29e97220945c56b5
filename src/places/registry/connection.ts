import { readFileSync } from 'node:fs'
import { connect, createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { Agent, buildConnector } from 'undici'
import { WindlassError, wrapError } from '../../errors.ts'
import { errorCode, isLoopback } from './http.ts'
import { keepAliveMaxMs, type Timeouts } from './limits.ts'

/**
 * The connections to registries. HTTP/1.1 only: with HTTP/2 all layers would share one connection and its flow-control window, and
 * one stalled socket would stop them all. The certificates are read when the first https connection needs them, and once.
 * @param caFile PEM certificates to trust besides Node's and the system's
 */
export function openAgent(timeouts: Timeouts, caFile?: string): Agent {
  const extra = caFile === undefined ? undefined : readCertificates(caFile)
  const connectPlain = buildConnector({ timeout: timeouts.connectMs, allowH2: false })
  let connectTls: buildConnector.connector | undefined
  return new Agent({
    allowH2: false,
    headersTimeout: timeouts.headersMs,
    bodyTimeout: timeouts.idleMs,
    keepAliveMaxTimeout: keepAliveMaxMs,
    connect: (options, callback) => {
      if (options.protocol !== 'https:') return connectPlain(options, callback)
      connectTls ??= buildConnector({
        timeout: timeouts.connectMs,
        allowH2: false,
        secureContext: openTrust(extra),
      })
      return connectTls(options, callback)
    },
  })
}

function readCertificates(caFile: string): string {
  try {
    return readFileSync(caFile, 'utf8')
  } catch (error) {
    throw wrapError(error, `Cannot read certificates ${caFile}`)
  }
}

/** The system's certificates count, as in docker: that is where a site installs the authority of its own registry. */
function openTrust(extra: string | undefined): SecureContext {
  const known = new Set([...getCACertificates('default'), ...getCACertificates('system')])
  return createSecureContext({ ca: extra === undefined ? [...known] : [...known, extra] })
}

/**
 * Where a registry answers: https, or plain http if that is allowed for the host and it does not speak TLS. Only the handshake is
 * tried, and nothing is sent in it; whether the certificate is good is decided by the first real request.
 * @throws WindlassError NETWORK if nobody listens, CANCELLED
 */
export async function findOrigin(
  host: string,
  plainHttp: (hostname: string) => boolean,
  options: { connectMs: number; signal: AbortSignal },
): Promise<URL> {
  const secure = new URL(`https://${host}`)
  if (!plainHttp(secure.hostname)) return secure
  // The port of an address without one depends on the scheme: with TLS 443, else 80.
  const answer = await tryHandshake(secure, options)
  if (answer === 'tls') return secure
  return new URL(`http://${host}`)
}

/** True for the hosts that may speak plain http without being asked, as in docker. */
export function isPlainHttpAllowed(hostname: string): boolean {
  return isLoopback(hostname)
}

async function tryHandshake(url: URL, options: { connectMs: number; signal: AbortSignal }): Promise<'tls' | 'plain'> {
  const { signal, connectMs } = options
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
    // Without a port, https and http are two ports, so a refusal of one says nothing about the other.
    if (!refused || url.port === '') return resolve('plain')
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
