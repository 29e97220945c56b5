import { createHash } from 'node:crypto'
import { WindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, parseDigest } from '../../oci/digest.ts'
import { present } from '../../oci/json.ts'
import { manifestSizeMax, parseDocument } from '../../oci/manifest.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import type { Reference } from '../../oci/reference.ts'
import { referrersTag } from '../../oci/referrers.ts'
import type { BlobReader, Document, Placement, Sink } from '../place.ts'
import { readSmall } from './body.ts'
import { type BodyStream, checkHop, drain, type HttpRequest, type HttpResponse, headerOf } from './http.ts'
import { type Connected, type RegistryOptions, Repository } from './repository.ts'

/** Up to here a blob goes with the request that ends its upload. */
const monolithicMax = 4 * 1024 * 1024

/**
 * Opens one repository of a registry for writing (distribution-spec, "Push"). Nothing is sent before the first call. Each call is one attempt: a second
 * `putBlob` of the same blob goes on where the registry says that the first one stopped.
 * @throws WindlassError REFERENCE_INVALID, PERMISSION or FAILED as `openRegistry`
 */
export function openRegistrySink(reference: Reference, options: RegistryOptions): Sink {
  return new RegistrySink(reference, new Repository(reference, options, 'pull,push'), options.chunkSize)
}

type Method = HttpRequest['method']

class RegistrySink implements Sink {
  readonly name: string
  readonly onePlatform = false
  readonly keepsReferrers = true
  readonly isOnePass = false
  readonly #reference: Reference
  readonly #repository: Repository
  readonly #chunkSize: number
  /** Where the uploads that broke off go on. */
  readonly #broken = new Map<Digest, URL>()

  constructor(reference: Reference, repository: Repository, chunkSize = Number.POSITIVE_INFINITY) {
    this.name = repository.name
    this.#chunkSize = chunkSize
    this.#reference = reference
    this.#repository = repository
  }

  async hasBlob({ digest }: Descriptor, signal: AbortSignal): Promise<boolean> {
    const connected = await this.#repository.connect(signal)
    const request = this.#plan('HEAD', this.#url(connected, `blobs/${digest}`), {
      signal,
      doing: `Cannot look for blob ${digest} in ${this.#where}`,
    })
    const response = await connected.direct(request)
    await drain(response)
    if (response.status === 404) return false
    // A redirect leads to where the blob lies: it would not, if there were none.
    if (response.status >= 200 && response.status < 400) return true
    throw await connected.refusal(response, request)
  }

  async putBlob(descriptor: Descriptor, blob: BlobReader, signal: AbortSignal): Promise<void> {
    const upload = new BlobUpload(await this.#repository.connect(signal), descriptor, {
      start: connected => this.#url(connected, 'blobs/uploads/'),
      plan: (method, url) =>
        this.#plan(method, url, { signal, doing: `Cannot push blob ${descriptor.digest} to ${this.#where}` }),
      broken: this.#broken,
      chunkSize: this.#chunkSize,
    })
    await upload.run(blob)
  }

  async putDocument(document: Document, { tag }: Placement, signal: AbortSignal): Promise<void> {
    const { isListed } = await this.#putManifest(document, tag ?? document.descriptor.digest, signal)
    const { subject, ...parsed } = parseDocument(document.bytes, { contentType: document.descriptor.mediaType })
    if (subject === undefined || isListed) return
    const artifactType = parsed.artifactType ?? (parsed.kind === 'manifest' ? parsed.config.mediaType : undefined)
    await this.#list(
      subject.digest,
      { ...document.descriptor, ...present({ artifactType, annotations: parsed.annotations }) },
      signal,
    )
  }

  /**
   * Distribution-spec, "Pushing Manifests with Subject": a registry that does not list by itself what refers to a document has it in an index under a tag, which
   * the client keeps. Whoever does so at the same time may undo it: the specification has no remedy.
   */
  async #list(subject: Digest, referrer: Descriptor, signal: AbortSignal): Promise<void> {
    const tag = referrersTag(subject)
    const connected = await this.#repository.connect(signal)
    const plan = this.#plan('GET', this.#url(connected, `manifests/${tag}`), {
      signal: AbortSignal.any([signal, AbortSignal.timeout(this.#repository.timeouts.documentMs)]),
      doing: `Cannot read the referrers of ${subject} in ${this.#where}`,
    })
    const request = { ...plan, headers: { ...plan.headers, accept: mediaTypes.ociIndex } }
    const response = await connected.send(request)
    if (response.status !== 200 && response.status !== 404) throw await connected.refusal(response, request)
    const known =
      response.status === 200 ? parseDocument(await readSmall(response, request, manifestSizeMax)) : undefined
    if (known === undefined) await drain(response)
    const listed = known?.kind === 'index' ? known.manifests : []
    if (listed.some(({ digest }) => digest === referrer.digest)) return
    const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [...listed, referrer] }
    const bytes = Buffer.from(JSON.stringify(index))
    const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
    await this.#putManifest(
      { descriptor: { mediaType: mediaTypes.ociIndex, digest, size: bytes.length }, bytes },
      tag,
      signal,
    )
  }

  /** @returns whether the registry says that it lists the document's subject */
  async #putManifest(
    { descriptor, bytes }: Document,
    name: string,
    signal: AbortSignal,
  ): Promise<{ isListed: boolean }> {
    const connected = await this.#repository.connect(signal)
    const plan = this.#plan('PUT', this.#url(connected, `manifests/${name}`), {
      signal: AbortSignal.any([signal, AbortSignal.timeout(this.#repository.timeouts.documentMs)]),
      doing: `Cannot push manifest ${name} to ${this.#where}`,
    })
    const request = { ...plan, headers: { ...plan.headers, 'content-type': descriptor.mediaType }, body: bytes }
    const response = await connected.direct(request)
    if (response.status !== 201 && response.status !== 200) throw asPassing(await connected.refusal(response, request))
    await drain(response)
    const stated = headerOf(response, 'docker-content-digest')
    if (stated === undefined || stated === descriptor.digest)
      return { isListed: headerOf(response, 'oci-subject') !== undefined }
    const message = `${request.doing}: ${this.name} stored it as ${stated}; wanted ${descriptor.digest}`
    throw new WindlassError('DIGEST_MISMATCH', message, { facts: { host: this.name } })
  }

  /** What a registry has taken is there. */
  async commit(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#repository[Symbol.asyncDispose]()
  }

  get #where(): string {
    return `${this.#reference.domain}/${this.#reference.path}`
  }

  #url({ origin }: Connected, path: string): URL {
    return new URL(`/v2/${this.#reference.path}/${path}`, origin)
  }

  #plan(method: Method, url: URL, { signal, doing }: Pick<HttpRequest, 'signal' | 'doing'>): HttpRequest {
    return { method, url, headers: { accept: '*/*' }, signal, doing }
  }
}

interface UploadOptions {
  readonly start: (connected: Connected) => URL
  readonly plan: (method: Method, url: URL) => HttpRequest
  readonly broken: Map<Digest, URL>
  readonly chunkSize: number
}

/** Where an upload stands. */
interface Standing {
  readonly location: URL
  readonly offset: number
  /** The registry wants no smaller chunks, but for the last one (distribution-spec, `OCI-Chunk-Min-Length`). */
  readonly chunkMin: number
}

/** One attempt to bring one blob to a registry. */
class BlobUpload {
  readonly #connected: Connected
  readonly #descriptor: Descriptor
  readonly #options: UploadOptions

  constructor(connected: Connected, descriptor: Descriptor, options: UploadOptions) {
    this.#connected = connected
    this.#descriptor = descriptor
    this.#options = options
  }

  async run(blob: BlobReader): Promise<void> {
    const { size } = this.#descriptor
    const resumed = await this.#resume()
    const standing = resumed ?? (await this.#start(blob.mountFrom))
    if (standing === undefined) return
    const { location, offset } = standing
    const chunkSize = Math.max(this.#options.chunkSize, standing.chunkMin)
    const isResumed = resumed !== undefined
    if (offset === 0 && size <= Math.min(monolithicMax, chunkSize))
      return await this.#finish(location, { isResumed, body: { size, open: () => blob.open(0) } })
    const bytes = new Bytes(blob, size)
    try {
      await this.#finish(await this.#append(standing, bytes, chunkSize), { isResumed })
    } finally {
      await bytes.close()
    }
  }

  /** Where an upload that broke off stands; undefined if there is none, or if the registry knows nothing of it any more. */
  async #resume(): Promise<Standing | undefined> {
    const { broken } = this.#options
    const { digest, size } = this.#descriptor
    const location = broken.get(digest)
    if (location === undefined) return undefined
    const response = await this.#connected.direct(this.#options.plan('GET', location))
    await drain(response)
    const offset = offsetOf(response) ?? 0
    // distribution says 0-0 for an empty upload, too, and other registries for one byte: either is begun anew.
    if (response.status === 204 && offset > 1 && offset <= size)
      return { location: this.#follow(response, location), offset, chunkMin: chunkMinOf(response) }
    broken.delete(digest)
    return undefined
  }

  /** @returns undefined if the registry has mounted the blob from another repository */
  async #start(from: string | undefined): Promise<Standing | undefined> {
    const { broken, plan, start } = this.#options
    const { digest } = this.#descriptor
    const url = start(this.#connected)
    if (from !== undefined) url.search = new URLSearchParams({ mount: digest, from }).toString()
    const request = plan('POST', url)
    const response = await this.#connected.direct(request)
    if (response.status !== 201 && response.status !== 202) throw await this.#connected.refusal(response, request)
    await drain(response)
    if (response.status === 201) return undefined
    const location = this.#follow(response, url)
    broken.set(digest, location)
    return { location, offset: 0, chunkMin: chunkMinOf(response) }
  }

  /** Sends what is left, chunk by chunk. @returns where the upload is to be ended */
  async #append({ location: first, offset: start }: Standing, bytes: Bytes, chunkSize: number): Promise<URL> {
    const { size } = this.#descriptor
    let location = first
    let offset = start
    while (offset < size) {
      const end = Math.min(offset + chunkSize, size)
      const response = await this.#sendChunk(location, bytes, offset, end)
      location = this.#follow(response, location)
      this.#options.broken.set(this.#descriptor.digest, location)
      offset = end === size ? end : this.#checkOffset(response, offset, end)
    }
    return location
  }

  async #sendChunk(location: URL, bytes: Bytes, offset: number, end: number): Promise<HttpResponse> {
    const plan = this.#options.plan('PATCH', location)
    const isWhole = offset === 0 && end === this.#descriptor.size
    const headers = {
      ...plan.headers,
      'content-type': 'application/octet-stream',
      ...(!isWhole && { 'content-range': `${offset}-${end - 1}` }),
    }
    const body = { size: end - offset, open: () => bytes.read(offset, end) }
    const request: HttpRequest = { ...plan, headers, body }
    const response = await this.#connected.direct(request)
    if (response.status === 202 || response.status === 204 || response.status === 201) {
      await drain(response)
      return response
    }
    throw await this.#refuse(response, request)
  }

  /** How far the registry says that it has come; it may have taken less of a chunk than it was sent. @throws WindlassError PROTOCOL */
  #checkOffset(response: HttpResponse, offset: number, end: number): number {
    const stated = offsetOf(response) ?? end
    if (stated > offset && stated <= end) return stated
    const { doing } = this.#options.plan('PATCH', response.url)
    this.#options.broken.delete(this.#descriptor.digest)
    const state = `${response.url.host} says that it has ${stated} bytes after bytes ${offset} to ${end - 1}`
    throw new WindlassError('PROTOCOL', `${doing}: ${state}`, { facts: { host: response.url.host } })
  }

  async #finish(location: URL, { isResumed, body }: { isResumed: boolean; body?: BodyStream }): Promise<void> {
    const { digest } = this.#descriptor
    const url = new URL(location)
    url.searchParams.set('digest', digest)
    const plan = this.#options.plan('PUT', url)
    const request: HttpRequest = {
      ...plan,
      headers: { ...plan.headers, 'content-type': 'application/octet-stream' },
      body: body ?? '',
    }
    const response = await this.#connected.direct(request)
    this.#options.broken.delete(digest)
    if (response.status !== 201 && response.status !== 204) throw await this.#refuse(response, request, isResumed)
    await drain(response)
    const stated = headerOf(response, 'docker-content-digest')
    if (stated === undefined || stated === digest) return
    const message = `${request.doing}: ${response.url.host} stored it as ${stated}; wanted ${digest}`
    throw new WindlassError('DIGEST_MISMATCH', message, { facts: { host: response.url.host } })
  }

  /**
   * What a refusal of bytes means. A registry that has lost an upload, or does not stand where it said, gets the blob anew.
   * @param isResumed an earlier attempt brought the beginning, so that the digest may be wrong for the registry's own word
   */
  async #refuse(response: HttpResponse, request: HttpRequest, isResumed = false): Promise<WindlassError> {
    const { status } = response
    const refusal = await this.#connected.refusal(response, request)
    const isLost = status === 404 || status === 416 || (status === 400 && isResumed)
    if (isLost) this.#options.broken.delete(this.#descriptor.digest)
    const { message, facts } = refusal
    if (isLost) return new WindlassError('NETWORK', `${message}; it begins anew`, { cause: refusal, facts })
    if (status !== 413) return refusal
    const hint = 'the registry, or a proxy before it, takes no request that large: --chunk-size 16M sends smaller ones'
    return new WindlassError('PROTOCOL', message, { cause: refusal, facts, hint })
  }

  /** @throws WindlassError PROTOCOL if the registry says nothing, or sends to where it must not */
  #follow(response: HttpResponse, from: URL): URL {
    const { doing } = this.#options.plan('PUT', from)
    const text = headerOf(response, 'location')
    const location = text === undefined ? null : URL.parse(text, from)
    if (location === null) {
      const message = `${doing}: ${from.host} did not say where the upload goes on`
      throw new WindlassError('PROTOCOL', message, { facts: { host: from.host } })
    }
    checkHop(from, location, doing)
    return location
  }
}

/** `Range: 0-N` of an upload, as the number of bytes that the registry has. */
function offsetOf(response: HttpResponse): number | undefined {
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(headerOf(response, 'range') ?? '')?.[1]
  return last === undefined ? undefined : Number(last) + 1
}

function chunkMinOf(response: HttpResponse): number {
  const text = headerOf(response, 'oci-chunk-min-length') ?? ''
  return /^\d{1,15}$/.test(text) ? Number(text) : 0
}

/** The bytes of a blob, chunk by chunk: read once from the first to the last, as long as no chunk is asked for again. */
class Bytes {
  readonly #blob: BlobReader
  readonly #size: number
  #iterator: AsyncIterator<Uint8Array> | undefined
  #position = 0
  #rest: Uint8Array | undefined

  constructor(blob: BlobReader, size: number) {
    this.#blob = blob
    this.#size = size
  }

  async *read(from: number, end: number): AsyncGenerator<Uint8Array, void, void> {
    if (this.#iterator === undefined || this.#position !== from) await this.#begin(from)
    while (this.#position < end) {
      const chunk = this.#rest ?? (await this.#next())
      this.#rest = undefined
      if (chunk === undefined) return
      const piece = chunk.subarray(0, end - this.#position)
      if (piece.length < chunk.length) this.#rest = chunk.subarray(piece.length)
      this.#position += piece.length
      // Before the last bytes go out, their source must have come to its end: that is where it is verified.
      if (this.#position === this.#size) await this.#next()
      yield piece
    }
  }

  async close(): Promise<void> {
    await this.#iterator?.return?.()
    this.#iterator = undefined
  }

  async #begin(from: number): Promise<void> {
    await this.close()
    this.#iterator = this.#blob.open(from)[Symbol.asyncIterator]()
    this.#position = from
    this.#rest = undefined
  }

  async #next(): Promise<Uint8Array | undefined> {
    const result = await this.#iterator?.next()
    return result === undefined || result.done ? undefined : result.value
  }
}

/**
 * docker-registry 2.8 writes down anew that a repository has a blob when another push brings it, too; who comes with the manifest at that moment is told
 * that the blob is unknown. The next attempt finds it.
 */
function asPassing(error: WindlassError): WindlassError {
  if (error.facts['status'] !== 400 || !/blob unknown/i.test(error.message)) return error
  return new WindlassError('NETWORK', error.message, { cause: error, facts: error.facts })
}
