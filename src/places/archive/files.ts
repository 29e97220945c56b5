import { constants } from 'node:fs'
import { open, realpath, stat } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path/posix'
import { WindlassError, wrapError } from '../../errors.ts'
import { type ByteSource, defaultTarLimits } from '../../tar/entry.ts'
import { TarReader } from '../../tar/reader.ts'
import { type ByteFile, fileOf, readRange } from './byte-file.ts'

/** Files by path, in a directory or in a tar: where the documents and blobs of an archive lie. */
export interface Files extends AsyncDisposable {
  readonly name: string
  /** The size of a file, or undefined if there is none. */
  find(path: string): Promise<number | undefined>
  /** True if a path that the archive itself names leads to nothing but its own files. */
  isOwn(path: string): Promise<boolean>
  /** Its bytes from `offset` on, in pieces that are buffers of their own. */
  read(path: string, offset?: number): AsyncGenerator<Uint8Array, void, void>
}

/** Bytes per read of what is stepped through. */
const pieceSize = 1024 * 1024
/** Images have some hundred layers, and archives some hundred images. */
const entriesMax = 200_000
/** A layer that images share is a symlink in what older dockers wrote; nobody chains them. */
const linkHopsMax = 8

/** A whole file that must be small. @throws WindlassError NOT_FOUND, LIMIT_EXCEEDED */
export async function readSmallFile(files: Files, path: string, sizeMax: number): Promise<Buffer> {
  const doing = `Cannot read ${path} of ${files.name}`
  const size = await files.find(path)
  if (size === undefined) throw new WindlassError('CORRUPT', `${doing}: it is not there`)
  if (size > sizeMax)
    throw new WindlassError('LIMIT_EXCEEDED', `${doing}: it has ${size} bytes; at most ${sizeMax} are allowed`)
  return Buffer.concat(await Array.fromAsync(files.read(path)))
}

export class DirectoryFiles implements Files {
  readonly name: string

  constructor(directory: string) {
    this.name = directory
  }

  async find(path: string): Promise<number | undefined> {
    try {
      const found = await stat(join(this.name, path))
      return found.isFile() ? found.size : undefined
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw wrapError(error, `Cannot read ${path} of ${this.name}`)
    }
  }

  async isOwn(path: string): Promise<boolean> {
    const [root, file] = await Promise.all([this.name, join(this.name, path)].map(place => realpath(place)))
    return file?.startsWith(`${root}/`) === true
  }

  async *read(path: string, offset = 0): AsyncGenerator<Uint8Array, void, void> {
    const doing = `Cannot read ${path} of ${this.name}`
    // Without O_NONBLOCK the opening of a fifo that came in its place would never end.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK
    try {
      const handle = await open(join(this.name, path), flags)
      await using file = fileOf(handle)
      if (!(await handle.stat()).isFile()) throw new WindlassError('CORRUPT', `${doing}: it is no regular file`)
      yield* readRange(file, offset)
    } catch (error) {
      throw wrapError(error, doing)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

interface TarFile {
  readonly offset: number
  readonly size: number
}

/** An uncompressed tar in a file that can be read from anywhere. Only its headers are read to open it. */
export class TarFiles implements Files {
  readonly name: string
  readonly #file: ByteFile
  readonly #files: ReadonlyMap<string, TarFile>
  readonly #links: ReadonlyMap<string, string>

  private constructor(name: string, file: ByteFile, contents: TarContents) {
    this.name = name
    this.#file = file
    this.#files = contents.files
    this.#links = contents.links
  }

  /**
   * Takes over the file.
   * @throws WindlassError CORRUPT if the archive is torn, or no tar; LIMIT_EXCEEDED
   */
  static async open(name: string, file: ByteFile): Promise<TarFiles> {
    try {
      return new TarFiles(name, file, readContents(name, file))
    } catch (error) {
      await file[Symbol.asyncDispose]()
      throw error
    }
  }

  async find(path: string): Promise<number | undefined> {
    return this.#locate(path)?.size
  }

  async isOwn(): Promise<boolean> {
    return true
  }

  async *read(path: string, offset = 0): AsyncGenerator<Uint8Array, void, void> {
    const doing = `Cannot read ${path} of ${this.name}`
    const file = this.#locate(path)
    if (file === undefined) throw new WindlassError('CORRUPT', `${doing}: it is not there`)
    try {
      yield* readRange(this.#file, file.offset + offset, file.offset + file.size)
    } catch (error) {
      throw wrapError(error, doing)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]()
  }

  #locate(path: string): TarFile | undefined {
    let name = normalize(path)
    for (let hops = 0; hops <= linkHopsMax; hops++) {
      const file = this.#files.get(name)
      if (file !== undefined) return file
      const target = this.#links.get(name)
      if (target === undefined) return undefined
      name = target
    }
    return undefined
  }
}

interface TarContents {
  readonly files: ReadonlyMap<string, TarFile>
  /** Links to other entries, by normalised names. */
  readonly links: ReadonlyMap<string, string>
}

/** A name that is there twice means its last entry, as it would after unpacking. */
function readContents(name: string, file: ByteFile): TarContents {
  const doing = `Cannot read archive ${name}`
  const source = new FileSource(file)
  const reader = new TarReader(source, { ...defaultTarLimits, entriesMax })
  const files = new Map<string, TarFile>()
  const links = new Map<string, string>()
  try {
    for (let entry = reader.next(); entry !== undefined; entry = reader.next()) {
      const path = normalize(Buffer.from(entry.name, 'latin1').toString())
      files.delete(path)
      links.delete(path)
      const target = Buffer.from(entry.linkName, 'latin1').toString()
      if (entry.type === 'file' && entry.sparse === undefined)
        files.set(path, { offset: source.position, size: entry.size })
      else if (entry.type === 'symlink') links.set(path, normalize(join(dirname(path), target)))
      else if (entry.type === 'link') links.set(path, normalize(target))
      // Only where each file lies is wanted here: content is read from there later, and blobs are checked by their digests then.
      source.advance(reader.skip(), entry.size)
    }
  } catch (error) {
    const { code, message } = wrapError(error, doing)
    throw new WindlassError(code, message.startsWith(doing) ? message : `${doing}: ${message}`, { cause: error })
  }
  return { files, links }
}

/** Reads headers from a file, and steps over what is between them. */
class FileSource implements ByteSource {
  position = 0
  readonly #file: ByteFile
  readonly #size: number

  constructor(file: ByteFile) {
    this.#file = file
    this.#size = file.size
  }

  read(length: number): Uint8Array | undefined {
    if (this.position + length > this.#size) return undefined
    const bytes = Buffer.allocUnsafe(length)
    let done = 0
    while (done < length) {
      const count = this.#file.readSync(bytes.subarray(done), this.position + done)
      if (count === 0) return undefined
      done += count
    }
    this.position += length
    return bytes
  }

  chunk(lengthMax: number): Uint8Array {
    return this.read(Math.min(lengthMax, pieceSize, this.#size - this.position)) ?? new Uint8Array(0)
  }

  advance(bytes: number, size: number): void {
    if (this.position + size > this.#size) {
      const state = `it ends after ${this.#size} bytes, within the content of an entry`
      throw new WindlassError('CORRUPT', `Cannot read the archive: ${state}`)
    }
    this.position = Math.min(this.position + bytes, this.#size)
  }
}
