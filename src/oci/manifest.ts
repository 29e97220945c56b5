import { WindlassError } from '../errors.ts'
import type { Descriptor, Platform } from './descriptor.ts'
import {
  asObject,
  checkKeyCase,
  checkUniqueKeys,
  corrupt,
  decodeText,
  type JsonObject,
  kindOf,
  parseJson,
  present,
  readDigest,
  readField,
  readList,
  readObject,
  readString,
  readStringMap,
  readStrings,
} from './json.ts'
import { isIndexType, isManifestType, isSchema1Type, mediaTypes } from './media-types.ts'
import { quote } from './quote.ts'

/** Bytes of a manifest or index: distribution-spec asks registries to take 4 MiB, and docker reads no more. */
export const manifestSizeMax = 4 * 1024 * 1024
/** How deep indexes may name indexes: in practice two; without a bound a loop of hosts could keep a pull busy. */
export const indexDepthMax = 4
/** Overlay mounts take 500 layers at most, docker 125: an image with more can be used nowhere. */
const layerCountMax = 500
/** The largest known indexes name some hundred manifests. */
const indexCountMax = 10_000

/** An image manifest, OCI or docker schema 2, or an artifact in its form: then `config` is not an image's configuration. */
export interface Manifest {
  readonly kind: 'manifest'
  readonly mediaType: string
  readonly config: Descriptor
  /** From the base upwards. */
  readonly layers: readonly Descriptor[]
  readonly artifactType?: string
  readonly subject?: Descriptor
  readonly annotations?: Readonly<Record<string, string>>
}

/** An OCI index or docker manifest list. */
export interface Index {
  readonly kind: 'index'
  readonly mediaType: string
  readonly manifests: readonly Descriptor[]
  readonly artifactType?: string
  readonly subject?: Descriptor
  readonly annotations?: Readonly<Record<string, string>>
}

export interface DocumentOrigin {
  /** The Content-Type it was served with. */
  readonly contentType?: string | undefined
  /** The descriptor that named it. */
  readonly descriptor?: Pick<Descriptor, 'mediaType'> | undefined
}

/**
 * Reads a manifest or an index (OCI image-spec manifest.md, image-index.md; docker schema 2). Its own `mediaType`, the
 * Content-Type and the descriptor must agree, and its fields must be those of that type alone: otherwise two readers could
 * see two images under one digest (CVE-2021-41190). Size and digest are verified by whoever read the bytes.
 * @throws WindlassError CORRUPT, LIMIT_EXCEEDED, UNSUPPORTED (docker schema 1, other document types)
 */
export function parseDocument(bytes: Uint8Array, origin: DocumentOrigin = {}): Manifest | Index {
  const text = decodeText(bytes, 'manifest', manifestSizeMax)
  const document = asObject(parseJson(text, 'manifest'), 'manifest')
  checkUniqueKeys(text, 'manifest')
  checkKeys(document)
  const declared = declaredType(document, origin)
  checkSchema(document, declared)
  const mediaType = declared ?? inferredType(document)
  if (isIndexType(mediaType)) return readIndex(document, mediaType)
  if (isManifestType(mediaType)) return readManifest(document, mediaType)
  const state = `its media type is ${quote(mediaType)}; an OCI or docker manifest or index is needed`
  throw new WindlassError('UNSUPPORTED', `Cannot read manifest: ${state}`)
}

const documentKeys = [
  ...['schemaVersion', 'mediaType', 'artifactType', 'subject', 'annotations'],
  ...['config', 'layers', 'manifests', 'fsLayers'],
]
const descriptorKeys = ['mediaType', 'digest', 'size', 'annotations', 'platform', 'urls', 'artifactType']
const platformKeys = ['os', 'architecture', 'variant', 'os.version', 'os.features']

function checkKeys(document: JsonObject): void {
  checkKeyCase(document, documentKeys, 'manifest')
  const isIndex = readField(document, 'manifests') !== undefined
  const rivals = ['layers', 'config', 'fsLayers'].filter(key => readField(document, key) !== undefined)
  if (isIndex && rivals.length > 0) {
    throw corrupt(
      'manifest',
      `it has both manifests and ${rivals.join(', ')}; it must be either an index or a manifest`,
    )
  }
  if (rivals.includes('fsLayers') && rivals.length > 1) {
    throw corrupt('manifest', `it has ${rivals.join(', ')}; it must be of one schema`)
  }
}

/** Types that web servers give to any file: they say nothing, so the document speaks for itself. */
const genericTypes: ReadonlySet<string> = new Set([
  'application/json',
  'application/octet-stream',
  'binary/octet-stream',
  'text/plain',
])

/** The one media type on which body, Content-Type and descriptor agree; undefined if none of them names one. */
function declaredType(document: JsonObject, { contentType, descriptor }: DocumentOrigin): string | undefined {
  const claims = [
    ['its mediaType', readString(document, 'mediaType', 'manifest')],
    ['its Content-Type', specificType(contentType)],
    ['its descriptor', specificType(descriptor?.mediaType)],
  ].filter((claim): claim is [string, string] => Boolean(claim[1]))
  const [first, ...others] = claims
  const rival = others.find(([, type]) => type !== first?.[1])
  if (first !== undefined && rival !== undefined) {
    throw corrupt(
      'manifest',
      `${first[0]} says ${quote(first[1])}, ${rival[0]} says ${quote(rival[1])}; they must agree`,
    )
  }
  return first?.[1]
}

function specificType(mediaType: string | undefined): string | undefined {
  const type = mediaType?.split(';', 1)[0]?.trim().toLowerCase()
  return type === undefined || genericTypes.has(type) ? undefined : type
}

function checkSchema(document: JsonObject, declared: string | undefined): void {
  const version = readField(document, 'schemaVersion')
  const isSchema1 = version === 1 || readField(document, 'fsLayers') !== undefined || isSchema1Type(declared ?? '')
  if (isSchema1) {
    throw new WindlassError('UNSUPPORTED', 'Cannot read manifest: it is docker schema 1; schema 2 or OCI is needed', {
      hint: 'schema 1 was given up in 2019: pull and push the image with a recent docker to convert it',
    })
  }
  if (version !== 2) throw corrupt('manifest', `its schemaVersion is ${kindOf(version)}; 2 is needed`)
}

/** OCI lets `mediaType` be absent; then the fields decide, of which `checkKeys` has seen only one kind. */
function inferredType(document: JsonObject): string {
  if (readField(document, 'manifests') !== undefined) return mediaTypes.ociIndex
  if (readField(document, 'config') !== undefined) return mediaTypes.ociManifest
  throw corrupt('manifest', 'it has neither manifests nor config; it must be an index or a manifest')
}

function readManifest(document: JsonObject, mediaType: string): Manifest {
  if (readField(document, 'manifests') !== undefined) {
    throw corrupt('manifest', `its type is ${quote(mediaType)} but it has manifests; config and layers are needed`)
  }
  return {
    kind: 'manifest',
    mediaType,
    config: readDescriptor(readField(document, 'config'), 'manifest.config'),
    layers: readDescriptors(document, 'layers', layerCountMax),
    ...readCommon(document),
  }
}

function readIndex(document: JsonObject, mediaType: string): Index {
  if (
    !Object.hasOwn(document, 'manifests') ||
    ['config', 'layers'].some(key => readField(document, key) !== undefined)
  ) {
    throw corrupt('manifest', `its type is ${quote(mediaType)}, which has manifests, and neither config nor layers`)
  }
  return {
    kind: 'index',
    mediaType,
    manifests: readDescriptors(document, 'manifests', indexCountMax),
    ...readCommon(document),
  }
}

function readCommon(document: JsonObject): Pick<Manifest, 'artifactType' | 'subject' | 'annotations'> {
  const subject = readField(document, 'subject')
  return present({
    artifactType: readString(document, 'artifactType', 'manifest'),
    subject: subject === undefined ? undefined : readDescriptor(subject, 'manifest.subject'),
    annotations: readStringMap(document, 'annotations', 'manifest'),
  })
}

function readDescriptors(document: JsonObject, name: string, countMax: number): Descriptor[] {
  const list = readList(document, name, 'manifest', countMax) ?? []
  return list.map((value, at) => readDescriptor(value, `manifest.${name}[${at}]`))
}

/** RFC 6838, section 4.2, as the image-spec demands; it also keeps control characters out of messages and headers. */
const mediaTypePattern = /^[A-Za-z0-9][\w!#$&^.+-]{0,126}\/[A-Za-z0-9][\w!#$&^.+-]{0,126}$/

function readDescriptor(value: unknown, subject: string): Descriptor {
  const descriptor = asObject(value, subject)
  checkKeyCase(descriptor, descriptorKeys, subject)
  const mediaType = readString(descriptor, 'mediaType', subject)
  if (mediaType === undefined || !mediaTypePattern.test(mediaType)) {
    throw corrupt(subject, `its mediaType is ${kindOf(mediaType)}; type/subtype is needed`)
  }
  const size = readField(descriptor, 'size')
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw corrupt(subject, `its size is ${kindOf(size)}; a whole number of bytes is needed`)
  }
  return {
    mediaType,
    digest: readDigest(descriptor, 'digest', subject),
    size,
    ...present({
      annotations: readStringMap(descriptor, 'annotations', subject),
      platform: readPlatform(descriptor, subject),
      urls: readStrings(descriptor, 'urls', subject),
      artifactType: readString(descriptor, 'artifactType', subject),
    }),
  }
}

/** An os or architecture that is not given becomes `unknown`, which no host matches. */
function readPlatform(descriptor: JsonObject, outer: string): Platform | undefined {
  const platform = readObject(descriptor, 'platform', outer)
  if (platform === undefined) return undefined
  const subject = `${outer}.platform`
  checkKeyCase(platform, platformKeys, subject)
  return {
    os: readString(platform, 'os', subject) || 'unknown',
    architecture: readString(platform, 'architecture', subject) || 'unknown',
    ...present({
      variant: readString(platform, 'variant', subject) || undefined,
      'os.version': readString(platform, 'os.version', subject) || undefined,
      'os.features': readStrings(platform, 'os.features', subject),
    }),
  }
}
