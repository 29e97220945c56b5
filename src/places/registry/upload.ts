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
  return new RegistrySink(reference, new Repository(reference, options, 'pull,push'))
}

type Method = HttpRequest['method']

class RegistrySink implements Sink {
  readonly name: string
  readonly onePlatform = false
  readonly keepsReferrers = true
  readonly isOnePass = false
  readonly #reference: Reference
  readonly #repository: Repository
  /** Where the uploads that broke off go on. */
  readonly #broken = new Map<Digest, URL>()

  constructor(reference: Reference, repository: Repository) {
    this.name = repository.name
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
    if (response.status !== 201 && response.status !== 200) throw await connected.refusal(response, request)
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
    const standing = (await this.#resume()) ?? (await this.#start(blob.mountFrom))
    if (standing === undefined) return
    const { location, offset } = standing
    if (offset === 0 && size <= monolithicMax) return await this.#finish(location, this.#body(blob, 0))
    await this.#finish(offset < size ? await this.#append(location, blob, offset) : location)
  }

  /** Where an upload that broke off stands; undefined if there is none, or if the registry knows nothing of it any more. */
  async #resume(): Promise<{ location: URL; offset: number } | undefined> {
    const { broken } = this.#options
    const { digest, size } = this.#descriptor
    const location = broken.get(digest)
    if (location === undefined) return undefined
    const response = await this.#connected.direct(this.#options.plan('GET', location))
    await drain(response)
    const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(headerOf(response, 'range') ?? '')?.[1]
    const offset = last === undefined ? 0 : Number(last) + 1
    // distribution says 0-0 for an empty upload, too, and other registries for one byte: either is begun anew.
    if (response.status === 204 && offset > 1 && offset <= size)
      return { location: this.#follow(response, location), offset }
    broken.delete(digest)
    return undefined
  }

  /** @returns undefined if the registry has mounted the blob from another repository */
  async #start(from: string | undefined): Promise<{ location: URL; offset: number } | undefined> {
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
    return { location, offset: 0 }
  }

  async #append(location: URL, blob: BlobReader, offset: number): Promise<URL> {
    const plan = this.#options.plan('PATCH', location)
    const body = this.#body(blob, offset)
    const { size } = this.#descriptor
    const range = offset === 0 ? {} : { 'content-range': `${offset}-${size - 1}` }
    const request = {
      ...plan,
      headers: { ...plan.headers, 'content-type': 'application/octet-stream', ...range },
      body,
    }
    const response = await this.#connected.direct(request)
    if (response.status !== 202 && response.status !== 204 && response.status !== 201) {
      if (response.status === 416 || response.status === 404) this.#options.broken.delete(this.#descriptor.digest)
      throw await this.#connected.refusal(response, request)
    }
    await drain(response)
    const next = this.#follow(response, location)
    this.#options.broken.set(this.#descriptor.digest, next)
    return next
  }

  async #finish(location: URL, body?: BodyStream): Promise<void> {
    const { digest } = this.#descriptor
    const url = new URL(location)
    url.searchParams.set('digest', digest)
    const plan = this.#options.plan('PUT', url)
    const request = {
      ...plan,
      headers: { ...plan.headers, 'content-type': 'application/octet-stream' },
      body: body ?? '',
    }
    const response = await this.#connected.direct(request)
    this.#options.broken.delete(digest)
    if (response.status !== 201 && response.status !== 204) throw await this.#connected.refusal(response, request)
    await drain(response)
  }

  #body(blob: BlobReader, offset: number): BodyStream {
    return { size: this.#descriptor.size - offset, open: () => blob.open(offset) }
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
