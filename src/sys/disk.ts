/** What the disk under a directory is and can do, and the one way to bring its data down. */
import { closeSync, constants, fsyncSync, openSync } from 'node:fs'
import { open, statfs } from 'node:fs/promises'
import { cPath, getdents, getdentsAsync, lsetxattr, SystemError, syncfsAsync } from './libc.ts'

/** Makes an entry of a directory durable: a rename or a creation is on the disk only when its directory is. */
export async function syncDirectory(path: string): Promise<void> {
  await using handle = await open(path, 'r')
  await handle.sync()
}

export function syncDirectoryNow(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * syncfs of one filesystem, shared by all who ask: who asks while one is running waits for the next one, since the running one may have passed
 * over his data already; all who wait share that next one. The kernel tells of lost writes once and then forgets them, whoever's they were: after a
 * failure every call fails.
 */
export class FilesystemSync implements Disposable {
  readonly #fd: number
  readonly #run: (fd: number) => Promise<void>
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #failed: Promise<never> | undefined

  /** @param run for tests: what syncs */
  constructor(directory: string, run: (fd: number) => Promise<void> = syncfsAsync) {
    this.#fd = openSync(directory, 'r')
    this.#run = run
  }

  /** Resolves when everything that was written before the call is on the disk. */
  sync(): Promise<void> {
    if (this.#failed !== undefined) return this.#failed
    if (this.#running === undefined) return this.#start()
    this.#next ??= this.#running
      .finally(() => {
        this.#next = undefined
      })
      .then(() => this.#start())
    return this.#next
  }

  #start(): Promise<void> {
    const run = this.#run(this.#fd)
      .catch(error => {
        this.#failed = Promise.reject(error)
        this.#failed.catch(() => {})
        return this.#failed
      })
      .finally(() => {
        if (this.#running === run) this.#running = undefined
      })
    this.#running = run
    return run
  }

  get hasFailed(): boolean {
    return this.#failed !== undefined
  }

  /** Does not wait: a sync that hangs would hang its owner. The descriptor goes when the last sync has ended. */
  [Symbol.dispose](): void {
    const last = this.#next ?? this.#running ?? Promise.resolve()
    const release = () => closeSync(this.#fd)
    last.then(release, release)
  }
}

/**
 * The syncs of one filesystem for many writers. Each takes the current one before he writes, and stays with it: what he wrote may be what was lost. After
 * a failure the next ones get another, on a descriptor of its own, to which the kernel does not tell what it has told already: a write of somebody
 * else's, before any of this began, fails nobody twice.
 */
export class FilesystemSyncs implements Disposable {
  readonly #open: () => FilesystemSync
  #current: FilesystemSync

  /** @param open for tests */
  constructor(directory: string, open = (): FilesystemSync => new FilesystemSync(directory)) {
    this.#open = open
    this.#current = open()
  }

  current(): FilesystemSync {
    if (!this.#current.hasFailed) return this.#current
    this.#current[Symbol.dispose]()
    this.#current = this.#open()
    return this.#current
  }

  [Symbol.dispose](): void {
    this.#current[Symbol.dispose]()
  }
}

/** Size of a filesystem in bytes; `bytesFree` is what an unprivileged writer may use. */
export async function readDiskSpace(path: string): Promise<{ bytes: number; bytesFree: number; inodesFree: number }> {
  const { bsize, blocks, bavail, ffree } = await statfs(path)
  return { bytes: bsize * blocks, bytesFree: bsize * bavail, inodesFree: ffree }
}

const typeUnknown = 0

/**
 * True if the filesystem tells the type of an entry in readdir (d_type): overlayfs needs it, and XFS made with ftype=0 has it not.
 * @param directory any directory with at least one entry besides `.` and `..`
 */
export function hasDType(directory: string): boolean {
  const fd = openSync(directory, 'r')
  try {
    const entries = Buffer.alloc(32768)
    return findDType(entries, getdents(fd, entries)) ?? false
  } finally {
    closeSync(fd)
  }
}

/** The same, from a thread of the pool. @returns undefined if the directory is empty */
export async function hasDTypeAsync(directory: string): Promise<boolean | undefined> {
  await using handle = await open(directory, 'r')
  const entries = Buffer.alloc(32768)
  return findDType(entries, await getdentsAsync(handle.fd, entries))
}

/** struct linux_dirent64: d_ino 8, d_off 8, d_reclen 2, d_type 1, d_name */
function findDType(entries: Buffer, used: number): boolean | undefined {
  for (let at = 0; at < used; at += entries.readUInt16LE(at + 16)) {
    const name = entries.toString('latin1', at + 19, entries.indexOf(0, at + 19))
    if (name !== '.' && name !== '..') return entries[at + 18] !== typeUnknown
  }
  return undefined
}

/** Enough to tell a disk that is slow from one that was busy once. */
const syncRounds = 5

/**
 * How long a small file takes to come to the disk under a directory, in milliseconds, the median of some. The file has no name, so that nobody sees it
 * and nothing is left of it, whatever happens.
 * @throws if the filesystem has no files without names, or may not be written to
 */
export async function measureSync(directory: string): Promise<number> {
  const nameless = constants.O_RDWR | 0o20000000 | constants.O_DIRECTORY // O_TMPFILE
  await using handle = await open(directory, nameless, 0o600)
  const times: number[] = []
  for (let round = 0; round < syncRounds; round++) {
    await handle.write(Buffer.alloc(4096, round), 0, 4096, round * 4096)
    const start = performance.now()
    await handle.sync()
    times.push(performance.now() - start)
  }
  return times.toSorted((a, b) => a - b)[Math.floor(syncRounds / 2)] ?? 0
}

/** True if this process may set `trusted.` attributes there: overlay marks opaque directories with one. */
export function hasTrustedXattr(scratchDirectory: string): boolean {
  try {
    lsetxattr(cPath(scratchDirectory), cPath('trusted.windlass.probe'), Buffer.from('y'))
    return true
  } catch (error) {
    if (error instanceof SystemError) return false
    throw error
  }
}
