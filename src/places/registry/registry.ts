import { createHash } from 'node:crypto'
import { isWindlassError, WindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, digestAlgorithm, isDigest, parseDigest } from '../../oci/digest.ts'
import { manifestSizeMax, parseDocument } from '../../oci/manifest.ts'
import { acceptHeader, isIndexType, isManifestType, isSchema1Type, mediaTypes } from '../../oci/media-types.ts'
import { quote } from '../../oci/quote.ts'
import type { Reference } from '../../oci/reference.ts'
import { cosignTags, referrersTag } from '../../oci/referrers.ts'
import type { BlobRequest, BlobStream, Document, Referrer, Source, Target } from '../place.ts'
import { readBlob, readSmall } from './body.ts'
import { drain, type HttpRequest, type HttpResponse, headerOf } from './http.ts'
import { mediaTypeOf } from './media-type.ts'
import { nextPage } from './next-page.ts'
import { checkBlobAnswer, formatRange } from './range.ts'
import { type RegistryOptions, Repository } from './repository.ts'

/**
 * Opens one repository of a registry for reading. Nothing is sent before the first read. Each method is one attempt: retries are
 * the caller's, by the error's `retryable` and `facts.retryAfterMs`.
 * @throws WindlassError REFERENCE_INVALID if the reference's domain cannot be a host and port; USAGE, PERMISSION or FAILED if
 *   certificates cannot be used
 */
export function openRegistry(reference: Reference, options: RegistryOptions): Source {
  return new RegistrySource(reference, new Repository(reference, options, 'pull'))
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

type Kind = 'manifests' | 'blobs' | 'referrers'

class RegistrySource implements Source {
  readonly name: string
  readonly #reference: Reference
  readonly #repository: Repository

  constructor(reference: Reference, repository: Repository) {
    this.name = repository.name
    this.#reference = reference
    this.#repository = repository
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
    const connected = await this.#repository.connect(options.signal)
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
        aheadBytes: this.#repository.readAheadBytes,
      }),
      servesRanges: isPart || headerOf(response, 'accept-ranges')?.trim() === 'bytes',
    }
  }

  async listReferrers(digest: Digest, signal: AbortSignal): Promise<readonly Referrer[]> {
    const found = new Map(
      (await this.#listSubjects(digest, signal)).map(referrer => [referrer.descriptor.digest, referrer]),
    )
    for (const tag of cosignTags(digest)) {
      const document = await this.#find(tag, signal)
      if (document !== undefined) found.set(document.descriptor.digest, { descriptor: document.descriptor, tag })
    }
    return [...found.values()]
  }

  /** Distribution-spec, "Listing Referrers", page by page; and the tag schema where the registry does not know it. */
  async #listSubjects(digest: Digest, signal: AbortSignal): Promise<Referrer[]> {
    const listed: Descriptor[] = []
    let url: URL | undefined
    for (let page = 0; page === 0 || url !== undefined; page++) {
      if (page === referrerPagesMax) throw tooManyReferrers(digest, this.name)
      try {
        const { response, request } = await this.#get('referrers', digest, signal, { accept: mediaTypes.ociIndex }, url)
        const bytes = await readSmall(response, request, manifestSizeMax)
        listed.push(...indexOf(bytes))
        url = nextPage(response, request)
      } catch (error) {
        if (page > 0 || !isUnknownToRegistry(error)) throw error
        const document = await this.#find(referrersTag(digest), signal)
        listed.push(...(document === undefined ? [] : indexOf(document.bytes)))
      }
    }
    return listed.map(descriptor => ({ descriptor }))
  }

  async #find(tag: string, signal: AbortSignal): Promise<Document | undefined> {
    try {
      return await this.resolve({ tag }, signal)
    } catch (error) {
      if (isWindlassError(error, 'NOT_FOUND')) return undefined
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#repository[Symbol.asyncDispose]()
  }

  /** A whole small answer is bounded as a whole: its request ends with the caller's signal or after `documentMs`. */
  async #get(
    kind: Kind,
    name: string,
    caller: AbortSignal,
    headers: Readonly<Record<string, string>>,
    url?: URL,
  ): Promise<{ response: HttpResponse; request: HttpRequest }> {
    const connected = await this.#repository.connect(caller)
    const signal = AbortSignal.any([caller, AbortSignal.timeout(this.#repository.timeouts.documentMs)])
    const plan = this.#plan(connected.origin, kind, name, signal)
    const request = { ...plan, ...(url !== undefined && { url }), headers: { ...plan.headers, ...headers } }
    const response = await connected.send(request)
    if (response.status !== 200) throw await connected.refusal(response, request)
    return { response, request }
  }

  #plan(origin: URL, kind: Kind, name: string, signal: AbortSignal): HttpRequest {
    const { path, domain } = this.#reference
    const what = { blobs: 'blob', manifests: 'manifest', referrers: 'referrers of' }[kind]
    return {
      method: 'GET',
      url: new URL(`/v2/${path}/${kind}/${name}`, origin),
      headers: { accept: '*/*' },
      signal,
      doing: `Cannot read ${what} ${name} of ${domain}/${path}`,
    }
  }
}

/** An index may have 4 MiB on each page: nobody has so many signatures. */
const referrerPagesMax = 16

function tooManyReferrers(digest: Digest, name: string): WindlassError {
  const state = `they fill more than ${referrerPagesMax} pages`
  return new WindlassError('LIMIT_EXCEEDED', `Cannot read referrers of ${digest} from ${name}: ${state}`)
}

/** How registries say that they do not have this part of the API. */
function isUnknownToRegistry(error: unknown): boolean {
  return isWindlassError(error) && [400, 404, 405, 501].includes(Number(error.facts['status']))
}

function indexOf(bytes: Uint8Array): readonly Descriptor[] {
  const document = parseDocument(bytes)
  return document.kind === 'index' ? document.manifests : []
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
