import { open, stat } from 'node:fs/promises'
import { WindlassError, wrapError } from '../errors.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import { type ImageLayer, imageConfigSizeMax, imageLayers, parseImageConfig } from '../oci/image-config.ts'
import { indexDepthMax, type Manifest, manifestSizeMax, parseDocument } from '../oci/manifest.ts'
import { isImageConfigType, isIndexType, isManifestType } from '../oci/media-types.ts'
import { quote } from '../oci/quote.ts'
import type { Document, Source } from '../places/place.ts'
import { openArchiveAt, openStored, type PlaceOptions } from './places.ts'

type Options = Pick<PlaceOptions, 'root' | 'signal'>

/** What the other side has: digests of blobs, of their contents, and chain IDs. */
export class Known {
  readonly #digests: ReadonlySet<Digest>

  constructor(digests: Iterable<Digest>) {
    this.#digests = new Set(digests)
  }

  /**
   * The layers of an image that the other side has. A content alone says nothing of the layers below it, and docker finds a layer by all that is
   * below it: so it counts only upon layers that are known, too.
   * @param byBlob a blob that is there is enough
   */
  layersOf(layers: readonly ImageLayer[], { byBlob }: { readonly byBlob: boolean }): ImageLayer[] {
    let isBelowKnown = true
    return layers.filter(({ descriptor, diffId, chainId }) => {
      const isBlobKnown = this.#digests.has(descriptor.digest)
      isBelowKnown = this.#digests.has(chainId) || (isBelowKnown && (isBlobKnown || this.#digests.has(diffId)))
      return isBelowKnown || (byBlob && isBlobKnown)
    })
  }
}

/**
 * Reads what the other side has: an archive or layout that it has loaded, a text with a digest on each line, or an image of the store.
 * @throws WindlassError NOT_FOUND if it is none of them; what reading it throws
 */
export async function readKnown(texts: readonly string[], options: Options): Promise<Known> {
  const digests: Digest[] = []
  for (const text of texts) digests.push(...(await readOne(text, options)))
  return new Known(digests)
}

async function readOne(text: string, options: Options): Promise<readonly Digest[]> {
  const found = await stat(text).catch(() => undefined)
  if (found === undefined && !(await isSplit(text))) return await readStored(text, options)
  const listed = found?.isFile() && found.size <= listSizeMax ? await readList(text) : undefined
  return listed ?? (await readArchive(text, options))
}

async function isSplit(path: string): Promise<boolean> {
  return (await stat(`${path}.sha256`).catch(() => undefined)) !== undefined
}

async function readStored(text: string, options: Options): Promise<readonly Digest[]> {
  try {
    await using image = await openStored(text, options)
    return await layersOf(image.source, await image.source.resolve({}, options.signal), options.signal)
  } catch (error) {
    const { code, message } = wrapError(error, `Cannot read ${text}`)
    if (code !== 'NOT_FOUND' && code !== 'REFERENCE_INVALID') throw error
    const wanted = 'wanted an archive, a list of digests, or an image of the store'
    throw new WindlassError(
      'NOT_FOUND',
      `Cannot save since ${quote(text)}: it is neither there nor in the store; ${wanted}`,
      {
        cause: message,
        hint: 'check the path, or the name',
      },
    )
  }
}

/** Images are few on a host; a layer is some 80 bytes. */
const listSizeMax = 4 * 1024 * 1024

/** A digest on each line, and comments; undefined if it is anything else. */
async function readList(path: string): Promise<readonly Digest[] | undefined> {
  await using handle = await open(path, 'r')
  const lines = (await handle.readFile('latin1')).split(/\r?\n/)
  const digests: Digest[] = []
  for (const line of lines) {
    const word = line.replace(/#.*/, '').trim()
    if (isDigest(word)) digests.push(word)
    else if (word !== '') return undefined
  }
  return digests
}

async function readArchive(path: string, options: Options): Promise<readonly Digest[]> {
  await using archive = await openArchiveAt(path, options)
  const digests: Digest[] = []
  for (const { source } of archive.images)
    digests.push(...(await layersOf(source, await source.resolve({}, options.signal), options.signal)))
  return digests
}

/** Blobs and chain IDs of an image, or of all images of an index that are there. */
async function layersOf(source: Source, document: Document, signal: AbortSignal, depth = 1): Promise<Digest[]> {
  const parsed = parseDocument(document.bytes, { contentType: document.descriptor.mediaType })
  if (parsed.kind === 'manifest')
    return (await readLayers(source, parsed, signal)).flatMap(({ descriptor, chainId }) => [descriptor.digest, chainId])
  if (depth > indexDepthMax)
    throw new WindlassError('LIMIT_EXCEEDED', `Cannot read ${source.name}: indexes nest deeper than ${indexDepthMax}`)
  const digests: Digest[] = []
  for (const descriptor of parsed.manifests) {
    if (!isManifestType(descriptor.mediaType) && !isIndexType(descriptor.mediaType)) continue
    // One platform of an index may be all that somebody copied.
    if ((await source.hasBlob?.(descriptor)) === false) continue
    const below = await source.readDocument(descriptor, { sizeMax: manifestSizeMax, signal })
    digests.push(...(await layersOf(source, below, signal, depth + 1)))
  }
  return digests
}

/** None for what is no image. @throws what reading the config throws */
export async function readLayers(source: Source, manifest: Manifest, signal: AbortSignal): Promise<ImageLayer[]> {
  if (!isImageConfigType(manifest.config.mediaType)) return []
  const { bytes } = await source.readDocument(manifest.config, { sizeMax: imageConfigSizeMax, signal })
  const config = parseImageConfig(bytes)
  // Attestations have an image's config, and no layers of an image.
  if (config.rootfs.diff_ids.length !== manifest.layers.length) return []
  return imageLayers(manifest, config)
}
