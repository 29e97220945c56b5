import { createHash } from 'node:crypto'
import { type CompressionOut, compress } from '../codec/compress.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { type Digest, parseDigest } from '../oci/digest.ts'
import { mediaTypes } from '../oci/media-types.ts'

export interface PackLayerOptions {
  readonly signal: AbortSignal
  /** `gzip` if not given. */
  readonly compression?: CompressionOut | undefined
  /** gzip 1 to 9 (6 if not given), zstd 1 to 22 (3 if not given). */
  readonly level?: number | undefined
}

/** A layer as a manifest (`descriptor`) and a config (`diffId`) name it. */
export interface PackedLayer {
  readonly descriptor: Descriptor
  readonly diffId: Digest
  /** Bytes of the uncompressed tar. */
  readonly tarSize: number
}

const layerTypes = { gzip: mediaTypes.ociLayerGzip, zstd: mediaTypes.ociLayerZstd, none: mediaTypes.ociLayer } as const

/**
 * Compresses a tar and gives the bytes to `write`, one chunk at a time, each awaited. The same tar and options give
 * the same bytes with the same Node version. Whoever writes makes the bytes durable.
 * @param tar for example of `packDirectory`; its chunks are read, not kept
 */
export async function packLayer(
  tar: AsyncIterable<Uint8Array>,
  write: (chunk: Uint8Array) => void | Promise<void>,
  options: PackLayerOptions,
): Promise<PackedLayer> {
  const { compression = 'gzip', level, signal } = options
  const plain = new Tally()
  const packed = new Tally()
  for await (const chunk of compress(plain.count(tar), { compression, level, signal })) {
    packed.add(chunk)
    await write(chunk)
  }
  const descriptor = { mediaType: layerTypes[compression], digest: packed.digest(), size: packed.bytes }
  return { descriptor, diffId: plain.digest(), tarSize: plain.bytes }
}

class Tally {
  bytes = 0
  readonly #hash = createHash('sha256')

  add(chunk: Uint8Array): void {
    this.bytes += chunk.length
    this.#hash.update(chunk)
  }

  async *count(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      this.add(chunk)
      yield chunk
    }
  }

  digest(): Digest {
    return parseDigest(`sha256:${this.#hash.digest('hex')}`)
  }
}
