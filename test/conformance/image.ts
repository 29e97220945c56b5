/** A small image in memory, as a source: two layers, one of them twice, for two platforms. */
import { gzipSync } from 'node:zlib'
import type { Descriptor } from '../../src/oci/descriptor.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { mediaTypes } from '../../src/oci/media-types.ts'
import type { Document, Source } from '../../src/places/place.ts'
import { descriptorOf, digestOf } from '../servers/push.ts'
import { buildTar } from '../tar-builder.ts'

export interface MemoryImage {
  readonly source: Source
  readonly index: Document
  /** By architecture. */
  readonly manifests: Readonly<Record<'amd64' | 'arm64', Document>>
  readonly blobs: Map<Digest, Buffer>
  /** Blobs that were read. */
  readonly read: Digest[]
}

export function memoryImage(text = 'content'): MemoryImage {
  const blobs = new Map<Digest, Buffer>()
  const put = (bytes: Buffer, mediaType: string): Descriptor => {
    blobs.set(digestOf(bytes), bytes)
    return descriptorOf(bytes, mediaType)
  }
  const plain = [[{ name: 'a', data: text }], [{ name: 'b', data: `${text}${'x'.repeat(200_000)}` }]].map(entries =>
    buildTar(entries),
  )
  const layers = [plain[0], plain[1], plain[0]].map(bytes => put(gzipSync(bytes as Buffer), mediaTypes.ociLayerGzip))
  const diffIds = [plain[0], plain[1], plain[0]].map(bytes => digestOf(bytes as Buffer))
  const manifestOf = (architecture: string): Document => {
    const config = { architecture, os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: diffIds }, history: [] }
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: put(Buffer.from(JSON.stringify(config)), mediaTypes.ociConfig),
      layers,
    }
    return documentOf(manifest, mediaTypes.ociManifest)
  }
  const manifests = { amd64: manifestOf('amd64'), arm64: manifestOf('arm64') }
  const index = documentOf(
    {
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests: Object.entries(manifests).map(([architecture, { descriptor }]) => ({
        ...descriptor,
        platform: { os: 'linux', architecture },
      })),
    },
    mediaTypes.ociIndex,
  )
  const documents = new Map([index, ...Object.values(manifests)].map(it => [it.descriptor.digest, it] as const))
  const read: Digest[] = []
  const source: Source = {
    name: 'memory',
    resolve: async () => index,
    readDocument: async descriptor =>
      documents.get(descriptor.digest) ?? { descriptor, bytes: blobs.get(descriptor.digest) as Buffer },
    openBlob: async ({ digest }, { offset }) => {
      read.push(digest)
      return { offset, bytes: pieces((blobs.get(digest) as Buffer).subarray(offset)) }
    },
    [Symbol.asyncDispose]: async () => {},
  }
  return { source, index, manifests, blobs, read }
}

function documentOf(value: unknown, mediaType: string): Document {
  const bytes = Buffer.from(JSON.stringify(value))
  return { descriptor: descriptorOf(bytes, mediaType), bytes }
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000)
}
