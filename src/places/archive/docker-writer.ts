import { type Digest, digestHex } from '../../oci/digest.ts'
import { tarEnd } from '../../tar/writer.ts'
import { fileHeader, filePadding } from './tar-output.ts'

/** A layer of an archive for `docker load`. */
export interface ArchiveLayer {
  readonly diffId: Digest
  /** Its uncompressed tar; absent where the daemon has the layer already. */
  readonly content?: { readonly size: number; readonly bytes: AsyncIterable<Uint8Array> }
}

export interface ArchiveImage {
  readonly config: { readonly digest: Digest; readonly bytes: Uint8Array }
  /** From the base upwards; they are written as they become ready, since manifest.json alone says their order. */
  readonly layers: readonly { readonly diffId: Digest; readonly ready: Promise<ArchiveLayer> }[]
  /** `host/repo:tag`, as docker prints it; none for an image without a tag. */
  readonly names: readonly string[]
}

/**
 * The archive of one image, as `docker load` reads it (image spec v1.2, "Combined Image JSON + Filesystem Changeset Format"). The layers are plain
 * tars, so that the daemon starts no decompressor. What the daemon has is named but left out.
 */
export async function* writeArchive({ config, layers, names }: ArchiveImage): AsyncGenerator<Uint8Array> {
  const manifest = [
    {
      Config: configPath(config.digest),
      RepoTags: names.length === 0 ? null : names,
      Layers: layers.map(({ diffId }) => layerPath(diffId)),
    },
  ]
  yield* file(configPath(config.digest), config.bytes)
  yield* file('manifest.json', Buffer.from(JSON.stringify(manifest)))
  const written = new Set<Digest>()
  for await (const { diffId, content } of inOrderOfReadiness(layers.map(({ ready }) => ready))) {
    // An image may have one layer twice.
    if (content === undefined || written.has(diffId)) continue
    written.add(diffId)
    yield fileHeader(layerPath(diffId), content.size)
    yield* content.bytes
    yield filePadding(content.size)
  }
  yield tarEnd
}

/** The first that fails ends it. */
async function* inOrderOfReadiness<T>(promises: readonly Promise<T>[]): AsyncGenerator<T> {
  const open = new Map(promises.map((promise, at) => [at, promise.then(value => ({ at, value }))]))
  for (const promise of open.values()) promise.catch(() => {}) // told by the race
  while (open.size > 0) {
    const { at, value } = await Promise.race(open.values())
    open.delete(at)
    yield value
  }
}

function* file(name: string, bytes: Uint8Array): Generator<Uint8Array> {
  yield fileHeader(name, bytes.length)
  yield bytes
  yield filePadding(bytes.length)
}

export function layerPath(diffId: Digest): string {
  return `${digestHex(diffId)}/layer.tar`
}

export function configPath(config: Digest): string {
  return `${digestHex(config)}.json`
}
