import { createHash } from 'node:crypto'
import type { Dispatcher } from 'undici'
import { WindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, digestAlgorithm, isDigest, parseDigest } from '../../oci/digest.ts'
import { manifestSizeMax } from '../../oci/manifest.ts'
import { acceptHeader, isIndexType, isManifestType, isSchema1Type } from '../../oci/media-types.ts'
import { quote } from '../../oci/quote.ts'
import { type Reference, registryHost } from '../../oci/reference.ts'
import type { BlobRequest, BlobStream, Document, Source, Target } from '../place.ts'
import { Access, withAccess } from './access.ts'
import { readBlob, readSmall } from './body.ts'
import {
  type ConnectionOptions,
  type Connections,
  findOrigin,
  isPlainHttpAllowed,
  openConnections,
} from './connection.ts'
import type { CredentialSource } from './credentials.ts'
import {
  drain,
  type HttpRequest,
  type HttpResponse,
  headerOf,
  openSend,
  type Send,
  untilAborted,
  withRedirects,
} from './http.ts'
import { defaultTimeouts, type Timeouts } from './limits.ts'
import { mediaTypeOf } from './media-type.ts'
import { checkBlobAnswer, formatRange } from './range.ts'
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
  /** What is read ahead of a blob's consumer; 1 MiB if absent. Less where the rate is limited: what is read ahead has come. */
  readonly readAheadBytes?: number | undefined
  /** Connections made by somebody else, who closes them, as a test. Certificates, proxies and connect timeouts are then theirs. */
  readonly dispatcher?: Dispatcher
}

/**
 * Opens one repository of a registry for reading. Nothing is sent before the first read. Each method is one attempt: retries are
 * the caller's, by the error's `retryable` and `facts.retryAfterMs`.
 * @throws WindlassError REFERENCE_INVALID if the reference's domain cannot be a host and port; USAGE, PERMISSION or FAILED if
 *   certificates cannot be used
 */
export function openRegistry(reference: Reference, options: RegistryOptions): Source {
  checkHost(reference)
  return new RegistrySource(reference, options)
}

/** The grammar of references takes any number for a port, and any for a part of an address. */
function checkHost(reference: Reference): void {
  const host = registryHost(reference)
  if (URL.canParse(`https://${host}`)) return
  const wanted = 'wanted a name or address, and a port of at most 65535'
  throw new WindlassError('REFERENCE_INVALID', `Cannot use registry ${quote(host)}: it is no host[:port]; ${wanted}`)
}

/**
 * The same repository at another host, which gets none of the credentials for the first: it is a registry of its own.
 * @param host `host` or `host:port`
 * @throws WindlassError USAGE if it is anything else
 */
export function parseMirror(host: string, reference: Reference): Reference {
  const url = /^[\w.:[\]-]+$/.test(host) ? URL.parse(`https://${host}`) : null
  if (url === null) throw new WindlassError('USAGE', `Cannot use mirror ${quote(host)}: wanted host or host:port`)
  return { ...reference, domain: host }
}

class RegistrySource implements Source {
  readonly name: string
  readonly #reference: Reference
  readonly #options: RegistryOptions
  readonly #timeouts: Timeouts
  readonly #connections: Connections
  readonly #lifetime = new AbortController()
  #opening: Promise<Connected> | undefined

  constructor(reference: Reference, options: RegistryOptions) {
    this.name = registryHost(reference)
    this.#reference = reference
    this.#options = options
    this.#timeouts = { ...defaultTimeouts, ...options.timeouts }
    this.#connections = { ...openConnections(this.name, this.#timeouts, options), ...pickDispatcher(options) }
  }

  async resolve(target: Target, signal: AbortSignal): Promise<Document> {
    const name = target.digest ?? target.tag ?? 'latest'
    const { response, request } = await this.#get('manifests', name, signal, { accept: acceptHeader })
    const bytes = await readSmall(response, request, manifestSizeMax)
    const digest = checkManifestDigest(response, request, bytes, target.digest)
    const mediaType = mediaTypeOf(headerOf(response, 'content-type'), bytes)
    return { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes }
  }

  async readDocument(descriptor: Descriptor, options: { sizeMax: number; signal: AbortSignal }): Promise<Document> {
    const { digest, size, mediaType } = descriptor
    if (size > options.sizeMax) {
      const message = `Cannot read ${digest} from ${this.name}: it has ${size} bytes; at most ${options.sizeMax} are allowed`
      throw new WindlassError('LIMIT_EXCEEDED', message, { facts: { size, sizeMax: options.sizeMax } })
    }
    const isManifest = isManifestType(mediaType) || isIndexType(mediaType)
    const headers = { accept: isManifest ? acceptHeader : '*/*' }
    const kind = isManifest ? 'manifests' : 'blobs'
    const { response, request } = await this.#get(kind, digest, options.signal, headers)
    const bytes = await readSmall(response, request, size)
    checkDigest(request, response, bytes, digest)
    return { descriptor, bytes }
  }

  async openBlob(descriptor: Descriptor, options: BlobRequest): Promise<BlobStream> {
    const { digest, size } = descriptor
    const wanted = { offset: options.offset < size ? options.offset : 0, end: options.end ?? size, size }
    const connected = await this.#connect(options.signal)
    const plan = this.#plan(connected.origin, 'blobs', digest, options.signal)
    const request = { ...plan, headers: { 'accept-encoding': 'identity', ...plan.headers } }
    const range = formatRange(wanted)
    let response = await connected.send(
      range === undefined ? request : { ...request, headers: { ...request.headers, range } },
    )
    // A cache in between may not know the length yet: then the whole blob is asked for.
    if (response.status === 416 && range !== undefined) {
      await drain(response)
      response = await connected.send(request)
    }
    if (response.status !== 200 && response.status !== 206) throw await connected.refusal(response, request)
    const offset = checkBlobAnswer(response, request, wanted)
    const isPart = response.status === 206
    return {
      offset,
      bytes: readBlob(response, request, {
        offset,
        end: isPart ? wanted.end : size,
        size,
        aheadBytes: this.#options.readAheadBytes,
      }),
      servesRanges: isPart || headerOf(response, 'accept-ranges')?.trim() === 'bytes',
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lifetime.abort(new WindlassError('CANCELLED', `Cannot read from ${this.name}: closed`))
    if (this.#options.dispatcher === undefined) await this.#connections.dispatcher.destroy()
  }

  /** A whole small answer is bounded as a whole: its request ends with the caller's signal or after `documentMs`. */
  async #get(
    kind: 'manifests' | 'blobs',
    name: string,
    caller: AbortSignal,
    headers: Readonly<Record<string, string>>,
  ): Promise<{ response: HttpResponse; request: HttpRequest }> {
    const connected = await this.#connect(caller)
    const signal = AbortSignal.any([caller, AbortSignal.timeout(this.#timeouts.documentMs)])
    const plan = this.#plan(connected.origin, kind, name, signal)
    const request = { ...plan, headers: { ...plan.headers, ...headers } }
    const response = await connected.send(request)
    if (response.status !== 200) throw await connected.refusal(response, request)
    return { response, request }
  }

  #plan(origin: URL, kind: 'manifests' | 'blobs', name: string, signal: AbortSignal): HttpRequest {
    const { path, domain } = this.#reference
    const what = kind === 'blobs' ? 'blob' : 'manifest'
    return {
      method: 'GET',
      url: new URL(`/v2/${path}/${kind}/${name}`, origin),
      headers: { accept: '*/*' },
      signal,
      doing: `Cannot read ${what} ${name} of ${domain}/${path}`,
    }
  }

  /** Finds out once how the registry is reached; a failure is not remembered. */
  async #connect(signal: AbortSignal): Promise<Connected> {
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
    const { connectMs, headersMs } = this.#timeouts
    const origin = await findOrigin(this.name, this.#connections, { plainHttp, proxy, connectMs, signal })
    const send = openSend(this.#connections.dispatcher, { userAgent, headMs: connectMs + headersMs, proxy })
    const access = new Access({
      origin,
      host: this.#reference.domain,
      scope: `repository:${this.#reference.path}:pull`,
      credentials,
      trustedRealms,
      send,
      tokenMs: this.#timeouts.documentMs,
      lifetime: this.#lifetime.signal,
    })
    const refusal = (response: HttpResponse, request: HttpRequest) => {
      const isDenied = response.status === 401 || response.status === 403
      return statusError(response, request, isDenied && response.url.origin === origin.origin ? access.denial : {})
    }
    return { origin, send: withRedirects(withAccess(send, access)), refusal }
  }
}

function pickDispatcher({ dispatcher }: RegistryOptions): { dispatcher?: Dispatcher } {
  return dispatcher === undefined ? {} : { dispatcher }
}

interface Connected {
  readonly origin: URL
  readonly send: Send
  /** What an answer without the wanted status means. */
  readonly refusal: (response: HttpResponse, request: HttpRequest) => Promise<WindlassError>
}

/** The digest that the bytes really have; what was asked for, or else what the registry states, must agree with it. */
function checkManifestDigest(
  response: HttpResponse,
  request: HttpRequest,
  bytes: Uint8Array,
  wanted: Digest | undefined,
): Digest {
  const stated = headerOf(response, 'docker-content-digest')
  // The digest of a signed schema 1 manifest is that of its payload; such a manifest is refused later, by its type.
  const isSigned = isSchema1Type(mediaTypeOf(headerOf(response, 'content-type'), bytes))
  const expected = wanted ?? (stated !== undefined && isDigest(stated) && !isSigned ? stated : undefined)
  if (expected === undefined) return hashOf(bytes, 'sha256')
  checkDigest(request, response, bytes, expected)
  return expected
}

function checkDigest(request: HttpRequest, response: HttpResponse, bytes: Uint8Array, expected: Digest): void {
  const actual = hashOf(bytes, digestAlgorithm(expected))
  if (actual === expected) return
  const { host } = response.url
  const message = `${request.doing}: ${host} sent ${bytes.byteLength} bytes with ${actual}; wanted ${expected}`
  throw new WindlassError('DIGEST_MISMATCH', message, { facts: { host, actual, expected } })
}

function hashOf(bytes: Uint8Array, algorithm: string): Digest {
  return parseDigest(`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`)
}
