/** The memory of another process, which is read alone. */
import { type FileHandle, open, readFile } from 'node:fs/promises'

/** A decompressor keeps what it has read last in buffers of some kilobytes; a runtime around it may have some hundred megabytes. */
const searchedMax = 2 ** 30
const pieceSize = 4 << 20
/** The kernel locks a memory while it is changed, and may never be done with that. */
const patienceMs = 20_000

/**
 * Whether all of these stand in what a process may write to, wherever each does. False, too, of a process that may not be looked into, that does not let itself be read in time, or that has more memory than is searched.
 * @param wanted so many bytes that they stand nowhere by chance
 */
export async function hasInMemory(pid: number, wanted: readonly Buffer[], signal: AbortSignal): Promise<boolean> {
  const inTime = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
  const { promise: late, resolve } = Promise.withResolvers<false>()
  const giveUp = () => resolve(false)
  inTime.addEventListener('abort', giveUp, { once: true })
  try {
    return await Promise.race([search(pid, wanted, inTime).catch(() => false), late])
  } finally {
    inTime.removeEventListener('abort', giveUp)
    signal.throwIfAborted()
  }
}

async function search(pid: number, wanted: readonly Buffer[], signal: AbortSignal): Promise<boolean> {
  const maps = await readFile(`/proc/${pid}/maps`, 'latin1')
  await using memory = await open(`/proc/${pid}/mem`, 'r')
  const missing = new Set(wanted)
  let left = searchedMax
  for (const [, start = '', end = '', path = ''] of maps.matchAll(
    /^([0-9a-f]+)-([0-9a-f]+) rw.. \S+ \S+ \d+ *(.*)$/gm,
  )) {
    if (path.startsWith('/dev/')) continue // a device's own memory may be changed by being read
    const range = { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) }
    left -= range.end - range.start
    if (left < 0) return false
    await searchRange(memory, range, { missing, signal })
    if (missing.size === 0) return true
  }
  return false
}

/** What it finds is missing no more. */
async function searchRange(
  memory: FileHandle,
  { start, end }: { readonly start: number; readonly end: number },
  { missing, signal }: { readonly missing: Set<Buffer>; readonly signal: AbortSignal },
): Promise<void> {
  const longest = Math.max(...[...missing].map(({ length }) => length))
  const piece = Buffer.allocUnsafe(Math.min(pieceSize + longest, end - start))
  for (let at = start; at < end; at += pieceSize) {
    signal.throwIfAborted()
    const length = Math.min(piece.length, end - at)
    const { bytesRead } = await memory.read(piece, 0, length, at).catch(() => ({ bytesRead: 0 })) // unmapped meanwhile
    const bytes = piece.subarray(0, bytesRead)
    for (const wanted of missing) if (bytes.includes(wanted)) missing.delete(wanted)
    if (missing.size === 0) return
  }
}
