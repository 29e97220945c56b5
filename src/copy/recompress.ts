import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import type { CompressionOut } from '../codec/compress.ts'
import { decompress } from '../codec/decompress.ts'
import { WindlassError } from '../errors.ts'
import { verified } from '../flow/verify.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { type Digest, parseDigest } from '../oci/digest.ts'
import { imageConfigSizeMax, parseImageConfig } from '../oci/image-config.ts'
import { parseDocument } from '../oci/manifest.ts'
import { mediaTypes } from '../oci/media-types.ts'
import { openSpool, readSpool, writeAt } from '../places/archive/spool.ts'
import type { Source } from '../places/place.ts'
import { packLayer } from './pack-layer.ts'
import type { OpenedSource } from './places.ts'

export interface RecompressOptions {
  readonly compression: CompressionOut
  readonly level?: number | undefined
  /** Where the layers are kept until the source is disposed, without names. */
  readonly spoolDirectory: string
  readonly signal: AbortSignal
}

/**
 * An image with all its layers compressed in another way: the same ID, another digest; the same each time, with the same version of Node's
 * compression. The caller disposes it, and then what it was made from.
 * @throws WindlassError UNSUPPORTED for an index; DIGEST_MISMATCH if a layer is not what the config says
 */
export async function recompress({ source, reference }: OpenedSource, options: RecompressOptions): Promise<Source> {
  const { signal } = options
  const top = await source.resolve(reference, signal)
  const manifest = parseDocument(top.bytes, { descriptor: top.descriptor })
  if (manifest.kind === 'index')
    throw new WindlassError('UNSUPPORTED', `Cannot recompress ${reference.path}: it is an index; choose one platform`)
  const config = await source.readDocument(manifest.config, { sizeMax: imageConfigSizeMax, signal })
  const { diff_ids: diffIds } = parseImageConfig(config.bytes).rootfs
  await using opened = new AsyncDisposableStack()
  const spools = new Map<Digest, FileHandle>()
  const layers: Descriptor[] = []
  for (const [at, layer] of manifest.layers.entries()) {
    const spool = opened.use(await openSpool(options.spoolDirectory))
    const packed = await packInto(spool, source, layer, { ...options, diffId: diffIds[at] as Digest })
    spools.set(packed.digest, spool)
    layers.push(packed)
  }
  const { mediaType: _, ...rest } = manifest.config
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, ...rest },
    layers,
  }
  const bytes = Buffer.from(JSON.stringify(document))
  const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
  const kept = opened.move()
  return {
    name: source.name,
    isLocal: true,
    resolve: async () => ({ descriptor: { mediaType: mediaTypes.ociManifest, digest, size: bytes.length }, bytes }),
    readDocument: async (descriptor, request) => await source.readDocument(descriptor, request),
    openBlob: async (descriptor, request) => {
      const spool = spools.get(descriptor.digest)
      if (spool === undefined) return await source.openBlob(descriptor, request)
      return { offset: request.offset, bytes: readSpool(spool, request.offset) }
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

async function packInto(
  spool: FileHandle,
  source: Source,
  layer: Descriptor,
  { compression, level, signal, diffId }: RecompressOptions & { readonly diffId: Digest },
): Promise<Descriptor> {
  const { bytes } = await source.openBlob(layer, { offset: 0, signal })
  const subject = `content of layer ${layer.digest}`
  const plain = verified(decompress(bytes, { signal }), { digest: diffId, subject })
  let position = 0
  const write = async (chunk: Uint8Array): Promise<void> => {
    await writeAt(spool, chunk, position)
    position += chunk.length
  }
  return (await packLayer(plain, write, { signal, compression, level })).descriptor
}
