import { createHash } from 'node:crypto'
import type { CompressionOut } from '../codec/compress.ts'
import { WindlassError } from '../errors.ts'
import { packDirectory } from '../layer/pack.ts'
import type { Descriptor, Platform } from '../oci/descriptor.ts'
import { type Digest, parseDigest } from '../oci/digest.ts'
import { imageConfigSizeMax, parseImageConfig, readConfigDocument } from '../oci/image-config.ts'
import { type JsonObject, present, readObject } from '../oci/json.ts'
import { parseDocument } from '../oci/manifest.ts'
import { layerCompression, mediaTypes } from '../oci/media-types.ts'
import { openSpool, readSpool, writeAt } from '../places/archive/spool.ts'
import type { Document, Source } from '../places/place.ts'
import { packLayer } from './pack-layer.ts'
import type { OpenedSource } from './places.ts'

export interface PackImageOptions {
  /** The image that the directory is laid over. */
  readonly base?: OpenedSource | undefined
  /** Of an image without a base. */
  readonly platform: Platform
  /** How containers of it start, in the spec's words; what is not given stays as the base has it. */
  readonly config: ConfigChanges
  readonly compression?: CompressionOut | undefined
  readonly level?: number | undefined
  /** Seconds since the epoch: no file is younger, and it is the time at which the image was made. */
  readonly sourceDateEpoch?: number | undefined
  /** Where the layer is kept until the image is read, without a name. */
  readonly spoolDirectory: string
  readonly signal: AbortSignal
}

interface ConfigChanges {
  readonly Entrypoint?: readonly string[] | undefined
  readonly Cmd?: readonly string[] | undefined
  /** Each replaces the one of the same name. */
  readonly Env?: readonly string[]
  readonly Labels?: Readonly<Record<string, string>>
  readonly WorkingDir?: string | undefined
  readonly User?: string | undefined
}

/**
 * Makes an image of a directory, as a source that can be copied anywhere; the caller disposes it. The same tree and options give the same digest, with the
 * same version of Node's compression.
 */
export async function packImage(directory: string, options: PackImageOptions): Promise<Source> {
  const { signal, sourceDateEpoch, spoolDirectory } = options
  const spool = await openSpool(spoolDirectory)
  try {
    const tar = packDirectory(directory, { signal, sourceDateEpoch })
    let position = 0
    const write = async (chunk: Uint8Array): Promise<void> => {
      await writeAt(spool, chunk, position)
      position += chunk.length
    }
    const { compression, level } = options
    const packed = await packLayer(tar, write, { signal, compression, level })
    const base = options.base === undefined ? undefined : await readBase(options.base, signal)
    const config = formatConfig(base?.config, packed.diffId, options)
    const manifest = formatManifest([...(base?.layers ?? []), packed.descriptor], config)
    return {
      name: directory,
      isLocal: true,
      resolve: async () => manifest,
      readDocument: async descriptor => ({ descriptor, bytes: config.bytes }),
      openBlob: async (descriptor, request) => {
        if (descriptor.digest !== packed.descriptor.digest && options.base !== undefined)
          return await options.base.source.openBlob(descriptor, request)
        const isConfig = descriptor.digest === config.descriptor.digest
        const { offset } = request
        return { offset, bytes: isConfig ? once(config.bytes.subarray(offset)) : readSpool(spool, offset) }
      },
      [Symbol.asyncDispose]: () => spool.close(),
    }
  } catch (error) {
    await spool.close()
    throw error
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

interface Base {
  readonly config: JsonObject
  readonly layers: readonly Descriptor[]
}

async function readBase({ source, reference }: OpenedSource, signal: AbortSignal): Promise<Base> {
  const top = await source.resolve(reference, signal)
  const manifest = parseDocument(top.bytes, { descriptor: top.descriptor })
  if (manifest.kind === 'index')
    throw new WindlassError('UNSUPPORTED', `Cannot lay anything over ${reference.path}: it is an index`)
  const { bytes } = await source.readDocument(manifest.config, { sizeMax: imageConfigSizeMax, signal })
  parseImageConfig(bytes)
  return { config: readConfigDocument(bytes), layers: manifest.layers.map(asOci) }
}

/** A manifest of OCI has layers of OCI. */
function asOci({ mediaType, digest, size }: Descriptor): Descriptor {
  const compression = layerCompression(mediaType)
  if (compression === 'none' || compression === 'unknown') return { mediaType: mediaTypes.ociLayer, digest, size }
  return { mediaType: `${mediaTypes.ociLayer}+${compression}`, digest, size }
}

function formatConfig(base: JsonObject | undefined, diffId: Digest, options: PackImageOptions): Document {
  const { platform, sourceDateEpoch } = options
  const created = sourceDateEpoch === undefined ? undefined : new Date(sourceDateEpoch * 1000).toISOString()
  const old = base === undefined ? undefined : parseImageConfig(Buffer.from(JSON.stringify(base)))
  const document = {
    ...(base ?? { architecture: platform.architecture, os: platform.os, ...present({ variant: platform.variant }) }),
    ...present({ created }),
    config: changeConfig(base === undefined ? {} : (readObject(base, 'config', 'config') ?? {}), options.config),
    rootfs: { type: 'layers', diff_ids: [...(old?.rootfs.diff_ids ?? []), diffId] },
    history: [...(old?.history ?? []), { ...present({ created }), created_by: 'windlass pack' }],
  }
  return documentOf(document, mediaTypes.ociConfig)
}

function changeConfig(old: JsonObject, changes: ConfigChanges): object {
  const { Env = [], Labels = {}, ...rest } = changes
  const names = new Set(Env.map(nameOf))
  const kept = (Array.isArray(old['Env']) ? (old['Env'] as string[]) : []).filter(line => !names.has(nameOf(line)))
  const labels = { ...((old['Labels'] as object | null | undefined) ?? {}), ...Labels }
  return {
    ...old,
    ...present(rest),
    ...(kept.length + Env.length > 0 && { Env: [...kept, ...Env] }),
    ...(Object.keys(labels).length > 0 && { Labels: labels }),
  }
}

function nameOf(line: string): string {
  return line.split('=', 1)[0] ?? ''
}

function formatManifest(layers: readonly Descriptor[], { descriptor }: Document): Document {
  const document = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: descriptor, layers }
  return documentOf(document, mediaTypes.ociManifest)
}

function documentOf(value: object, mediaType: string): Document {
  const bytes = Buffer.from(JSON.stringify(value))
  const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes }
}
