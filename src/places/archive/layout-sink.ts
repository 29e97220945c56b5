import { randomBytes } from 'node:crypto'
import type { BigIntStats } from 'node:fs'
import { mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { WindlassError, wrapError } from '../../errors.ts'
import { hashStream } from '../../flow/verify.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, digestAlgorithm, digestHex } from '../../oci/digest.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import { formatReference, type Reference } from '../../oci/reference.ts'
import { type DirectoryLock, tryLockDirectory } from '../../sys/directory-lock.ts'
import { syncDirectory } from '../../sys/disk.ts'
import type { BlobReader, Document, Placement, Sink } from '../place.ts'
import { DirectoryFiles } from './files.ts'
import { blobPath, containerdNameKey, readLayoutIndex, refNameKey } from './layout-source.ts'
import { type ByteSink, TarOutput } from './tar-output.ts'

const layoutFile = Buffer.from('{"imageLayoutVersion":"1.0.0"}')

/** What both forms of a layout remember: the images that their index will name. */
class Names {
  readonly #entries: Descriptor[]
  readonly #added: Parameters<Names['add']>[] = []

  constructor(entries: readonly Descriptor[] = []) {
    this.#entries = [...entries]
  }

  /** A name moves from the image that had it. Without one, a top document is named by its digest alone. */
  add(descriptor: Descriptor, tag: string | undefined, full: Reference | undefined): void {
    this.#added.push([descriptor, tag, full])
    const { mediaType, digest, size, artifactType } = descriptor
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

  /** What was added here, in an index that others have written to meanwhile. */
  onto(entries: readonly Descriptor[]): Names {
    const names = new Names(entries)
    for (const added of this.#added) names.add(...added)
    return names
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
    await readEntries(new DirectoryFiles(directory))
    for (const algorithm of ['sha256', 'sha512']) {
      const path = dirname(join(directory, blobPath(`${algorithm}:` as Digest)))
      await mkdir(join(path, algorithm), { recursive: true })
    }
    return new LayoutDirectorySink(directory)
  } catch (error) {
    throw wrapError(error, doing)
  }
}

async function readEntries(files: DirectoryFiles): Promise<readonly Descriptor[]> {
  return (await files.find('index.json')) === undefined ? [] : (await readLayoutIndex(files)).manifests
}

/** The index is locked for as long as it takes to read and write it. */
const lockPatienceMs = 60_000
const lockPauseMs = 50

/** @throws WindlassError STALLED; the signal's reason */
async function lockIndex(directory: string, signal: AbortSignal): Promise<DirectoryLock> {
  for (const begunMs = performance.now(); ; await setTimeout(lockPauseMs)) {
    signal.throwIfAborted()
    const lock = tryLockDirectory(await realpath(directory))
    if (lock !== undefined) return lock
    if (performance.now() - begunMs < lockPatienceMs) continue
    const state = `another process holds its lock for ${lockPatienceMs / 1000} s`
    throw new WindlassError('STALLED', `Cannot write OCI layout ${directory}: ${state}`)
  }
}

/** The blobs that this process has read, or written, and how their files were then: images share layers, and each has a sink of its own. */
const sound = new Set<string>()

function identityOf(digest: Digest, { dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [digest, dev, ino, size, mtimeNs, ctimeNs].join(' ')
}

class LayoutDirectorySink implements Sink {
  readonly name: string
  readonly onePlatform = false
  readonly keepsReferrers = true
  readonly isOnePass = false
  readonly #files: DirectoryFiles
  readonly #names = new Names()

  constructor(directory: string) {
    this.name = directory
    this.#files = new DirectoryFiles(directory)
  }

  /** A layout may come from anywhere, and disks lose bytes: what is there counts once it has been read. That costs less than to bring it again. */
  async hasBlob({ digest, size }: Descriptor, signal: AbortSignal): Promise<boolean> {
    const path = blobPath(digest)
    if ((await this.#files.find(path)) !== size) return false
    const before = await this.#identify(digest)
    if (sound.has(before)) return true
    const hex = await hashStream(this.#files.read(path), digestAlgorithm(digest), signal)
    if (hex !== digestHex(digest)) return false
    if ((await this.#identify(digest)) === before) sound.add(before)
    return true
  }

  async putBlob({ digest }: Descriptor, blob: BlobReader): Promise<void> {
    sound.add(identityOf(digest, await this.#put(blobPath(digest), blob.open(0))))
  }

  async putDocument({ descriptor, bytes }: Document, target: Placement): Promise<void> {
    await this.#put(blobPath(descriptor.digest), [bytes])
    if (target.isPart !== true) this.#names.add(descriptor, target.tag, target.full)
  }

  /** Others may write to the same layout, and what they have added meanwhile stays. */
  async commit(signal: AbortSignal): Promise<void> {
    using _lock = await lockIndex(this.name, signal)
    const names = this.#names.onto(await readEntries(this.#files))
    await this.#put('oci-layout', [layoutFile])
    await this.#put('index.json', [names.format()])
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #identify(digest: Digest): Promise<string> {
    return identityOf(digest, await stat(join(this.name, blobPath(digest)), { bigint: true }))
  }

  /** @returns how its file is then */
  async #put(path: string, bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<BigIntStats> {
    const target = join(this.name, path)
    const partial = join(this.name, `.${randomBytes(8).toString('hex')}.partial`)
    try {
      await using handle = await open(partial, 'wx', 0o644)
      for await (const chunk of bytes)
        for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten
      await handle.sync()
      await rename(partial, target)
      await syncDirectory(dirname(target))
      return await handle.stat({ bigint: true })
    } catch (error) {
      await rm(partial, { force: true })
      throw wrapError(error, `Cannot write ${target}`)
    }
  }
}
