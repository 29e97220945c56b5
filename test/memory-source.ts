import type { ByteSource, TarEntry, TarLimits } from '../src/tar/entry.ts'
import { TarReader } from '../src/tar/reader.ts'

/** The bytes of an archive in memory, in chunks of at most `chunkMax`. What it gave is overwritten at the next call, as a ring may do. */
export function memorySource(bytes: Uint8Array, chunkMax = Number.POSITIVE_INFINITY): ByteSource {
  let at = 0
  let given = new Uint8Array(0)
  const take = (length: number): Uint8Array => {
    given.fill(0xee)
    given = Uint8Array.from(bytes.subarray(at, at + length))
    at += given.length
    return given
  }
  return {
    read: length => (bytes.length - at < length ? undefined : take(length)),
    chunk: lengthMax => take(Math.min(lengthMax, chunkMax)),
  }
}

export interface ReadEntry extends TarEntry {
  readonly content: Buffer
}

/** Every entry of an archive with its content. */
export function readTar(bytes: Uint8Array, options: { chunkMax?: number; limits?: TarLimits } = {}): ReadEntry[] {
  const reader = new TarReader(memorySource(bytes, options.chunkMax), options.limits)
  const entries: ReadEntry[] = []
  for (let entry = reader.next(); entry !== undefined; entry = reader.next()) {
    const pieces: Buffer[] = []
    for (let piece = reader.content(70_000); piece.length > 0; piece = reader.content(70_000))
      pieces.push(Buffer.from(piece))
    entries.push({ ...entry, content: Buffer.concat(pieces) })
  }
  reader.drain()
  return entries
}
