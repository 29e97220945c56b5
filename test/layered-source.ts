import { gzipSync } from 'node:zlib'
import { WindlassError } from '../src/errors.ts'
import type { Descriptor } from '../src/oci/descriptor.ts'
import type { Digest } from '../src/oci/digest.ts'
import { mediaTypes } from '../src/oci/media-types.ts'
import type { Source } from '../src/places/place.ts'
import { descriptorOf, digestOf } from './servers/push.ts'
import { buildTar, type RawEntry } from './tar-builder.ts'

/** An image in memory, of these layers from the base upwards. */
export interface LayeredSource {
  readonly source: Source
  readonly reference: { readonly domain: string; readonly path: string; readonly tag: string }
  /** Each layer that was read, by its place from the base, in order. */
  readonly read: number[]
  /** Changes a byte of a layer. */
  damage(layer: number): void
  [Symbol.asyncDispose](): Promise<void>
}

export function layeredSource(...layers: readonly (readonly RawEntry[])[]): LayeredSource {
  const blobs = new Map<Digest, Buffer>()
  const put = (bytes: Buffer, mediaType: string): Descriptor => {
    blobs.set(digestOf(bytes), bytes)
    return descriptorOf(bytes, mediaType)
  }
  const tars = layers.map(entries => buildTar(entries))
  const descriptors = tars.map(tar => put(gzipSync(tar), mediaTypes.ociLayerGzip))
  const rootfs = { type: 'layers', diff_ids: tars.map(tar => digestOf(tar)) }
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch
  const config = put(Buffer.from(JSON.stringify({ architecture, os: 'linux', rootfs })), mediaTypes.ociConfig)
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: descriptors }
  const top = put(Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest)
  const bytesOf = ({ digest }: Descriptor): Buffer => {
    const bytes = blobs.get(digest)
    if (bytes === undefined) throw new WindlassError('NOT_FOUND', `Cannot read ${digest}`)
    return bytes
  }
  const read: number[] = []
  return {
    source: {
      name: 'memory',
      resolve: async () => ({ descriptor: top, bytes: bytesOf(top) }),
      readDocument: async descriptor => ({ descriptor, bytes: bytesOf(descriptor) }),
      openBlob: async (descriptor, { offset }) => {
        read.push(descriptors.findIndex(({ digest }) => digest === descriptor.digest))
        return { offset, bytes: pieces(bytesOf(descriptor).subarray(offset)) }
      },
      [Symbol.asyncDispose]: async () => {},
    },
    reference: { domain: 'memory', path: 'image', tag: 'tag' },
    read,
    damage: layer => {
      const bytes = bytesOf(descriptors[layer] as Descriptor)
      const at = bytes.length - 1
      bytes[at] = (bytes[at] as number) ^ 1
    },
    [Symbol.asyncDispose]: async () => {},
  }
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
}
