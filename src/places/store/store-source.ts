import { createHash } from 'node:crypto'
import { detectCompression, magicLength } from '../../codec/detect.ts'
import { WindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { parseDigest } from '../../oci/digest.ts'
import { parseDocument } from '../../oci/manifest.ts'
import { layerCompression, mediaTypes } from '../../oci/media-types.ts'
import type { BlobRequest, BlobStream, Document, Source } from '../place.ts'
import { readPieces } from './blob-ingest.ts'
import type { Store } from './store.ts'
import type { ImageRecord, Session } from './types.ts'

/**
 * Opens an image of the store for reading; nothing of it is collected while it is open. Its layers are given as the blobs that they were unpacked from. Where
 * images share a layer that came compressed in two ways, only one of the blobs is here: the manifest then names that one, and has a digest of its own.
 */
export async function openStoreSource(store: Store, image: ImageRecord): Promise<Source> {
  const session = await store.openSession()
  try {
    return new StoreSource(store, session, await describe(store, session, image))
  } catch (error) {
    await session[Symbol.asyncDispose]()
    throw error
  }
}

class StoreSource implements Source {
  readonly name: string
  readonly isLocal = true
  readonly #store: Store
  readonly #session: Session
  readonly #manifest: Document

  constructor(store: Store, session: Session, manifest: Document) {
    this.name = store.root
    this.#store = store
    this.#session = session
    this.#manifest = manifest
  }

  async resolve(): Promise<Document> {
    return this.#manifest
  }

  async readDocument(descriptor: Descriptor): Promise<Document> {
    if (descriptor.digest === this.#manifest.descriptor.digest) return this.#manifest
    return { descriptor, bytes: await this.#store.readBlob(descriptor.digest) }
  }

  async openBlob({ digest, size }: Descriptor, { offset }: BlobRequest): Promise<BlobStream> {
    return {
      offset,
      bytes: readPieces(this.#session.blobFile(digest), { start: offset, end: size }),
      servesRanges: false,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]()
  }
}

const types = {
  oci: {
    none: mediaTypes.ociLayer,
    gzip: mediaTypes.ociLayerGzip,
    zstd: mediaTypes.ociLayerZstd,
  },
  docker: {
    none: mediaTypes.dockerLayer,
    gzip: mediaTypes.dockerLayerGzip,
    zstd: mediaTypes.dockerLayerZstd,
  },
}

async function describe(store: Store, session: Session, image: ImageRecord): Promise<Document> {
  const bytes = await store.readBlob(image.digest)
  const descriptor = { mediaType: image.mediaType, digest: image.digest, size: bytes.length }
  const manifest = parseDocument(bytes, { descriptor })
  if (manifest.kind !== 'manifest')
    throw new WindlassError('FAILED', `Cannot read image ${image.id}: its manifest is none`)
  for (const { chainId } of image.layers) session.findLayer(chainId)
  const layers: Descriptor[] = []
  for (const [at, layer] of manifest.layers.entries()) layers.push(await findLayerBlob(session, image, at, layer))
  if (layers.every((layer, at) => layer === manifest.layers[at])) return { descriptor, bytes }
  const document = { ...(JSON.parse(bytes.toString()) as object), layers }
  const changed = Buffer.from(JSON.stringify(document))
  const digest = parseDigest(`sha256:${createHash('sha256').update(changed).digest('hex')}`)
  return { descriptor: { ...descriptor, digest, size: changed.length }, bytes: changed }
}

async function findLayerBlob(
  session: Session,
  image: ImageRecord,
  at: number,
  wanted: Descriptor,
): Promise<Descriptor> {
  if (session.findBlob(wanted.digest)?.size === wanted.size) return wanted
  const record = image.layers[at]
  const found = record && session.findBlob(record.blobDigest)
  if (found === undefined) {
    const hint = "pull the image again, or see 'windlass verify --repair'"
    const state = `the blob ${wanted.digest} of its layer ${at + 1} is not in the store`
    throw new WindlassError('NOT_FOUND', `Cannot read image ${image.id}: ${state}`, { hint })
  }
  const family = wanted.mediaType.startsWith('application/vnd.docker.') ? types.docker : types.oci
  const compression = await detect(session.blobFile(found.digest))
  const mediaType =
    compression === 'none' || compression === 'gzip' || compression === 'zstd'
      ? family[compression]
      : `${family.none}${family === types.oci ? '+' : '.'}${compression}`
  if (layerCompression(mediaType) === 'unknown')
    throw new WindlassError('UNSUPPORTED', `Cannot read image ${image.id}: layer ${at + 1} is ${mediaType}`)
  return { mediaType, ...found }
}

async function detect(path: string) {
  for await (const piece of readPieces(path, { end: magicLength })) return detectCompression(piece)
  return 'none' as const
}
