import { createHash, type Hash, randomBytes } from 'node:crypto'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { WindlassError, wrapError } from '../../errors.ts'
import { quote } from '../../oci/quote.ts'
import { syncDirectory } from '../../sys/disk.ts'
import { checksumPath, formatChecksums, listNamed, partPath, readChecksums } from './checksums.ts'
import type { ByteSink } from './tar-output.ts'

export interface FileSinkOptions {
  /** Bytes of a part; the archive is in one piece if absent. */
  readonly partSize?: number | undefined
  /** Write the checksum beside it. Parts always have theirs, since only that says which there are. */
  readonly checksum?: boolean
}

/** A file, or its parts, that appear under their names when all is complete and on the disk. What is there is replaced. */
export async function openFileSink(path: string, options: FileSinkOptions = {}): Promise<ByteSink> {
  if (/[\n\r\\]/.test(path) && (options.checksum || options.partSize !== undefined))
    throw new WindlassError('USAGE', `Cannot write checksums of ${quote(path)}: its name cannot stand in a line`)
  const sink = new FileSink(path, options)
  await sink.begin()
  return sink
}

/** Gathered before it goes to the file: tars have many small pieces. */
const bufferSize = 1024 * 1024

/** All of them are open while they are read. */
const partsMax = 500

interface Part {
  readonly path: string
  readonly partial: string
  readonly handle: FileHandle
  readonly hash: Hash | undefined
  size: number
}

class FileSink implements ByteSink {
  readonly name: string
  readonly #options: FileSinkOptions
  readonly #mark = randomBytes(4).toString('hex')
  readonly #parts: Part[] = []
  readonly #buffer = Buffer.allocUnsafeSlow(bufferSize)
  #buffered = 0
  #isDone = false

  constructor(name: string, options: FileSinkOptions) {
    this.name = name
    this.#options = options
  }

  async begin(): Promise<Part> {
    const { partSize, checksum } = this.#options
    const isSplit = partSize !== undefined
    if (this.#parts.length === partsMax) {
      const state = `it would have more than ${partsMax} parts`
      throw new WindlassError('USAGE', `Cannot write ${this.name}: ${state}`, {
        hint: 'choose larger parts with --split',
      })
    }
    await this.#parts.at(-1)?.handle.sync()
    await this.#parts.at(-1)?.handle.close()
    const path = isSplit ? partPath(this.name, this.#parts.length) : this.name
    const partial = join(dirname(path), `.${basename(path)}.${this.#mark}.partial`)
    const handle = await open(partial, 'wx', 0o644).catch(error =>
      Promise.reject(wrapError(error, `Cannot write ${this.name}`)),
    )
    const part = { path, partial, handle, hash: isSplit || checksum ? createHash('sha256') : undefined, size: 0 }
    this.#parts.push(part)
    return part
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#buffered + chunk.length > bufferSize) await this.#flush()
    if (chunk.length >= bufferSize) return await this.#append(chunk)
    this.#buffer.set(chunk, this.#buffered)
    this.#buffered += chunk.length
  }

  async commit(): Promise<void> {
    if (this.#isDone) return
    try {
      await this.#flush()
      await this.#parts.at(-1)?.handle.sync()
      await this.#publish()
      this.#isDone = true
    } catch (error) {
      throw wrapError(error, `Cannot write ${this.name}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { handle, partial } of this.#parts) {
      await handle.close()
      await rm(partial, { force: true })
    }
  }

  /** Checksums that are there are of what is replaced now, so they go first; the new ones come last: parts without them are no archive. */
  async #publish(): Promise<void> {
    const directory = dirname(this.name)
    const stale = await this.#findStale()
    if (stale.length > 0) {
      await rm(checksumPath(this.name), { force: true })
      await syncDirectory(directory)
    }
    for (const { partial, path } of this.#parts) await rename(partial, path)
    const isKept = new Set(this.#parts.map(({ path }) => path))
    for (const path of stale) if (!isKept.has(path)) await rm(path, { force: true })
    await syncDirectory(directory)
    if (this.#parts.some(({ hash }) => hash !== undefined)) await this.#writeChecksums()
    await syncDirectory(directory)
  }

  /** The files of an archive of this name that was there before, as its checksums name them. */
  async #findStale(): Promise<string[]> {
    const sums = await readChecksums(this.name).catch(() => undefined)
    if (sums === undefined) return []
    const parts = listNamed(this.name, sums)
    return sums.has(basename(this.name)) ? [...parts, this.name] : parts
  }

  async #writeChecksums(): Promise<void> {
    const sums = this.#parts.map(({ path, hash }) => [basename(path), hash?.digest('hex') ?? ''] as const)
    const partial = join(dirname(this.name), `.${basename(this.name)}.${this.#mark}.sums.partial`)
    try {
      await using handle = await open(partial, 'wx', 0o644)
      await handle.writeFile(formatChecksums(new Map(sums)))
      await handle.sync()
      await rename(partial, checksumPath(this.name))
    } catch (error) {
      await rm(partial, { force: true })
      throw error
    }
  }

  async #flush(): Promise<void> {
    const length = this.#buffered
    this.#buffered = 0
    await this.#append(this.#buffer.subarray(0, length))
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const { partSize = Number.POSITIVE_INFINITY } = this.#options
    try {
      for (let at = 0; at < bytes.length; ) {
        const last = this.#parts.at(-1) as Part
        const part = last.size < partSize ? last : await this.begin()
        const piece = bytes.subarray(at, at + Math.min(bytes.length - at, partSize - part.size))
        for (let done = 0; done < piece.length; ) done += (await part.handle.write(piece, done)).bytesWritten
        part.hash?.update(piece)
        part.size += piece.length
        at += piece.length
      }
    } catch (error) {
      throw wrapError(error, `Cannot write ${this.name}`)
    }
  }
}
