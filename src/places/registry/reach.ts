import { type ConnectionOptions, findOrigin, isPlainHttpAllowed, openConnections } from './connection.ts'
import { drain, headerOf, openSend } from './http.ts'
import { defaultTimeouts, type Timeouts } from './limits.ts'

/** That a registry answers, and what its first answer tells of it. */
export interface Reached {
  /** Scheme, host and port. */
  readonly origin: string
  readonly status: number
  /** The clock of the registry, or of a cache before it, in milliseconds since 1970. */
  readonly dateMs: number | undefined
  readonly tookMs: number
  /** Whether it speaks the registry protocol, as far as its headers tell. */
  readonly isRegistry: boolean
}

export interface ReachOptions extends ConnectionOptions {
  readonly timeouts?: Partial<Timeouts>
  /** So many bytes more in the request than it needs: several full segments. */
  readonly paddingBytes?: number
  /** Where it answered before. Default: it is found out. */
  readonly origin?: string | undefined
  readonly signal: AbortSignal
}

/**
 * Asks a registry whether it is there (`GET /v2/`), without credentials. Any answer will do.
 * @param host `host[:port]`
 * @throws WindlassError NETWORK, TLS, STALLED, DENIED by a proxy, CANCELLED
 */
export async function reachRegistry(host: string, options: ReachOptions): Promise<Reached> {
  const { signal, proxy, paddingBytes = 0 } = options
  const timeouts = { ...defaultTimeouts, ...options.timeouts }
  const { connectMs, headersMs } = timeouts
  const connections = openConnections(host, timeouts, options)
  try {
    const start = performance.now()
    const find = { plainHttp: isPlainHttpAllowed, proxy, connectMs, signal }
    const origin = options.origin === undefined ? await findOrigin(host, connections, find) : new URL(options.origin)
    const send = openSend(connections.dispatcher, { userAgent: 'windlass', headMs: connectMs + headersMs, proxy })
    const response = await send({
      method: 'GET',
      url: new URL('/v2/', origin),
      headers: paddingBytes === 0 ? {} : { 'x-padding': '-'.repeat(paddingBytes) },
      signal,
      doing: `Cannot reach ${host}`,
    })
    const tookMs = performance.now() - start
    await drain(response)
    const date = Date.parse(headerOf(response, 'date') ?? '')
    const isRegistry =
      headerOf(response, 'docker-distribution-api-version') !== undefined ||
      response.status === 200 ||
      response.status === 401
    return {
      origin: origin.origin,
      status: response.status,
      dateMs: Number.isNaN(date) ? undefined : date,
      tookMs,
      isRegistry,
    }
  } finally {
    await connections.dispatcher.destroy()
  }
}
