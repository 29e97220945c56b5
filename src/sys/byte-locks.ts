/**
 * Locks between processes: one byte of a file each, by fcntl(2) F_OFD_SETLK. Every lock has an open file description of its own, so that two
 * holders in one process exclude each other as two processes do, and the death of a holder releases it without any clean-up.
 */
import { closeSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { keepOnExec, tryLockByte } from './libc.ts'

const pollFirstMs = 20
const pollMaxMs = 200

/** A lock that is held until it is disposed. */
export class ByteLock implements Disposable {
  #fd: number

  constructor(fd: number) {
    this.#fd = fd
  }

  /** From now on it is held by the programs that this process starts or is replaced by, until the last of them has ended. */
  keepOnExec(): void {
    keepOnExec(this.#fd)
  }

  /** Releases the lock; a second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return
    closeSync(this.#fd)
    this.#fd = -1
  }
}

/** Takes the lock of byte `offset` if nobody has it. The file must exist and be writable. */
export function tryByteLock(path: string, offset: number): ByteLock | undefined {
  const fd = openSync(path, 'r+')
  try {
    if (tryLockByte(fd, offset, 'exclusive')) return new ByteLock(fd)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  closeSync(fd)
  return undefined
}

/**
 * Takes the lock of byte `offset`, asking again until it is free: F_OFD_SETLKW would hold a thread of the pool, and no signal could end it.
 * @throws AbortError when the signal fires
 */
export async function waitByteLock(path: string, offset: number, signal: AbortSignal): Promise<ByteLock> {
  const lock = await waitByteLockUnless(path, offset, signal, () => false)
  return lock as ByteLock
}

/** The same, until the lock is of no use any more: then undefined. */
export async function waitByteLockUnless(
  path: string,
  offset: number,
  signal: AbortSignal,
  isOver: () => boolean,
): Promise<ByteLock | undefined> {
  for (let pauseMs = pollFirstMs; ; pauseMs = Math.min(pauseMs * 1.5, pollMaxMs)) {
    signal.throwIfAborted()
    const lock = tryByteLock(path, offset)
    if (lock !== undefined) return lock
    if (isOver()) return undefined
    await setTimeout(pauseMs, undefined, { signal })
  }
}

/**
 * The process that holds the lock of byte `offset`. The kernel gives no number for a lock of an open file description (F_OFD_GETLK says -1), but
 * shows the lock beside each descriptor that leads to it (proc_pid_fdinfo(5)). Costs milliseconds.
 * @param likely looked at before all others
 * @returns undefined if nobody holds it, or who does cannot be seen: another user's process, or one of another container
 */
export function findLockHolder(path: string, offset: number, likely: readonly number[] = []): number | undefined {
  const mark = `:${statSync(path).ino} ${offset} ${offset}\n`
  for (const pid of likely) if (hasLock(pid, mark)) return pid
  return listNumbers('/proc').find(pid => hasLock(pid, mark))
}

function hasLock(pid: number, mark: string): boolean {
  const directory = `/proc/${pid}/fdinfo`
  return listNumbers(directory).some(fd => {
    try {
      const text = readFileSync(`${directory}/${fd}`, 'latin1')
      return text.includes(' OFDLCK ') && text.includes(mark)
    } catch {
      return false // closed meanwhile
    }
  })
}

function listNumbers(directory: string): number[] {
  try {
    return readdirSync(directory).map(Number).filter(Number.isInteger)
  } catch {
    return [] // gone, or not ours to see
  }
}
