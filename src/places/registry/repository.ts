import type { Dispatcher } from 'undici'
import { WindlassError } from '../../errors.ts'
import { quote } from '../../oci/quote.ts'
import { type Reference, registryHost } from '../../oci/reference.ts'
import { Access, withAccess } from './access.ts'
import {
  type ConnectionOptions,
  type Connections,
  findOrigin,
  isPlainHttpAllowed,
  openConnections,
} from './connection.ts'
import type { CredentialSource } from './credentials.ts'
import { type HttpRequest, type HttpResponse, openSend, type Send, untilAborted, withRedirects } from './http.ts'
import { defaultTimeouts, type Timeouts } from './limits.ts'
import { statusError } from './status.ts'

export interface RegistryOptions extends ConnectionOptions {
  /** Asked once the registry wants credentials, with the domain of the reference. */
  readonly credentials: CredentialSource
  /** The hosts (names without port) that are tried by plain http if they speak no TLS. Default: loopback only. */
  readonly plainHttp?: (hostname: string) => boolean
  readonly timeouts?: Partial<Timeouts>
  /** Token services (host:port) that may get this registry's credentials though their domain is another. */
  readonly trustedRealms?: readonly string[]
  readonly userAgent?: string
  /** Most bytes of a blob that one request brings to the registry; all that is left of it if absent. */
  readonly chunkSize?: number | undefined
  /** What is read ahead of a blob's consumer; 1 MiB if absent. Less where the rate is limited: what is read ahead has come. */
  readonly readAheadBytes?: number | undefined
  /** Connections made by somebody else, who closes them, as a test. Certificates, proxies and connect timeouts are then theirs. */
  readonly dispatcher?: Dispatcher
}

/** The grammar of references takes any number for a port, and any for a part of an address. */
function checkHost(reference: Reference): void {
  const host = registryHost(reference)
  if (URL.canParse(`https://${host}`)) return
  const wanted = 'wanted a name or address, and a port of at most 65535'
  throw new WindlassError('REFERENCE_INVALID', `Cannot use registry ${quote(host)}: it is no host[:port]; ${wanted}`)
}

/** One repository of a registry: its connections and the access to it. Nothing is sent before the first `connect`. */
export class Repository implements AsyncDisposable {
  readonly name: string
  readonly timeouts: Timeouts
  readonly readAheadBytes: number | undefined
  readonly #reference: Reference
  readonly #options: RegistryOptions
  readonly #actions: 'pull' | 'pull,push'
  readonly #connections: Connections
  readonly #lifetime = new AbortController()
  #opening: Promise<Connected> | undefined

  constructor(reference: Reference, options: RegistryOptions, actions: 'pull' | 'pull,push') {
    checkHost(reference)
    this.name = registryHost(reference)
    this.#reference = reference
    this.#options = options
    this.#actions = actions
    this.readAheadBytes = options.readAheadBytes
    this.timeouts = { ...defaultTimeouts, ...options.timeouts }
    this.#connections = { ...openConnections(this.name, this.timeouts, options), ...pickDispatcher(options) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lifetime.abort(new WindlassError('CANCELLED', `Cannot use ${this.name}: closed`))
    if (this.#options.dispatcher === undefined) await this.#connections.dispatcher.destroy()
  }

  /** Finds out once how the registry is reached; a failure is not remembered. */
  async connect(signal: AbortSignal): Promise<Connected> {
    this.#opening ??= this.#open(this.#lifetime.signal).catch(error => {
      this.#opening = undefined
      throw error
    })
    return untilAborted(this.#opening, signal, `Cannot connect to ${this.name}`)
  }

  async #open(signal: AbortSignal): Promise<Connected> {
    const {
      credentials,
      trustedRealms = [],
      plainHttp = isPlainHttpAllowed,
      userAgent = 'windlass',
      proxy,
    } = this.#options
    const { connectMs, headersMs } = this.timeouts
    const origin = await findOrigin(this.name, this.#connections, { plainHttp, proxy, connectMs, signal })
    const send = openSend(this.#connections.dispatcher, { userAgent, headMs: connectMs + headersMs, proxy })
    const access = new Access({
      origin,
      host: this.#reference.domain,
      scope: `repository:${this.#reference.path}:${this.#actions}`,
      credentials,
      trustedRealms,
      send,
      tokenMs: this.timeouts.documentMs,
      lifetime: this.#lifetime.signal,
    })
    const refusal = (response: HttpResponse, request: HttpRequest) => {
      const isDenied = response.status === 401 || response.status === 403
      return statusError(response, request, isDenied && response.url.origin === origin.origin ? access.denial : {})
    }
    const direct = withAccess(send, access)
    return { origin, direct, send: withRedirects(direct), refusal }
  }
}

function pickDispatcher({ dispatcher }: RegistryOptions): { dispatcher?: Dispatcher } {
  return dispatcher === undefined ? {} : { dispatcher }
}

export interface Connected {
  readonly origin: URL
  /** Follows redirects, which only a request without a body can. */
  readonly send: Send
  readonly direct: Send
  /** What an answer without the wanted status means. */
  readonly refusal: (response: HttpResponse, request: HttpRequest) => Promise<WindlassError>
}
