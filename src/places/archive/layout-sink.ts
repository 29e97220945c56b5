import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { wrapError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import type { Digest } from '../../oci/digest.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import { formatReference, type Reference } from '../../oci/reference.ts'
import { syncDirectory } from '../../sys/disk.ts'
import type { BlobReader, Document, Placement, Sink } from '../place.ts'
import { DirectoryFiles } from './files.ts'
import { blobPath, containerdNameKey, readLayoutIndex, refNameKey } from './layout-source.ts'
import { type ByteSink, TarOutput } from './tar-output.ts'

const layoutFile = Buffer.from('{"imageLayoutVersion":"1.0.0"}')

/** What both forms of a layout remember: the images that their index will name. */
class Names {
  readonly #entries: Descriptor[]

  constructor(entries: readonly Descriptor[] = []) {
    this.#entries = [...entries]
  }

  /** A name moves from the image that had it. Without one, a top document is named by its digest alone. */
  add(
    { mediaType, digest, size, artifactType }: Descriptor,
    tag: string | undefined,
    full: Reference | undefined,
  ): void {
    const at = this.#entries.findIndex(({ annotations }) => tag !== undefined && annotations?.[refNameKey] === tag)
    if (at >= 0) this.#entries.splice(at, 1)
    const annotations = {
      ...(full !== undefined && { [containerdNameKey]: formatReference(full) }),
      ...(tag !== undefined && { [refNameKey]: tag }),
    }
    const isThere = tag === undefined && this.#entries.some(known => known.digest === digest)
    if (!isThere)
      this.#entries.push({ mediaType, digest, size, ...(artifactType !== undefined && { artifactType }), annotations })
  }

  format(): Buffer {
    const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: this.#entries }
    return Buffer.from(JSON.stringify(index))
  }
}

/** An OCI layout as a tar, in the order in which things come. */
export function openLayoutTarSink(to: ByteSink): Sink {
  return new LayoutTarSink(new TarOutput(to))
}

class LayoutTarSink implements Sink {
  readonly onePlatform = false
  readonly keepsReferrers = true
  readonly isOnePass = true
  readonly #tar: TarOutput
  readonly #names = new Names()
  readonly #written = new Map<Digest, Promise<void>>()

  constructor(tar: TarOutput) {
    this.#tar = tar
  }

  get name(): string {
    return this.#tar.name
  }

  async hasBlob({ digest }: Descriptor): Promise<boolean> {
    await this.#written.get(digest)
    return this.#written.has(digest)
  }

  async putBlob(descriptor: Descriptor, blob: BlobReader, signal: AbortSignal): Promise<void> {
    await this.#once(descriptor.digest, () =>
      this.#tar.add(blobPath(descriptor.digest), descriptor.size, () => blob.open(0), signal),
    )
  }

  async putDocument({ descriptor, bytes }: Document, target: Placement, signal: AbortSignal): Promise<void> {
    await this.#once(descriptor.digest, () => this.#tar.addBytes(blobPath(descriptor.digest), bytes, signal))
    if (target.isPart !== true) this.#names.add(descriptor, target.tag, target.full)
  }

  async commit(signal: AbortSignal): Promise<void> {
    await this.#tar.addBytes('oci-layout', layoutFile, signal)
    await this.#tar.addBytes('index.json', this.#names.format(), signal)
    await this.#tar.commit()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tar[Symbol.asyncDispose]()
  }

  async #once(digest: Digest, write: () => Promise<void>): Promise<void> {
    let writing = this.#written.get(digest)
    if (writing === undefined) {
      writing = write()
      this.#written.set(digest, writing)
      writing.catch(() => this.#written.delete(digest))
    }
    await writing
  }
}

/** An OCI layout in a directory, which is made if it is not there; what it holds stays. */
export async function openLayoutSink(directory: string): Promise<Sink> {
  const doing = `Cannot write OCI layout ${directory}`
  try {
    const files = new DirectoryFiles(directory)
    const isThere = (await files.find('index.json')) !== undefined
    const names = new Names(isThere ? (await readLayoutIndex(files)).manifests : [])
    for (const algorithm of ['sha256', 'sha512']) {
      const path = dirname(join(directory, blobPath(`${algorithm}:` as Digest)))
      await mkdir(join(path, algorithm), { recursive: true })
    }
    return new LayoutDirectorySink(directory, names)
  } catch (error) {
    throw wrapError(error, doing)
  }
}

class LayoutDirectorySink implements Sink {
  readonly name: string
  readonly onePlatform = false
  readonly keepsReferrers = true
  readonly isOnePass = false
  readonly #files: DirectoryFiles
  readonly #names: Names

  constructor(directory: string, names: Names) {
    this.name = directory
    this.#files = new DirectoryFiles(directory)
    this.#names = names
  }

  /** A file of the right size under the digest was renamed there when it was right. */
  async hasBlob({ digest, size }: Descriptor): Promise<boolean> {
    return (await this.#files.find(blobPath(digest))) === size
  }

  async putBlob({ digest }: Descriptor, blob: BlobReader): Promise<void> {
    await this.#put(blobPath(digest), blob.open(0))
  }

  async putDocument({ descriptor, bytes }: Document, target: Placement): Promise<void> {
    await this.#put(blobPath(descriptor.digest), [bytes])
    if (target.isPart !== true) this.#names.add(descriptor, target.tag, target.full)
  }

  async commit(): Promise<void> {
    await this.#put('oci-layout', [layoutFile])
    await this.#put('index.json', [this.#names.format()])
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #put(path: string, bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const target = join(this.name, path)
    const partial = join(this.name, `.${randomBytes(8).toString('hex')}.partial`)
    try {
      const handle = await open(partial, 'wx', 0o644)
      try {
        for await (const chunk of bytes)
          for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(partial, target)
      await syncDirectory(dirname(target))
    } catch (error) {
      await rm(partial, { force: true })
      throw wrapError(error, `Cannot write ${target}`)
    }
  }
}
