import { randomBytes } from 'node:crypto'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { WindlassError, wrapError } from '../../errors.ts'
import { Gate } from '../../flow/gate.ts'
import { syncDirectory } from '../../sys/disk.ts'
import { tarEnd, tarHeader, tarPadding } from '../../tar/writer.ts'

/** The blocks in front of a file's bytes; the same for everyone, so that the same images give the same archive. */
export function fileHeader(name: string, size: number): Uint8Array {
  return tarHeader({ name: Buffer.from(name), type: 'file', mode: 0o644, uid: 0, gid: 0, size, mtimeNs: 0n })
}

export const filePadding = tarPadding

/** Where an archive goes to. Dispose without commit leaves no file behind. */
export interface ByteSink extends AsyncDisposable {
  readonly name: string
  /** The chunk may be reused when the promise is resolved. */
  write(chunk: Uint8Array): Promise<void>
  commit(): Promise<void>
}

/** A file that appears under its name when it is complete and on the disk. One that is there is replaced. */
export async function openFileSink(path: string): Promise<ByteSink> {
  const doing = `Cannot write ${path}`
  const partial = join(dirname(path), `.${basename(path)}.${randomBytes(4).toString('hex')}.partial`)
  const handle = await open(partial, 'wx', 0o644).catch(error => Promise.reject(wrapError(error, doing)))
  return new FileSink(path, partial, handle)
}

/** Gathered before it goes to the file: tars have many small pieces. */
const bufferSize = 1024 * 1024

class FileSink implements ByteSink {
  readonly name: string
  readonly #partial: string
  #handle: FileHandle | undefined
  readonly #buffer = Buffer.allocUnsafeSlow(bufferSize)
  #buffered = 0

  constructor(name: string, partial: string, handle: FileHandle) {
    this.name = name
    this.#partial = partial
    this.#handle = handle
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#buffered + chunk.length > bufferSize) await this.#flush()
    if (chunk.length >= bufferSize) return await this.#append(chunk)
    this.#buffer.set(chunk, this.#buffered)
    this.#buffered += chunk.length
  }

  async commit(): Promise<void> {
    const handle = this.#handle
    if (handle === undefined) return
    try {
      await this.#flush()
      await handle.sync()
      await handle.close()
      this.#handle = undefined
      await rename(this.#partial, this.name)
      await syncDirectory(dirname(this.name))
    } catch (error) {
      throw wrapError(error, `Cannot write ${this.name}`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close()
    await rm(this.#partial, { force: true })
  }

  async #flush(): Promise<void> {
    const length = this.#buffered
    this.#buffered = 0
    await this.#append(this.#buffer.subarray(0, length))
  }

  async #append(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length; ) at += (await this.#handle?.write(bytes, at))?.bytesWritten ?? bytes.length
    } catch (error) {
      throw wrapError(error, `Cannot write ${this.name}`)
    }
  }
}

/** A tar that several writers take turns at: one entry after the other. */
export class TarOutput {
  readonly #to: ByteSink
  readonly #turn = new Gate(1)
  /** An entry that broke off cannot be taken back. */
  #isBroken = false

  constructor(to: ByteSink) {
    this.#to = to
  }

  get name(): string {
    return this.#to.name
  }

  /** Waits for its turn, and only then opens the bytes, of which there must be `size`. */
  async add(name: string, size: number, open: () => AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    using _turn = await this.#turn.enter(signal)
    if (this.#isBroken) throw new WindlassError('FAILED', `Cannot write ${this.name}: it broke off within an entry`)
    let isBegun = false
    try {
      let bytes = 0
      for await (const chunk of open()) {
        if (!isBegun) await this.#to.write(fileHeader(name, size))
        isBegun = true
        bytes += chunk.length
        await this.#to.write(chunk)
      }
      if (!isBegun) await this.#to.write(fileHeader(name, size))
      isBegun = true
      if (bytes !== size)
        throw new WindlassError('CORRUPT', `Cannot write ${this.name}: ${name} has ${bytes} bytes; wanted ${size}`)
      await this.#to.write(filePadding(size))
    } catch (error) {
      this.#isBroken = isBegun
      throw error
    }
  }

  async addBytes(name: string, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.add(name, bytes.length, () => once(bytes), signal)
  }

  async commit(): Promise<void> {
    await this.#to.write(tarEnd)
    await this.#to.commit()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#to[Symbol.asyncDispose]()
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
