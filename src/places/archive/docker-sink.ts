import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { decompress } from '../../codec/decompress.ts'
import { WindlassError } from '../../errors.ts'
import { verified } from '../../flow/verify.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, parseDigest } from '../../oci/digest.ts'
import { imageConfigSizeMax, parseImageConfig } from '../../oci/image-config.ts'
import { parseDocument } from '../../oci/manifest.ts'
import { isImageConfigType, mediaTypes } from '../../oci/media-types.ts'
import { formatFamiliar } from '../../oci/reference.ts'
import type { BlobReader, Document, Placement, Sink } from '../place.ts'
import { configPath, layerPath } from './docker-writer.ts'
import { openSpool, readSpool, spooled } from './spool.ts'
import { type ByteSink, TarOutput } from './tar-output.ts'

/**
 * An archive as `docker save` writes it, for `docker load`. The layers are plain tars: whoever loads them needs no decompressor. A tar says the size of
 * an entry before its bytes, so a compressed layer is read twice.
 * @param spoolDirectory for layers that come over the network, meanwhile
 */
export function openDockerArchiveSink(to: ByteSink, spoolDirectory: string): Sink {
  return new DockerArchiveSink(new TarOutput(to), spoolDirectory)
}

interface Entry {
  readonly Config: string
  readonly RepoTags: string[]
  readonly Layers: readonly string[]
  /** As docker describes layers that are not in the archive; only of such here. */
  readonly LayerSources?: Readonly<Record<Digest, Descriptor>>
}

class DockerArchiveSink implements Sink {
  readonly onePlatform = true
  readonly isOnePass = true
  readonly #tar: TarOutput
  readonly #spoolDirectory: string
  readonly #configs = new Map<Digest, Buffer>()
  /** What each layer's blob holds. */
  readonly #diffIds = new Map<Digest, Digest>()
  readonly #written = new Map<Digest, Promise<void>>()
  /** Sizes of layers, by what they hold, that are not written. */
  readonly #leftOut = new Map<Digest, number>()
  readonly #entries = new Map<Digest, Entry>()

  constructor(tar: TarOutput, spoolDirectory: string) {
    this.#tar = tar
    this.#spoolDirectory = spoolDirectory
  }

  get name(): string {
    return this.#tar.name
  }

  async hasBlob({ digest }: Descriptor): Promise<boolean> {
    return this.#configs.has(digest) || this.#diffIds.has(digest)
  }

  async putBlob(descriptor: Descriptor, blob: BlobReader, signal: AbortSignal): Promise<void> {
    if (isImageConfigType(descriptor.mediaType)) return await this.#putConfig(descriptor, blob, signal)
    await using spool = blob.isLocal ? undefined : await openSpool(this.#spoolDirectory)
    const { diffId, size } = await measure(decompress(spoolInto(spool, blob.open(0)), { signal }))
    this.#diffIds.set(descriptor.digest, diffId)
    const again = (): AsyncIterable<Uint8Array> =>
      verified(decompress(spool === undefined ? blob.open(0) : readSpool(spool), { signal }), {
        digest: diffId,
        size,
        subject: `content of layer ${descriptor.digest}`,
      })
    // Two blobs may hold the same layer.
    let writing = this.#written.get(diffId)
    writing ??= this.#tar.add(layerPath(diffId), size, again, signal)
    this.#written.set(diffId, writing)
    await writing
  }

  async leaveOut({ digest }: Descriptor, blob: BlobReader, signal: AbortSignal): Promise<void> {
    const { diffId, size } = await measure(decompress(blob.open(0), { signal }))
    this.#diffIds.set(digest, diffId)
    this.#leftOut.set(diffId, size)
  }

  async putDocument({ descriptor, bytes }: Document, { full }: Placement): Promise<void> {
    const doing = `Cannot write image ${descriptor.digest} to ${this.name}`
    const manifest = parseDocument(bytes, { descriptor })
    const config = manifest.kind === 'manifest' ? this.#configs.get(manifest.config.digest) : undefined
    if (manifest.kind !== 'manifest' || config === undefined)
      throw new WindlassError('UNSUPPORTED', `${doing}: it is no image; a docker archive holds nothing else`)
    const diffIds = manifest.layers.map(({ digest }) => this.#diffIds.get(digest) as Digest)
    const wanted = parseImageConfig(config).rootfs.diff_ids
    if (diffIds.join() !== wanted.join())
      throw new WindlassError('DIGEST_MISMATCH', `${doing}: its layers hold something else than its config says`)
    const known = this.#entries.get(manifest.config.digest)
    const entry = known ?? {
      Config: configPath(manifest.config.digest),
      RepoTags: [],
      Layers: diffIds.map(layerPath),
      ...this.#describeLeftOut(diffIds),
    }
    if (full !== undefined) entry.RepoTags.push(formatFamiliar(full))
    this.#entries.set(manifest.config.digest, entry)
  }

  async commit(signal: AbortSignal): Promise<void> {
    for (const digest of this.#entries.keys())
      await this.#tar.addBytes(configPath(digest), this.#configs.get(digest) as Buffer, signal)
    const entries = [...this.#entries.values()]
    const manifest = entries.map(entry => ({ ...entry, RepoTags: entry.RepoTags.length === 0 ? null : entry.RepoTags }))
    await this.#tar.addBytes('manifest.json', Buffer.from(JSON.stringify(manifest)), signal)
    await this.#tar.commit()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tar[Symbol.asyncDispose]()
  }

  #describeLeftOut(diffIds: readonly Digest[]): Pick<Entry, 'LayerSources'> {
    const missing = diffIds.filter(diffId => this.#leftOut.has(diffId))
    if (missing.length === 0) return {}
    const describe = (digest: Digest): Descriptor => {
      return { mediaType: mediaTypes.dockerLayer, digest, size: this.#leftOut.get(digest) as number }
    }
    return { LayerSources: Object.fromEntries(missing.map(diffId => [diffId, describe(diffId)])) }
  }

  async #putConfig({ digest, size }: Descriptor, blob: BlobReader, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (size > imageConfigSizeMax) {
      const state = `it has ${size} bytes; at most ${imageConfigSizeMax} are allowed`
      throw new WindlassError('LIMIT_EXCEEDED', `Cannot write config ${digest} to ${this.name}: ${state}`)
    }
    this.#configs.set(digest, Buffer.concat(await Array.fromAsync(blob.open(0))))
  }
}

async function measure(bytes: AsyncIterable<Uint8Array>): Promise<{ diffId: Digest; size: number }> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of bytes) {
    hash.update(chunk)
    size += chunk.length
  }
  return { diffId: parseDigest(`sha256:${hash.digest('hex')}`), size }
}

function spoolInto(spool: FileHandle | undefined, bytes: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return spool === undefined ? bytes : spooled(spool, bytes)
}
