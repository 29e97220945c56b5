import { readFileSync } from 'node:fs'
import { isWindlassError, WindlassError } from '../errors.ts'
import type { RetryOptions } from '../flow/retry.ts'
import type { Descriptor, Platform } from '../oci/descriptor.ts'
import {
  type ImageConfig,
  type ImageLayer,
  imageConfigSizeMax,
  imageLayers,
  parseImageConfig,
} from '../oci/image-config.ts'
import { type Index, indexDepthMax, type Manifest, manifestSizeMax, parseDocument } from '../oci/manifest.ts'
import { isImageConfigType } from '../oci/media-types.ts'
import { choosePlatform, describePlatforms, formatPlatform, hostPlatform } from '../oci/platform.ts'
import { quote } from '../oci/quote.ts'
import { formatFamiliar, type Reference } from '../oci/reference.ts'
import type { Document } from '../places/place.ts'
import { askHosts, type BlobHosts } from './blob-hosts.ts'

/** An image as a source describes it: one platform's, all documents verified. */
export interface ResolvedImage {
  /** The documents from the one the reference named down to the manifest. */
  readonly documents: readonly [Document, ...Document[]]
  readonly manifest: Document
  readonly config: Document
  readonly imageConfig: ImageConfig
  /** False for an image without an index whose config names another platform. */
  readonly isForPlatform: boolean
  readonly layers: readonly ImageLayer[]
}

/** Documents that are here already, by their descriptors: what a digest names need not be asked for twice. */
export type DocumentCache = (descriptor: Descriptor) => Promise<Document | undefined>

/** Documents that one reference may lead to before the search ends: each costs a request, and a stranger chooses how many there are. */
const documentsMax = 32

/** One walk from a reference to an image. */
interface Search {
  readonly hosts: BlobHosts
  readonly platform: Platform
  /** The reference, for messages. */
  readonly name: string
  readonly options: ResolveOptions
  /** What the indexes have, for the message if none of it fits. */
  readonly offered: Descriptor[]
  documentsLeft: number
}

type ResolveOptions = RetryOptions & { readonly cache: DocumentCache }

/**
 * Follows a reference through indexes, nested ones too, to the image of one platform. Where an entry leads to no image for it, the next best
 * is tried. Each document comes from the first host that has it.
 * @throws WindlassError NOT_FOUND, PLATFORM_MISSING, UNSUPPORTED (schema 1, artifacts, encrypted layers), CORRUPT, LIMIT_EXCEEDED, and what
 *   the source throws
 */
export async function resolveImage(
  hosts: BlobHosts,
  reference: Reference,
  platform: Platform,
  options: ResolveOptions,
): Promise<ResolvedImage> {
  const name = formatFamiliar(reference)
  const search: Search = { hosts, platform, name, options, offered: [], documentsLeft: documentsMax - 1 }
  const top = await askHosts(hosts, options, async source => {
    const document = await source.resolve(reference, options.signal)
    if (source === hosts.origin) return document
    // The login page of a mirror is no manifest, and the next host may have one.
    const there = { ...search, name: `${name} at ${source.name}` }
    named(there, () => parseDocument(document.bytes, topOrigin(document)))
    return document
  })
  return await follow(search, [top])
}

/** What vouches for the kind of a document that no descriptor leads to. */
function topOrigin({ descriptor }: Document): { contentType: string } {
  return { contentType: descriptor.mediaType }
}

/** The image that the last of the documents describes or leads to. */
async function follow(search: Search, documents: Documents): Promise<ResolvedImage> {
  const document = documents.at(-1) ?? documents[0]
  const { descriptor, bytes } = document
  const origin = documents.length === 1 ? topOrigin(document) : { descriptor }
  const parsed = named(search, () => parseDocument(bytes, origin))
  return parsed.kind === 'index' ? followIndex(search, documents, parsed) : readImage(search, documents, parsed)
}

type Documents = ResolvedImage['documents']

async function followIndex(search: Search, documents: Documents, { manifests }: Index): Promise<ResolvedImage> {
  if (documents.length > indexDepthMax) {
    const message = `Cannot resolve ${search.name}: indexes nest deeper than ${indexDepthMax}`
    throw new WindlassError('LIMIT_EXCEEDED', message)
  }
  search.offered.push(...manifests)
  for (const descriptor of candidates(manifests, search.platform)) {
    try {
      return await follow(search, [...documents, await readDocument(search, descriptor, manifestSizeMax)])
    } catch (error) {
      if (!isWindlassError(error, 'PLATFORM_MISSING')) throw error
    }
  }
  throw platformMissing(search)
}

/** The entries that may lead to the platform, best first. */
function* candidates(manifests: readonly Descriptor[], platform: Platform): Generator<Descriptor> {
  let rest = manifests
  for (let best = choosePlatform(rest, platform); best !== undefined; best = choosePlatform(rest, platform)) {
    yield best
    rest = rest.filter(descriptor => descriptor !== best)
  }
}

function platformMissing({ name, platform, offered }: Search): WindlassError {
  const state = `the index has ${describePlatforms(offered)}`
  return new WindlassError(
    'PLATFORM_MISSING',
    `Cannot choose an image of ${name} for ${formatPlatform(platform)}: ${state}`,
  )
}

async function readImage(search: Search, documents: Documents, manifest: Manifest): Promise<ResolvedImage> {
  checkKind(search, manifest)
  const config = await readDocument(search, manifest.config, imageConfigSizeMax)
  const [imageConfig, layers] = named(search, () => {
    const parsed = parseImageConfig(config.bytes)
    return [parsed, imageLayers(manifest, parsed)] as const
  })
  const { descriptor } = documents.at(-1) ?? documents[0]
  const isFit = isForPlatform(imageConfig, search.platform, documents)
  if (!isFit && documents.length > 1) {
    search.offered.push({ ...descriptor, platform: imageConfig })
    throw platformMissing(search)
  }
  const image = { documents, manifest: documents.at(-1) ?? documents[0], config, imageConfig, layers }
  return { ...image, isForPlatform: isFit }
}

/** @throws WindlassError UNSUPPORTED if it is an artifact, or has layers that cannot be read without keys */
function checkKind({ name }: Search, { config, artifactType, layers }: Manifest): void {
  if (!isImageConfigType(config.mediaType)) {
    const type = artifactType ?? config.mediaType
    throw new WindlassError(
      'UNSUPPORTED',
      `Cannot pull ${name}: this is no image but an artifact of type ${quote(type)}`,
    )
  }
  // OCI's suffix, and the shorter one of containerd for docker's types.
  const encrypted = layers.find(({ mediaType }) => /\+enc(rypted)?$/i.test(mediaType))
  if (encrypted === undefined) return
  const state = `layer ${encrypted.digest} is encrypted (${encrypted.mediaType}); encrypted images are not supported`
  throw new WindlassError('UNSUPPORTED', `Cannot pull ${name}: ${state}`)
}

/** The messages of the parsers do not know whose document it is. */
function named<T>({ name }: Search, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (!isWindlassError(error)) throw error
    const { code, hint, facts } = error
    const message = error.message.replace(/^Cannot read [^:]*/, `$& of ${name}`)
    throw new WindlassError(code, message, { cause: error, facts, ...(hint !== undefined && { hint }) })
  }
}

/** The platform that this host runs. */
export function readHostPlatform(): Platform {
  return hostPlatform({ arch: process.arch, cpuInfo: readCpuInfo() })
}

function readCpuInfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8')
  } catch {
    return ''
  }
}

async function readDocument(search: Search, descriptor: Descriptor, sizeMax: number): Promise<Document> {
  const { hosts, options, name } = search
  if (search.documentsLeft-- === 0) {
    const message = `Cannot resolve ${name}: its indexes lead to more than ${documentsMax} documents`
    throw new WindlassError('LIMIT_EXCEEDED', message)
  }
  const { cache, signal } = options
  const known = await cache(descriptor)
  return known ?? (await askHosts(hosts, options, source => source.readDocument(descriptor, { sizeMax, signal })))
}

/** An entry of an index vouches for the platform of what it leads to; without one that does, the config's own word is all there is. */
function isForPlatform(config: ImageConfig, platform: Platform, documents: Documents): boolean {
  const [{ descriptor }, ...below] = documents
  if (config.architecture === 'unknown' || below.some(document => document.descriptor.platform !== undefined))
    return true
  return choosePlatform([{ ...descriptor, platform: config }], platform) !== undefined
}
