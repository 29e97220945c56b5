/**
 * Locks between processes: one byte of a file each, by fcntl(2) F_OFD_SETLK. Every lock has an open file description of its own, so that two
 * holders in one process exclude each other as two processes do, and the death of a holder releases it without any clean-up.
 */
import { closeSync, openSync } from 'node:fs'
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
  for (let pauseMs = pollFirstMs; ; pauseMs = Math.min(pauseMs * 1.5, pollMaxMs)) {
    signal.throwIfAborted()
    const lock = tryByteLock(path, offset)
    if (lock !== undefined) return lock
    await setTimeout(pauseMs, undefined, { signal })
  }
}
