import { createHash } from 'node:crypto'
import { detectCompression, magicLength } from '../../codec/detect.ts'
import { WindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, parseDigest } from '../../oci/digest.ts'
import { imageConfigSizeMax, parseImageConfig } from '../../oci/image-config.ts'
import { decodeText, parseJson } from '../../oci/json.ts'
import { manifestSizeMax } from '../../oci/manifest.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import { quote } from '../../oci/quote.ts'
import type { BlobRequest, BlobStream, Document, Source } from '../place.ts'
import type { ArchivedImage } from './archived-image.ts'
import { type Files, readSmallFile } from './files.ts'
import { checkDocument, digestOf, leftOut } from './layout-source.ts'

/** One image of `manifest.json` (docker image spec v1.2, "Combined Image JSON + Filesystem Changeset Format"). */
interface Entry {
  readonly config: string
  readonly names: readonly string[]
  readonly layers: readonly string[]
  /** Sizes of layers that the archive may lack, by diffId. */
  readonly sizes: ReadonlyMap<string, number>
}

/** As an image has at most; and images of one archive. */
const layersMax = 500
const imagesMax = 10_000

/** The images of a `docker save`. */
export async function listDockerImages(files: Files): Promise<ArchivedImage[]> {
  const bytes = await readSmallFile(files, 'manifest.json', manifestSizeMax)
  const list = parseJson(decodeText(bytes, 'manifest.json', manifestSizeMax), 'manifest.json')
  if (!Array.isArray(list) || list.length > imagesMax) throw malformed(files, 'it is no list of images')
  return list.map(value => {
    const entry = readEntry(files, value)
    return { names: entry.names, source: new DockerArchiveSource(files, entry) }
  })
}

function readEntry(files: Files, value: unknown): Entry {
  const { Config: config, RepoTags: names, Layers: layers } = (value ?? {}) as Record<string, unknown>
  if (typeof config !== 'string' || !isTexts(layers) || layers.length > layersMax)
    throw malformed(files, 'an image has no Config, or no Layers')
  if (names !== null && names !== undefined && !isTexts(names)) throw malformed(files, 'RepoTags is no list of names')
  return { config, layers, names: names ?? [], sizes: readSizes((value as Record<string, unknown>)['LayerSources']) }
}

/** Docker describes layers so that need not be in the archive, and newer ones all layers; what is no description is none. */
function readSizes(sources: unknown): ReadonlyMap<string, number> {
  const entries = typeof sources === 'object' && sources !== null ? Object.entries(sources) : []
  return new Map(
    entries.flatMap(([diffId, descriptor]) => {
      const { size, digest } = (descriptor ?? {}) as Record<string, unknown>
      return digest === diffId && Number.isSafeInteger(size) && (size as number) >= 0 ? [[diffId, size as number]] : []
    }),
  )
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}

function malformed(files: Files, state: string): WindlassError {
  return new WindlassError('CORRUPT', `Cannot read manifest.json of ${files.name}: ${state}`)
}

const layerTypes = {
  none: mediaTypes.ociLayer,
  gzip: mediaTypes.ociLayerGzip,
  zstd: mediaTypes.ociLayerZstd,
  bzip2: `${mediaTypes.ociLayer}+bzip2`,
  xz: `${mediaTypes.ociLayer}+xz`,
} as const

/** An image without a manifest gets one: the same archive always gives the same. Its config, and so its ID, is the archive's own. */
class DockerArchiveSource implements Source {
  readonly name: string
  readonly isLocal = true
  readonly #files: Files
  readonly #entry: Entry
  #described: Promise<Described> | undefined

  constructor(files: Files, entry: Entry) {
    this.name = files.name
    this.#files = files
    this.#entry = entry
  }

  async resolve(_target: unknown, signal: AbortSignal): Promise<Document> {
    return (await this.#describe(signal)).manifest
  }

  async readDocument(descriptor: Descriptor, { signal }: { signal: AbortSignal }): Promise<Document> {
    const { manifest, config } = await this.#describe(signal)
    const bytes = descriptor.digest === manifest.descriptor.digest ? manifest.bytes : config
    return { descriptor, bytes: checkDocument(Buffer.from(bytes), descriptor, this.name) }
  }

  async openBlob({ digest }: Descriptor, { offset, signal }: BlobRequest): Promise<BlobStream> {
    const path = (await this.#describe(signal)).paths.get(digest)
    if (path === undefined) throw leftOut(digest, this.name)
    return { offset, bytes: this.#files.read(path, offset), servesRanges: false }
  }

  async hasBlob({ digest }: Descriptor): Promise<boolean> {
    return (await this.#describe(new AbortController().signal)).paths.has(digest)
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #describe(signal: AbortSignal): Promise<Described> {
    this.#described ??= describe(this.#files, this.#entry, signal)
    return this.#described
  }
}

interface Described {
  readonly manifest: Document
  readonly config: Buffer
  readonly paths: ReadonlyMap<Digest, string>
}

/** The paths are the archive's own word, and it says of itself what digests they have: of a directory, they must not lead to what is the host's. */
async function checkOwn(files: Files, { config, layers }: Entry): Promise<void> {
  for (const path of [config, ...layers]) {
    const isOwn = await files.isOwn(path).catch(() => true) // what is not there is told when it is read
    if (!isOwn) throw malformed(files, `${quote(path)} leads out of it`)
  }
}

async function describe(files: Files, entry: Entry, signal: AbortSignal): Promise<Described> {
  await checkOwn(files, entry)
  const config = await readSmallFile(files, entry.config, imageConfigSizeMax)
  const diffIds = parseImageConfig(config).rootfs.diff_ids
  if (diffIds.length !== entry.layers.length) {
    const state = `its config names ${diffIds.length} layers, manifest.json ${entry.layers.length}`
    throw new WindlassError('CORRUPT', `Cannot read image ${entry.config} of ${files.name}: ${state}`)
  }
  const layers: Descriptor[] = []
  for (const [at, path] of entry.layers.entries())
    layers.push(await describeLayer(files, { path, diffId: diffIds[at] as Digest, sizes: entry.sizes }, signal))
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest: digestOf(config), size: config.length },
    layers,
  }
  const bytes = Buffer.from(JSON.stringify(document))
  const descriptor = { mediaType: mediaTypes.ociManifest, digest: digestOf(bytes), size: bytes.length }
  const paths = new Map([[document.config.digest, entry.config]])
  for (const [at, { digest }] of layers.entries()) {
    const path = entry.layers[at] as string
    if ((await files.find(path)) !== undefined) paths.set(digest, path)
  }
  return { manifest: { descriptor, bytes }, config, paths }
}

/** A plain layer is what its diffId says, or it is refused when it is read; a compressed one must be read to know its digest. */
async function describeLayer(
  files: Files,
  { path, diffId, sizes }: { path: string; diffId: Digest; sizes: Entry['sizes'] },
  signal: AbortSignal,
): Promise<Descriptor> {
  const size = await files.find(path)
  const sizeLeftOut = sizes.get(diffId)
  if (size === undefined && sizeLeftOut !== undefined)
    return { mediaType: layerTypes.none, digest: diffId, size: sizeLeftOut }
  if (size === undefined)
    throw new WindlassError('CORRUPT', `Cannot read layer ${diffId} of ${files.name}: ${path} is not there`)
  const compression = detectCompression(await peek(files, path))
  if (compression === 'none') return { mediaType: layerTypes.none, digest: diffId, size }
  const hash = createHash('sha256')
  for await (const piece of files.read(path)) {
    signal.throwIfAborted()
    hash.update(piece)
  }
  return { mediaType: layerTypes[compression], digest: parseDigest(`sha256:${hash.digest('hex')}`), size }
}

async function peek(files: Files, path: string): Promise<Uint8Array> {
  for await (const piece of files.read(path)) return piece.subarray(0, magicLength)
  return new Uint8Array(0)
}
