import { createHash } from 'node:crypto'
import { isWindlassError, WindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, digestAlgorithm, digestHex, parseDigest } from '../../oci/digest.ts'
import { type Index, type Manifest, manifestSizeMax, parseDocument } from '../../oci/manifest.ts'
import { isIndexType, isManifestType, mediaTypes } from '../../oci/media-types.ts'
import {
  cosignImage,
  cosignPartTag,
  cosignTags,
  isCosignPart,
  isReferrersTag,
  referrersTag,
} from '../../oci/referrers.ts'
import type { BlobRequest, BlobStream, Document, Referrer, Source } from '../place.ts'
import type { ArchivedImage } from './archived-image.ts'
import { type Files, readSmallFile } from './files.ts'

/** What containers' tools and containerd name an image by (OCI image-spec, annotations.md, and containerd's own). */
export const refNameKey = 'org.opencontainers.image.ref.name'
export const containerdNameKey = 'io.containerd.image.name'

/** OCI image-spec, image-layout.md: the path of a blob. */
export function blobPath(digest: Digest): string {
  return ['blobs', digestAlgorithm(digest), digestHex(digest)].join('/')
}

/** The index of a layout. @throws WindlassError CORRUPT, LIMIT_EXCEEDED */
export async function readLayoutIndex(files: Files): Promise<Index> {
  const bytes = await readSmallFile(files, 'index.json', manifestSizeMax)
  const document = parseDocument(bytes, { descriptor: { mediaType: mediaTypes.ociIndex } })
  if (document.kind === 'index') return document
  throw new WindlassError('CORRUPT', `Cannot read index.json of ${files.name}: it is no index`)
}

/**
 * One image for each name and digest of the index; those that are no images, or only refer to one, are left out.
 * @throws WindlassError CORRUPT, LIMIT_EXCEEDED; the signal's reason
 */
export async function listLayoutImages(files: Files, signal: AbortSignal): Promise<ArchivedImage[]> {
  const entries = new LayoutEntries(files, (await readLayoutIndex(files)).manifests.filter(isDocument))
  const byDigest = new Map<Digest, { descriptor: Descriptor; names: string[] }>()
  for (const descriptor of entries.all) {
    if (isCosignPart(descriptor)) continue
    const name = nameOf(descriptor)
    const isReferrer = name === undefined ? await entries.hasSubject(descriptor, signal) : isReferrersTag(name)
    if (isReferrer) continue
    const known = byDigest.get(descriptor.digest) ?? { descriptor, names: [] }
    byDigest.set(descriptor.digest, known)
    if (name !== undefined) known.names.push(name)
  }
  return [...byDigest.values()].map(({ descriptor, names }) => ({
    names,
    source: new LayoutSource(files, descriptor, entries),
  }))
}

function isDocument({ mediaType }: Descriptor): boolean {
  return isManifestType(mediaType) || isIndexType(mediaType)
}

function nameOf({ annotations }: Descriptor): string | undefined {
  return annotations?.[containerdNameKey] ?? annotations?.[refNameKey]
}

/** Documents that an index names by nothing but their digests are read to learn what they are: all of them together, as of one image that is copied. */
const listedBytesMax = 64 * 1024 * 1024

/** The documents that an index names. Each is read once, however often it is named and asked about: to parse 4 MiB may take a second. */
class LayoutEntries {
  readonly all: readonly Descriptor[]
  /** The only image of a layout that `cosign save` wrote. */
  readonly cosignImage: Digest | undefined
  readonly #files: Files
  readonly #read = new Map<string, Manifest | Index | undefined>()
  #bytes = 0

  constructor(files: Files, all: readonly Descriptor[]) {
    this.all = all
    this.cosignImage = cosignImage(all)
    this.#files = files
  }

  async hasSubject(descriptor: Descriptor, signal: AbortSignal): Promise<boolean> {
    return (await this.read(descriptor, signal))?.subject !== undefined
  }

  /** What is damaged says nothing here, and is found when it is read for what it is. @throws WindlassError LIMIT_EXCEEDED */
  async read(descriptor: Descriptor, signal: AbortSignal): Promise<Manifest | Index | undefined> {
    signal.throwIfAborted()
    const { digest, size, mediaType } = descriptor
    const key = `${digest} ${size} ${mediaType}`
    if (this.#read.has(key)) return this.#read.get(key)
    if (size > manifestSizeMax || (await this.#files.find(blobPath(digest))) !== size) return undefined
    this.#count(size)
    const document = await this.#parse(descriptor)
    this.#read.set(key, document)
    return document
  }

  async #parse(descriptor: Descriptor): Promise<Manifest | Index | undefined> {
    try {
      const bytes = await readSmallFile(this.#files, blobPath(descriptor.digest), descriptor.size)
      return parseDocument(checkDocument(bytes, descriptor, this.#files.name), { descriptor })
    } catch (error) {
      if (isWindlassError(error)) return undefined
      throw error
    }
  }

  #count(size: number): void {
    this.#bytes += size
    if (this.#bytes <= listedBytesMax) return
    const state = `the documents that its index names by digest alone have more than ${listedBytesMax} bytes`
    throw new WindlassError('LIMIT_EXCEEDED', `Cannot read OCI layout ${this.#files.name}: ${state}`)
  }
}

class LayoutSource implements Source {
  readonly name: string
  readonly isLocal = true
  readonly #files: Files
  readonly #top: Descriptor
  readonly #entries: LayoutEntries

  constructor(files: Files, top: Descriptor, entries: LayoutEntries) {
    this.name = files.name
    this.#entries = entries
    this.#files = files
    this.#top = top
  }

  /** Whatever is asked for: the source is one image's. */
  async resolve(_target: unknown, signal: AbortSignal): Promise<Document> {
    const { mediaType, digest, size } = this.#top
    return await this.readDocument({ mediaType, digest, size }, { sizeMax: manifestSizeMax, signal })
  }

  async readDocument(descriptor: Descriptor, options: { sizeMax: number; signal: AbortSignal }): Promise<Document> {
    options.signal.throwIfAborted()
    const { digest, size } = descriptor
    const bytes = await readSmallFile(this.#files, blobPath(digest), Math.min(size, options.sizeMax)).catch(error =>
      Promise.reject(this.#explain(error, digest, size)),
    )
    return { descriptor, bytes: checkDocument(bytes, descriptor, this.name) }
  }

  async openBlob({ digest, size }: Descriptor, { offset }: BlobRequest): Promise<BlobStream> {
    const found = await this.#files.find(blobPath(digest))
    if (found === undefined) throw leftOut(digest, this.name)
    if (found !== size) throw sizeMismatch(digest, this.name, found, size)
    return { offset, bytes: this.#files.read(blobPath(digest), offset), servesRanges: false }
  }

  /** An index names what refers to others like what is named (oras, cosign), or by the tags that a registry would have. */
  async listReferrers(digest: Digest, signal: AbortSignal): Promise<readonly Referrer[]> {
    const tags = cosignTags(digest)
    const isCosigned = this.#entries.cosignImage === digest
    const found: Referrer[] = []
    for (const descriptor of this.#entries.all) {
      signal.throwIfAborted()
      const name = nameOf(descriptor)
      const bare = { mediaType: descriptor.mediaType, size: descriptor.size, digest: descriptor.digest }
      const tag = tags.find(tag => tag === name) ?? (isCosigned ? cosignPartTag(descriptor, digest) : undefined)
      if (tag !== undefined) found.push({ descriptor: bare, tag })
      else if (name === referrersTag(digest)) found.push(...listOf(await this.#entries.read(descriptor, signal)))
      else if ((await this.#entries.read(descriptor, signal))?.subject?.digest === digest)
        found.push({ descriptor: bare })
    }
    return found
  }

  async hasBlob({ digest }: Descriptor): Promise<boolean> {
    return (await this.#files.find(blobPath(digest))) !== undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #explain(error: WindlassError, digest: Digest, size: number): WindlassError {
    if (error.code !== 'LIMIT_EXCEEDED') return error
    const message = `Cannot read document ${digest} of ${this.name}: it is larger than its descriptor's ${size} bytes`
    return new WindlassError('DIGEST_MISMATCH', message, { cause: error })
  }
}

function listOf(document: Manifest | Index | undefined): Referrer[] {
  return document?.kind === 'index' ? document.manifests.map(descriptor => ({ descriptor })) : []
}

/** What an archive says of a blob that its documents name and that it has not. */
export function leftOut(digest: Digest, name: string): WindlassError {
  return new WindlassError('INCOMPLETE', `Cannot read blob ${digest} of ${name}: it is not there`)
}

/** @throws WindlassError DIGEST_MISMATCH */
export function checkDocument(bytes: Buffer, { digest, size }: Descriptor, name: string): Buffer {
  if (bytes.length !== size) throw sizeMismatch(digest, name, bytes.length, size)
  const actual = digestOf(bytes, digestAlgorithm(digest))
  if (actual === digest) return bytes
  const message = `Cannot read document ${digest} of ${name}: its bytes have the digest ${actual}`
  throw new WindlassError('DIGEST_MISMATCH', message)
}

/** The digest of bytes that are here. */
export function digestOf(bytes: Uint8Array, algorithm = 'sha256'): Digest {
  return parseDigest(`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`)
}

function sizeMismatch(digest: Digest, name: string, actual: number, wanted: number): WindlassError {
  return new WindlassError(
    'DIGEST_MISMATCH',
    `Cannot read ${digest} of ${name}: it has ${actual} bytes; wanted ${wanted}`,
  )
}
