import { WindlassError } from '../../errors.ts'
import { Gate } from '../../flow/gate.ts'
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
