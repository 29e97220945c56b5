import { fstatSync, readSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'

/** Bytes that can be read from anywhere: those of a file, or of several that follow each other. */
export interface ByteFile extends AsyncDisposable {
  readonly size: number
  /** Fills the buffer from `position` on. @returns how much of it; 0 only at the end */
  readSync(buffer: Uint8Array, position: number): number
  read(buffer: Uint8Array, position: number): Promise<number>
}

/** Takes over the handle. */
export function fileOf(handle: FileHandle): ByteFile {
  return {
    size: fstatSync(handle.fd).size,
    readSync: (buffer, position) => readSync(handle.fd, buffer, 0, buffer.length, position),
    read: async (buffer, position) => (await handle.read(buffer, 0, buffer.length, position)).bytesRead,
    [Symbol.asyncDispose]: () => handle.close(),
  }
}

/** Files as one, in their order; nothing of them is copied. Takes them over. */
export function joined(files: readonly ByteFile[]): ByteFile {
  const parts: { readonly file: ByteFile; readonly start: number }[] = []
  let size = 0
  for (const file of files) {
    parts.push({ file, start: size })
    size += file.size
  }
  /** A read ends where a part ends; the next goes on in the next one. */
  const locate = (buffer: Uint8Array, position: number) => {
    const part = parts.findLast(({ start, file }) => position >= start && position < start + file.size)
    if (part === undefined) return undefined
    const at = position - part.start
    return { file: part.file, at, buffer: buffer.subarray(0, Math.min(buffer.length, part.file.size - at)) }
  }
  return {
    size,
    readSync: (buffer, position) => {
      const found = locate(buffer, position)
      return found === undefined ? 0 : found.file.readSync(found.buffer, found.at)
    },
    read: async (buffer, position) => {
      const found = locate(buffer, position)
      return found === undefined ? 0 : await found.file.read(found.buffer, found.at)
    },
    [Symbol.asyncDispose]: async () => {
      for (const file of files) await file[Symbol.asyncDispose]()
    },
  }
}

/** Bytes per read. */
const pieceSize = 1024 * 1024

/** From `offset` to `end`, or to where the file ends, in pieces that are buffers of their own. */
export async function* readRange(
  file: Pick<ByteFile, 'read'>,
  offset = 0,
  end = Number.POSITIVE_INFINITY,
): AsyncGenerator<Uint8Array, void, void> {
  for (let at = offset; at < end; ) {
    const piece = Buffer.allocUnsafeSlow(Math.min(pieceSize, end - at))
    const bytesRead = await file.read(piece, at)
    if (bytesRead === 0) return
    at += bytesRead
    yield piece.subarray(0, bytesRead)
  }
}
