import { createHash } from 'node:crypto'
import { dirname } from 'node:path'
import { WindlassError, wrapError } from '../../errors.ts'
import { type ByteLock, findLockHolder, tryByteLock, waitByteLock, waitByteLockUnless } from '../../sys/byte-locks.ts'
import { readProcess, readTask } from '../../sys/tasks.ts'

const ranges = { blob: 1, layer: 2, session: 3 } as const

/** What a lock is about; each kind has its own range of bytes. */
export type LockKind = keyof typeof ranges

/** How long the first opening of a store by another process may take: a few file operations and a schema. */
const openWaitMs = 30_000

/**
 * The locks of one store: a byte of the file `locks` each, at an offset made from the name and the store's secret salt. Without the salt, a
 * hostile image could carry two blobs whose digests meet in one byte, and its pull would wait for itself.
 */
export class StoreLocks {
  readonly #path: string
  readonly #salt: string

  constructor(path: string, salt: string) {
    this.#path = path
    this.#salt = salt
  }

  try(kind: LockKind, name: string): ByteLock | undefined {
    return tryByteLock(this.#path, this.#offset(kind, name))
  }

  /**
   * Waits for a lock that another one holds, until `isOver`: then undefined.
   * @throws WindlassError CANCELLED when the signal fires
   */
  async wait(
    kind: LockKind,
    name: string,
    { signal, isOver }: { readonly signal: AbortSignal; readonly isOver: () => boolean },
  ): Promise<ByteLock | undefined> {
    try {
      return await waitByteLockUnless(this.#path, this.#offset(kind, name), signal, isOver)
    } catch (error) {
      if (signal.aborted)
        throw new WindlassError('CANCELLED', `Cannot lock ${kind} ${name}: cancelled`, { cause: error })
      throw wrapError(error, `Cannot lock ${kind} ${name}`)
    }
  }

  /** The process that has it, as far as that can be seen from here. Costs milliseconds. */
  findHolder(kind: LockKind, name: string, likely: readonly number[]): number | undefined {
    return findLockHolder(this.#path, this.#offset(kind, name), likely)
  }

  #offset(kind: LockKind, name: string): number {
    const hash = createHash('sha256').update(`${this.#salt}\n${name}`).digest()
    return ranges[kind] * 2 ** 48 + hash.readUIntBE(0, 6)
  }
}

/** The lock under which a store is made and migrated: byte 0, before there is a salt. */
export async function lockStoreOpening(path: string, signal: AbortSignal | undefined): Promise<ByteLock> {
  const timeout = AbortSignal.timeout(openWaitMs)
  try {
    return await waitByteLock(path, 0, signal === undefined ? timeout : AbortSignal.any([signal, timeout]))
  } catch (error) {
    if (!timeout.aborted) throw wrapError(error, `Cannot open store with lock file ${path}`)
    throw openingError(path)
  }
}

function openingError(path: string): WindlassError {
  const pid = findLockHolder(path, 0)
  const process = pid === undefined ? undefined : readProcess(pid)
  const wchan = pid === undefined ? undefined : readTask(pid)?.wchan
  const where = wchan === undefined ? '' : ` in ${wchan}`
  const who = process === undefined ? 'another process' : `pid ${pid} (${process.name}, state ${process.state}${where})`
  return new WindlassError(
    'STALLED',
    `Cannot open store with lock file ${path}: ${who} has been opening it for ${openWaitMs / 1000} s`,
    {
      hint: openingHint(process, path),
      facts: { ...(process !== undefined && { pid: process.pid, state: process.state }) },
    },
  )
}

function openingHint(process: { readonly pid: number; readonly state: string } | undefined, path: string): string {
  if (process === undefined) return 'look for a windlass that was stopped'
  if (process.state !== 'D') return `let it go on (kill -CONT ${process.pid}), or end it`
  return `the kernel holds it: look at the disk and the filesystem under ${dirname(path)} (dmesg, mount, fsfreeze); run this again when it answers`
}
