/** Where the entries of a layer lie in its tar, from the tar's bytes as they come. */
import type { ByteSource, TarEntry } from '../../tar/entry.ts'
import { TarReader } from '../../tar/reader.ts'

/** An entry, and where its content lies in the tar. */
export interface PlacedEntry {
  readonly entry: TarEntry
  readonly dataStart: number
}

/** Headers in front of one entry, with all their extensions, are shorter. */
const headersMax = 8 * 1024 * 1024

class NeedsMore extends Error {}

/** A few bytes that may not be enough. */
class Beginning implements ByteSource {
  at = 0
  readonly #bytes: Buffer
  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }
  read(length: number): Uint8Array {
    if (this.at + length > this.#bytes.length) throw new NeedsMore()
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }
  chunk(lengthMax: number): Uint8Array {
    return this.read(Math.min(lengthMax, Math.max(this.#bytes.length - this.at, 1)))
  }
}

/** Is given the tar piece by piece, and tells each entry when its header has come. */
export class EntryWalk {
  #position = 0
  #skip = 0
  #gathered = Buffer.alloc(0)
  #isOver = false
  readonly #tell: (placed: PlacedEntry) => void

  constructor(tell: (placed: PlacedEntry) => void) {
    this.#tell = tell
  }

  /** @throws WindlassError CORRUPT, LIMIT_EXCEEDED */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && !this.#isOver; ) {
      const skipped = Math.min(this.#skip, chunk.length - at)
      this.#skip -= skipped
      this.#position += skipped
      at += skipped
      if (at < chunk.length) at = this.#takeHeader(chunk, at)
    }
  }

  /** @returns where in the chunk the content begins, or the chunk's end */
  #takeHeader(chunk: Uint8Array, at: number): number {
    // Headers are short: a few blocks more of the chunk are tried before all of it is copied.
    for (let length = 4096; ; length *= 16) {
      const piece = chunk.subarray(at, at + length)
      const bytes = Buffer.concat([this.#gathered, piece])
      const used = this.#read(bytes)
      if (used !== undefined) {
        const taken = used - this.#gathered.length
        this.#gathered = Buffer.alloc(0)
        return at + taken
      }
      if (at + length < chunk.length) continue
      this.#gathered = bytes
      if (bytes.length > headersMax) this.#isOver = true
      return chunk.length
    }
  }

  /** @returns how many bytes the headers of the next entry take; undefined if that is not known yet */
  #read(bytes: Buffer): number | undefined {
    const source = new Beginning(bytes)
    const reader = new TarReader(source)
    try {
      const entry = reader.next()
      this.#position += source.at
      if (entry === undefined) this.#isOver = true
      else this.#tell({ entry, dataStart: this.#position })
      this.#skip = reader.skip()
      return source.at
    } catch (error) {
      if (error instanceof NeedsMore) return undefined
      throw error
    }
  }
}
