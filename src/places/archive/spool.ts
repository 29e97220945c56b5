import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { wrapError } from '../../errors.ts'

/** A file that goes with its handle, however this process ends. */
export async function openSpool(directory: string): Promise<FileHandle> {
  const path = join(directory, `.spool-${randomBytes(8).toString('hex')}`)
  const handle = await open(path, 'wx+', 0o600).catch(error =>
    Promise.reject(wrapError(error, `Cannot make a file in ${directory}`)),
  )
  await unlink(path)
  return handle
}

/** All of a chunk. */
export async function writeAt(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < chunk.length; )
    at += (await handle.write(chunk, at, chunk.length - at, position + at)).bytesWritten
}

/** Writes all of a stream into a spool, and hands it on as it goes. */
export async function* spooled(
  handle: FileHandle,
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  let position = 0
  for await (const chunk of bytes) {
    await writeAt(handle, chunk, position)
    position += chunk.length
    yield chunk
  }
}

export function readSpool(spool: FileHandle, start = 0): AsyncIterable<Uint8Array> {
  return createReadStream('', { fd: spool, start, autoClose: false, highWaterMark: 1024 * 1024 })
}
