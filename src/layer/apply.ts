import { statfsSync } from 'node:fs'
import { constants as osConstants } from 'node:os'
import { WindlassError, wrapError } from '../errors.ts'
import {
  AT_FDCWD,
  close,
  cPath,
  fchmodat,
  lastErrno,
  lchownat,
  linkat,
  llistxattr,
  lremovexattr,
  makedev,
  mkdirat,
  mknodat,
  O,
  SystemError,
  symlinkat,
  tryOpenat,
} from '../sys/libc.ts'
import { defaultTarLimits, showName, type TarEntry, type TarLimits } from '../tar/entry.ts'
import type { TarReader } from '../tar/reader.ts'
import { writeContent } from './content.ts'
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT } from './file-type.ts'
import {
  type Creator,
  finishFile,
  finishNode,
  isForbiddenXattr,
  needsOwner,
  S_ISUID_ISGID,
  setTimes,
  setTimesOfPath,
  setXattrsOfPath,
  writeTimes,
} from './metadata.ts'
import { aufsLinks, baseName, cleanName, parentName, parseWhiteout } from './names.ts'
import type { Adapted } from './ordinary.ts'
import { type OpenDirectory, Tree } from './tree.ts'
import { flatUnion, isOverlayWhiteout, overlayUnion, setOpaque, type Union } from './union.ts'
import { WalkBudget } from './walk-budget.ts'

const { E2BIG, EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOSPC, ENOTDIR, EPERM, ERANGE } = osConstants.errno

/** `overlay`: one layer by itself, whiteouts in overlayfs' form. `flat`: onto the layers below, whiteouts carried out. */
export type UnpackMode = 'overlay' | 'flat'

/** What a layer was found to be. */
export interface AppliedLayer {
  readonly entries: number
  /** Sum of the lengths of its regular files, in bytes; hard links counted once. */
  readonly size: number
  /** Directories that no entry described (byte strings): they came from entries that stand in them. */
  readonly implied: readonly string[]
  /** Names of extended attributes that were left out: not allowed for an image, or not known to the filesystem. */
  readonly droppedXattrs: readonly string[]
  /** In a user namespace: what it could not have. */
  readonly adapted?: Adapted
}

interface DirectoryFacts {
  readonly mtimeSeconds: number
  readonly mtimeNanoseconds: number
  readonly xattrs: Map<string, Buffer> | undefined
}

/** The kernel's dev_t has 12 bits of major and 20 bits of minor number; more would be cut to another device. */
const MAJOR_MAX = 0xfff
const MINOR_MAX = 0xfffff

/** Attributes of directories are held until the end, outside the heap that the thread is limited to: no layer seen has a megabyte of them. */
const HELD_XATTRS_MAX = 64 * 1024 * 1024
/** Names told of attributes that were left out: enough to see what kind they are. */
const DROPPED_MAX = 100

/** Applies the entries of one layer to the tree that is the calling thread's root. Disposing closes what it holds open. */
export class LayerApplier implements Disposable {
  readonly #mode: UnpackMode
  readonly #creator: Creator
  readonly #limits: TarLimits
  readonly #walks: WalkBudget
  readonly #directories = new Map<string, DirectoryFacts>()
  readonly #tree: Tree
  readonly #union: Union
  readonly #times = Buffer.alloc(32)
  readonly #dropped = new Set<string>()
  #hasAufsLinks = false
  #heldXattrs = 0
  #entries = 0
  #size = 0

  constructor(mode: UnpackMode, creator: Creator, limits: TarLimits = defaultTarLimits) {
    this.#mode = mode
    this.#creator = creator
    this.#limits = limits
    this.#walks = new WalkBudget(limits.walkStepsMax)
    this.#tree = new Tree(mode === 'flat', this.#directories, this.#walks)
    this.#union = mode === 'overlay' ? overlayUnion(this.#tree) : flatUnion(this.#tree)
  }

  [Symbol.dispose](): void {
    this.#tree.forget()
  }

  /**
   * Makes what the entry says; its content is taken from the reader.
   * @throws WindlassError that names the entry; whatever the reader throws
   */
  apply(entry: TarEntry, reader: TarReader): void {
    this.#entries++
    try {
      const name = cleanName(entry.name)
      const names = entry.type === 'link' ? [name, cleanName(entry.linkName)] : [name]
      this.#walks.timed(names, () => this.#apply(name, entry, reader))
    } catch (error) {
      throw describe(error, entry)
    }
    this.#checkImplied()
  }

  #checkImplied(): void {
    const { impliedMax, impliedBytesMax } = this.#limits
    if (this.#tree.impliedMade > impliedMax) throw tooManyImplied(`more than ${impliedMax} directories`)
    if (this.#tree.impliedBytes > impliedBytesMax)
      throw tooManyImplied(`directories with names of more than ${impliedBytesMax} bytes`)
  }

  #apply(name: string, entry: TarEntry, reader: TarReader): void {
    const whiteout = parseWhiteout(name)
    if (whiteout.kind === 'metadata') return this.#keepLinked(name, entry, reader)
    if (whiteout.kind === 'opaque') return this.#union.opaque(parentName(name))
    if (whiteout.kind === 'whiteout') {
      const parent = parentName(name)
      return this.#union.whiteout(parent === '' ? whiteout.hidden : `${parent}/${whiteout.hidden}`)
    }
    if (entry.xattrs !== undefined) this.#filterXattrs(entry.xattrs)
    this.#make(name, entry, reader)
    this.#union.made(name)
  }

  /** Of aufs' bookkeeping the files are kept until the end: where old dockers ran on aufs, hard links of their layers lead there, and nowhere else. */
  #keepLinked(name: string, entry: TarEntry, reader: TarReader): void {
    if (entry.type !== 'file' || parentName(name) !== aufsLinks) return
    if (entry.xattrs !== undefined) this.#filterXattrs(entry.xattrs)
    this.#makeFile(name, entry, reader)
    this.#hasAufsLinks = true
  }

  /** Sets what must come last, the times and attributes of directories, and closes. */
  finish(): AppliedLayer {
    this.#tree.forget()
    if (this.#hasAufsLinks) this.#tree.remove(aufsLinks)
    this.#tree.restoreFacts()
    for (const [name, facts] of [...this.#directories].reverse())
      this.#walks.timed([name], () => this.#finishDirectory(name, facts))
    return {
      entries: this.#entries,
      size: this.#size,
      implied: [...this.#tree.implied],
      droppedXattrs: [...this.#dropped],
    }
  }

  #finishDirectory(name: string, facts: DirectoryFacts): void {
    const path = this.#tree.path(name)
    try {
      if (facts.xattrs !== undefined) setXattrsOfPath(path, facts.xattrs, this.#onDropped)
      writeTimes(this.#times, facts)
      setTimesOfPath(path, this.#times)
    } catch (error) {
      // A later entry may have replaced it by another name of its parent, a symlink: then it is not there to be finished.
      if (error instanceof SystemError && (error.errno === ENOENT || error.errno === ENOTDIR)) return
      throw wrapError(error, `Cannot finish directory ${showName(name)}`)
    }
  }

  readonly #onDropped = (xattr: string): void => {
    if (this.#dropped.size < DROPPED_MAX) this.#dropped.add(xattr)
  }

  #filterXattrs(xattrs: Map<string, Buffer>): void {
    for (const name of xattrs.keys()) {
      if (!isForbiddenXattr(name)) continue
      xattrs.delete(name)
      this.#onDropped(name)
    }
  }

  #make(name: string, entry: TarEntry, reader: TarReader): void {
    if (entry.type === 'directory') return this.#makeDirectory(name, entry)
    if (name === '') throw corrupt(entry, 'the root of a layer must be a directory')
    switch (entry.type) {
      case 'file':
        return this.#makeFile(name, entry, reader)
      case 'link':
        return this.#makeLink(name, entry)
      case 'symlink':
        if (entry.linkName === '') throw corrupt(entry, 'a symlink without a target')
        return this.#makeNode(name, entry, (directory, base) =>
          symlinkat(cPath(entry.linkName, 'latin1'), directory.fd, base),
        )
      default: {
        const { mode, device } = this.#nodeNumbers(entry)
        return this.#makeNode(name, entry, (directory, base) => mknodat(directory.fd, base, mode, device))
      }
    }
  }

  #makeFile(name: string, entry: TarEntry, reader: TarReader): void {
    let directory = this.#openParent(name)
    const base = cPath(baseName(name), 'latin1')
    let fd = this.#createFile(directory, base, entry.mode)
    if (fd < 0 && lastErrno() === EEXIST) {
      this.#tree.remove(name)
      directory = this.#openParent(name)
      fd = this.#createFile(directory, base, entry.mode)
    }
    if (fd < 0) throw new SystemError('openat', lastErrno(), base)
    try {
      this.#size += writeContent(fd, entry, reader)
      writeTimes(this.#times, entry)
      const chown = needsOwner(entry, directory, this.#creator)
      finishFile(fd, entry, { chown, times: this.#times, onDropped: this.#onDropped })
    } finally {
      close(fd)
    }
  }

  #createFile(directory: OpenDirectory, base: Buffer, mode: number): number {
    return tryOpenat(directory.fd, base, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, mode)
  }

  /** A symlink, device or fifo. */
  #makeNode(name: string, entry: TarEntry, make: (directory: OpenDirectory, base: Buffer) => void): void {
    const base = cPath(baseName(name), 'latin1')
    const directory = this.#makeAnew(name, directory => make(directory, base))
    finishNode(directory, base, entry, needsOwner(entry, directory, this.#creator))
    if (entry.xattrs !== undefined) {
      setXattrsOfPath(this.#tree.path(name), entry.xattrs, this.#onDropped)
    }
    writeTimes(this.#times, entry)
    setTimes(directory, base, this.#times)
  }

  #makeLink(name: string, entry: TarEntry): void {
    const target = cleanName(entry.linkName)
    const found = this.#tree.lstat(target)
    if (found === undefined || (found.mode & S_IFMT) === S_IFDIR || isOverlayWhiteout(found)) {
      const why = found === undefined || isOverlayWhiteout(found) ? 'does not exist in this layer' : 'is a directory'
      throw corrupt(entry, `the target ${showName(entry.linkName)} of this hard link ${why}`)
    }
    // The same file already: removing one name to make it anew could remove the file.
    if (this.#tree.lstat(name)?.ino === found.ino) return
    const base = cPath(baseName(name), 'latin1')
    this.#makeAnew(name, directory => linkat(AT_FDCWD, this.#tree.path(target), directory.fd, base))
  }

  #makeDirectory(name: string, entry: TarEntry): void {
    const parent = name === '' ? undefined : this.#openParent(name)
    const existed = parent === undefined || this.#mkdir(name, entry, parent)
    const path = this.#tree.path(name)
    const chown = parent === undefined || existed || needsOwner(entry, parent, this.#creator)
    if (chown) lchownat(AT_FDCWD, path, entry.uid, entry.gid)
    // mkdir(2) ignores setuid and setgid of its mode, and takes setgid from the parent.
    if (chown || entry.mode & S_ISUID_ISGID) fchmodat(AT_FDCWD, path, entry.mode)
    if (existed && this.#mode === 'flat') removeXattrs(path)
    // It may be held open, by this or another name, with the group rule that it had.
    if (existed) this.#tree.forget()
    this.#tree.describedAnew(name)
    this.#describe(name, entry)
  }

  #describe(name: string, { mtimeSeconds, mtimeNanoseconds, xattrs }: TarEntry): void {
    for (const [xattr, value] of xattrs ?? []) this.#heldXattrs += xattr.length + value.length
    if (this.#heldXattrs > HELD_XATTRS_MAX)
      throw new WindlassError('LIMIT_EXCEEDED', 'Cannot unpack layer: the attributes of its directories exceed 64 MiB')
    this.#directories.set(name, { mtimeSeconds, mtimeNanoseconds, xattrs })
  }

  /** Makes the directory; true if it was there already. */
  #mkdir(name: string, entry: TarEntry, parent: OpenDirectory): boolean {
    const base = cPath(baseName(name), 'latin1')
    try {
      mkdirat(parent.fd, base, entry.mode)
      return false
    } catch (error) {
      if (!(error instanceof SystemError) || error.errno !== EEXIST) throw error
    }
    const found = this.#tree.lstat(name)
    if (found !== undefined && (found.mode & S_IFMT) === S_IFDIR) return true
    this.#tree.remove(name)
    mkdirat(this.#openParent(name).fd, base, entry.mode)
    // What was there, a whiteout or a file, hid a lower directory; so must this.
    if (this.#mode === 'overlay') setOpaque(this.#tree, name)
    return false
  }

  /** Calls `make`, after removing what is in its way. Returns the directory it was made in. */
  #makeAnew(name: string, make: (directory: OpenDirectory) => void): OpenDirectory {
    const directory = this.#openParent(name)
    try {
      make(directory)
      return directory
    } catch (error) {
      if (!(error instanceof SystemError) || error.errno !== EEXIST) throw error
    }
    this.#tree.remove(name)
    const again = this.#openParent(name)
    make(again)
    return again
  }

  #openParent(name: string): OpenDirectory {
    return this.#tree.openDirectory(parentName(name))
  }

  #nodeNumbers(entry: TarEntry): { mode: number; device: bigint } {
    if (entry.type === 'fifo') return { mode: S_IFIFO | entry.mode, device: 0n }
    const { major, minor } = entry
    if (major < 0 || major > MAJOR_MAX || minor < 0 || minor > MINOR_MAX) {
      throw corrupt(entry, `device number ${major}:${minor} is out of range`)
    }
    if (entry.type === 'char' && major === 0 && minor === 0 && this.#mode === 'overlay') {
      throw corrupt(entry, 'a character device 0:0 would be a whiteout')
    }
    return { mode: (entry.type === 'char' ? S_IFCHR : S_IFBLK) | entry.mode, device: makedev(major, minor) }
  }
}

/** A directory that a higher layer describes anew keeps nothing of the attributes it had. */
function removeXattrs(path: Buffer): void {
  for (const name of llistxattr(path)) if (!name.startsWith('security.')) lremovexattr(path, cPath(name, 'latin1'))
}

function tooManyImplied(what: string): WindlassError {
  return new WindlassError('LIMIT_EXCEEDED', `Cannot unpack layer: it makes ${what} that it does not describe`)
}

function corrupt(entry: TarEntry, why: string): WindlassError {
  return new WindlassError('CORRUPT', `Cannot unpack entry ${showName(entry.name)}: ${why}`)
}

function describe(error: unknown, entry: TarEntry): unknown {
  if (!(error instanceof SystemError)) return error
  if (error.syscall.endsWith('setxattr') && isRefusal(error))
    return corrupt(entry, `the filesystem does not take its extended attributes (${error.code})`)
  if (error.errno === ENAMETOOLONG) return corrupt(entry, 'a part of its name is longer than the filesystem allows')
  if (error.errno === ELOOP) return corrupt(entry, 'symlinks on its way lead in a circle')
  if (error.errno === EPERM && entry.type === 'link') return corrupt(entry, 'its target cannot be linked')
  return wrapError(error, `Cannot unpack entry ${showName(entry.name)}`)
}

/** What no disk could hold is no lack of space: an attribute that is too large for its inode is ENOSPC, too. */
function isRefusal({ errno }: SystemError): boolean {
  return [E2BIG, EINVAL, ERANGE].includes(errno) || (errno === ENOSPC && statfsSync('/').bavail > 0)
}
