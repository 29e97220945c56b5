import { readdirSync } from 'node:fs'
import { constants as osConstants } from 'node:os'
import { WindlassError } from '../errors.ts'
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  close,
  cPath,
  fchmodat,
  fstat,
  lastErrno,
  lchownat,
  lgetxattr,
  lremovexattr,
  lsetxattr,
  lstatat,
  lutimensat,
  mkdirat,
  O,
  type Stat,
  SystemError,
  tryOpenat,
  unlinkat,
  writeTimespec,
} from '../sys/libc.ts'
import { showName } from '../tar/entry.ts'
import { S_IFDIR, S_IFLNK, S_IFMT } from './file-type.ts'
import { parentName } from './names.ts'
import { resolveMissing } from './resolve-missing.ts'
import type { WalkBudget } from './walk-budget.ts'

const { EEXIST, ELOOP, ENOENT, ENOTDIR } = osConstants.errno

const S_ISGID = 0o2000

/** Missing parents get this mode, as OCI's reference tools and docker since 29 give them. */
export const IMPLIED_MODE = 0o755

const defaultAcl = cPath('system.posix_acl_default')

/** A directory held open, relative to which entries are made: the kernel walks its path once for all entries in it. */
export interface OpenDirectory {
  readonly fd: number
  readonly name: string
  /** New entries inherit the group of a setgid directory, so their owner must be set even where it looks right. */
  readonly setgid: boolean
}

/** What a directory of the layers below was before this layer put something into it. */
interface KeptFacts {
  readonly mtimeSeconds: number
  readonly mtimeNanoseconds: number
  readonly defaultAcl: Buffer | undefined
}

/**
 * The tree that is being unpacked, seen from a thread whose root it is. Names are clean (`names.ts`).
 * It holds one directory open, the one of the last entry, since archives list a directory's entries together.
 */
export class Tree {
  /** Directories that no entry has described yet: made because something stands in them. */
  readonly implied = new Set<string>()
  /**
   * Asked about what stands where a directory is needed and is neither directory nor symlink: true if it made way, for a directory that is
   * there now or that may be made.
   */
  givesWay: (name: string, stat: Stat) => boolean = () => false
  #impliedMade = 0
  #impliedBytes = 0
  readonly #hasLower: boolean
  readonly #walks: WalkBudget
  readonly #described: ReadonlyMap<string, unknown>
  readonly #kept = new Map<string, KeptFacts>()
  #open: OpenDirectory | undefined

  /**
   * @param hasLower there are layers below in it
   * @param described the directories that this layer has described so far, by name; what is removed is taken out of it
   */
  constructor(hasLower: boolean, described: Map<string, unknown>, walks: WalkBudget) {
    this.#hasLower = hasLower
    this.#walks = walks
    this.#described = described
    this.#onRemoved = name => {
      described.delete(name)
      this.implied.delete(name)
      this.#kept.delete(name)
    }
  }

  readonly #onRemoved: (name: string) => void

  /** Implied directories made so far, also those that are gone or described since. */
  get impliedMade(): number {
    return this.#impliedMade
  }

  /** Sum of the lengths of their names. */
  get impliedBytes(): number {
    return this.#impliedBytes
  }

  /** The absolute path of a name in the thread's root, NUL-terminated. */
  path(name: string): Buffer {
    return cPath(`/${name}`, 'latin1')
  }

  /** The directory of that name, made with all its missing parents. It is closed by the next call for another one. */
  openDirectory(name: string): OpenDirectory {
    if (this.#open?.name === name) return this.#open
    const path = this.path(name)
    let fd = tryOpenat(AT_FDCWD, path, O.PATH | O.DIRECTORY)
    const errno = fd < 0 ? lastErrno() : 0
    if (errno === ENOTDIR) this.#clearWay(name)
    if (errno === ENOTDIR || errno === ENOENT) {
      if (!this.#makeImplied(name)) this.#makeImplied(resolveMissing(name) ?? name)
      fd = tryOpenat(AT_FDCWD, path, O.PATH | O.DIRECTORY)
    }
    if (fd < 0) throw directoryError(name, lastErrno(), path)
    this.forget()
    const stat = fstat(fd)
    this.#open = { fd, name, setgid: (stat.mode & S_ISGID) !== 0 }
    if (this.#hasLower || name === '') this.#keep(name, stat)
    return this.#open
  }

  /**
   * Keeps the time of a directory of the layers below, which changes when something is put into it or taken out: the layer that does so
   * describes the change of the directory itself, if there is any. Its default ACL is lifted meanwhile, since new entries would inherit it.
   */
  keepFacts(name: string): void {
    if (!this.#hasLower || this.#isKnown(name)) return
    const stat = lstatat(AT_FDCWD, this.inside(name))
    if (stat !== undefined) this.#keep(name, stat)
  }

  #isKnown(name: string): boolean {
    return this.#kept.has(name) || this.implied.has(name) || this.#described.has(name)
  }

  #keep(name: string, stat: Stat): void {
    if (this.#isKnown(name)) return
    const path = this.inside(name)
    const acl = lgetxattr(path, defaultAcl)
    if (acl !== undefined) lremovexattr(path, defaultAcl)
    const { mtimeSeconds, mtimeNanoseconds } = stat
    // An overlay's layer has nothing below: what its root has comes from the host's directory above it.
    if (this.#hasLower) this.#kept.set(name, { mtimeSeconds, mtimeNanoseconds, defaultAcl: acl })
  }

  /** Gives the directories of the layers below back what they had. Described ones get theirs afterwards. */
  restoreFacts(): void {
    const times = Buffer.alloc(32)
    for (const [name, facts] of [...this.#kept].reverse())
      this.#walks.timed([name], () => this.#restore(this.inside(name), facts, times))
  }

  #restore(path: Buffer, facts: KeptFacts, times: Buffer): void {
    if (lstatat(AT_FDCWD, path) === undefined) return
    if (facts.defaultAcl !== undefined) lsetxattr(path, defaultAcl, facts.defaultAcl)
    writeTimespec(times, 0, facts.mtimeSeconds, facts.mtimeNanoseconds)
    writeTimespec(times, 16, facts.mtimeSeconds, facts.mtimeNanoseconds)
    lutimensat(AT_FDCWD, path, times)
  }

  /** The path of the directory itself, also where its name is that of a symlink to it. */
  inside(name: string): Buffer {
    return cPath(`/${name}/.`, 'latin1')
  }

  /** An entry describes the directory anew: nothing of what it was comes back. */
  describedAnew(name: string): void {
    this.implied.delete(name)
    this.#kept.delete(name)
  }

  /** Closes the directory held open: it may have been replaced, or its mode changed. */
  forget(): void {
    if (this.#open !== undefined) close(this.#open.fd)
    this.#open = undefined
  }

  lstat(name: string): Stat | undefined {
    return this.#walks.timed([name], () => lstatat(AT_FDCWD, this.path(name)))
  }

  /** Removes whatever stands there, a directory with all it holds. */
  remove(name: string): void {
    const stat = this.lstat(name)
    if (stat === undefined) return
    const type = stat.mode & S_IFMT
    // The directory held open may be this one, or one that was reached through this symlink.
    if (type === S_IFDIR || type === S_IFLNK) this.forget()
    if (type !== S_IFDIR) return unlinkat(AT_FDCWD, this.path(name))
    for (const child of this.children(name)) this.remove(`${name}/${child}`)
    unlinkat(AT_FDCWD, this.path(name), AT_REMOVEDIR)
    this.#onRemoved(name)
  }

  /** The names in a directory, as byte strings. */
  children(name: string): string[] {
    const path = this.path(name)
    return readdirSync(path.subarray(0, -1), { encoding: 'buffer' }).map(child => child.toString('latin1'))
  }

  /** Lets the first thing on the way to a directory that is none give way to one. */
  #clearWay(name: string): void {
    for (let slash = name.indexOf('/'); ; slash = name.indexOf('/', slash + 1)) {
      const part = slash < 0 ? name : name.slice(0, slash)
      const stat = this.lstat(part)
      const type = (stat?.mode ?? 0) & S_IFMT
      if (stat === undefined || (type !== S_IFDIR && type !== S_IFLNK && !this.givesWay(part, stat)) || slash < 0)
        return
    }
  }

  /**
   * Makes the directory and its missing parents, as far as nothing is in the way. From one to the next by its descriptor: by path, a name of
   * two thousand parts would cost millions of steps.
   * @returns false if it is not there then
   */
  #makeImplied(name: string): boolean {
    let fd = tryOpenat(AT_FDCWD, this.path(''), O.PATH | O.DIRECTORY)
    try {
      for (let start = 0, slash = 0; slash >= 0 && fd >= 0; start = slash + 1) {
        slash = name.indexOf('/', start)
        const end = slash < 0 ? name.length : slash
        const part = cPath(name.slice(start, end), 'latin1')
        let next = tryOpenat(fd, part, O.PATH | O.DIRECTORY)
        if (next < 0 && lastErrno() === ENOENT && this.#mkdirImplied(fd, part, name.slice(0, end)))
          next = tryOpenat(fd, part, O.PATH | O.DIRECTORY | O.NOFOLLOW)
        close(fd)
        fd = next
      }
      return fd >= 0
    } finally {
      if (fd >= 0) close(fd)
    }
  }

  /** False if a symlink to nothing has its name. */
  #mkdirImplied(directory: number, part: Buffer, name: string): boolean {
    this.keepFacts(parentName(name))
    try {
      mkdirat(directory, part, IMPLIED_MODE)
    } catch (error) {
      if (error instanceof SystemError && error.errno === EEXIST) return false
      throw error
    }
    // A setgid directory around it would hand down its group and bit.
    lchownat(directory, part, process.geteuid?.() ?? 0, process.getegid?.() ?? 0)
    fchmodat(directory, part, IMPLIED_MODE)
    this.implied.add(name)
    this.#impliedMade++
    this.#impliedBytes += name.length
    return true
  }
}

function directoryError(name: string, errno: number, path: Buffer): Error {
  if (errno === ENOTDIR || errno === ENOENT || errno === ELOOP) {
    return new WindlassError(
      'CORRUPT',
      `Cannot unpack into ${showName(name)}: it is not a directory, yet entries stand in it`,
    )
  }
  return new SystemError('openat', errno, path)
}
