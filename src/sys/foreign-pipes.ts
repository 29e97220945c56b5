/** The pipes of other processes, through their descriptors in /proc. A pipe that is opened there is one more end of it: it is held open no longer than needed. */
import { closeSync, constants, readSync } from 'node:fs'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { bytesInPipe, pipe2, pipeSize, tee, trySetPipeSize } from './libc.ts'
import { openForeignPipe } from './open-foreign-pipe.ts'

/** A pipe of another process. */
export interface ForeignPipe {
  /** A descriptor of /proc that led to it. */
  readonly path: string
  readonly inode: string
}

/** What waits in a pipe, which keeps it. @throws Replaced, SystemError */
export function peekPipe({ path, inode }: ForeignPipe): Buffer {
  const fd = openForeignPipe(path, constants.O_RDONLY | constants.O_NONBLOCK, inode)
  try {
    return bytesInPipe(fd) === 0 ? Buffer.alloc(0) : copyOf(fd)
  } finally {
    closeSync(fd)
  }
}

function copyOf(fd: number): Buffer {
  const copy = pipe2()
  try {
    const size = pipeSize(fd)
    trySetPipeSize(copy.writeEnd, size) // as many pages: a pipe that waits half empty may have one for each write
    const bytes = Buffer.alloc(tee(fd, copy.writeEnd, size))
    let filled = 0
    while (filled < bytes.length) filled += readSync(copy.readEnd, bytes, filled, bytes.length - filled, null)
    return bytes
  } finally {
    closeSync(copy.readEnd)
    closeSync(copy.writeEnd)
  }
}

/**
 * Makes the room of a pipe what no pipe has that nobody has touched: so whoever comes later sees that somebody has written to it. More room, if the kernel allows it: by its 64 KiB, whoever reads and
 * whoever writes take turns all the time, and three times as long. Else less, which an ordinary user may ask for, too, however many pipes he has.
 * @returns whether it has that room now; not where bytes in it stand in the way
 */
export function markPipe(fd: number): boolean {
  const page = readPageSize()
  return [widened(page), 8 * page, page].some(size => trySetPipeSize(fd, size)) || isMarkedSize(pipeSize(fd))
}

/** The kernel gives a pipe 16 pages, and 2 to a user who has very many pipes. Before Linux 5.14 such a user got 1: that looks like a mark. */
export function isMarkedSize(size: number): boolean {
  const page = readPageSize()
  return size >= widened(page) || size === 8 * page || size === page
}

/** With pages of 64 KiB every pipe has 1 MiB. */
function widened(page: number): number {
  return Math.max(1 << 20, 32 * page)
}

/** The least room that a pipe can have. */
function readPageSize(): number {
  const { readEnd, writeEnd } = pipe2()
  try {
    trySetPipeSize(readEnd, 1)
    return pipeSize(readEnd)
  } finally {
    closeSync(readEnd)
    closeSync(writeEnd)
  }
}

/** A writer that has bytes gives them within milliseconds. */
const quietMs = 3000

interface DrainOptions {
  readonly signal: AbortSignal
  /** Told each time that something has come. */
  readonly moved?: () => void
}

/**
 * Takes out of a pipe, and throws away, what is in it and comes into it, to its end or until nothing has come for three seconds.
 * @returns how many bytes, and whether its writers have all closed it
 * @throws Replaced, SystemError; the signal's reason
 */
export async function drainPipe(
  { path, inode }: ForeignPipe,
  { signal, moved = () => {} }: DrainOptions,
): Promise<{ readonly bytes: number; readonly isEnded: boolean }> {
  const fd = openForeignPipe(path, constants.O_RDONLY | constants.O_NONBLOCK, inode)
  try {
    const sink = Buffer.alloc(1 << 20)
    trySetPipeSize(fd, sink.length) // each time that it is empty costs a pause
    let bytes = 0
    for (let last = performance.now(); performance.now() - last < quietMs; ) {
      signal.throwIfAborted()
      const taken = readWhatIsThere(fd, sink)
      if (taken === 0) return { bytes, isEnded: true }
      if (taken === undefined) await sleep(2)
      else {
        bytes += taken
        last = performance.now()
        moved()
        await setImmediate() // a quick writer would keep all else from running
      }
    }
    return { bytes, isEnded: false }
  } finally {
    closeSync(fd)
  }
}

function readWhatIsThere(fd: number, sink: Buffer): number | undefined {
  try {
    return readSync(fd, sink)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined
    throw error
  }
}
