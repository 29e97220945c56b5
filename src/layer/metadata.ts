import { constants as osConstants } from 'node:os'
import {
  AT_FDCWD,
  cPath,
  fchmod,
  fchmodat,
  fchown,
  fsetxattr,
  futimens,
  lchownat,
  lsetxattr,
  lutimensat,
  SystemError,
  writeTimespec,
} from '../sys/libc.ts'
import { isInUserNamespace } from '../sys/user-namespace.ts'
import type { TarEntry } from '../tar/entry.ts'
import type { OpenDirectory } from './tree.ts'

export const S_ISUID_ISGID = 0o6000

/** Where this process' new files get their owner from. */
export interface Creator {
  readonly uid: number
  readonly gid: number
}

/** True if what was just made in `directory` does not already belong to the entry's owner. */
export function needsOwner(entry: TarEntry, directory: OpenDirectory, creator: Creator): boolean {
  return entry.uid !== creator.uid || entry.gid !== creator.gid || directory.setgid
}

/** Told of each attribute that could not be set. */
export type OnDropped = (xattr: string) => void

/**
 * Owner, mode, xattrs and times of a regular file that was just made with the entry's mode. The order is the kernel's rule: chown
 * clears setuid, setgid and file capabilities, and writing sets mtime.
 */
export function finishFile(
  fd: number,
  entry: TarEntry,
  options: { chown: boolean; times: Buffer; onDropped: OnDropped },
): void {
  if (options.chown) fchown(fd, entry.uid, entry.gid)
  // A write clears them too, for a process without CAP_FSETID.
  if (entry.mode & S_ISUID_ISGID) fchmod(fd, entry.mode)
  if (entry.xattrs !== undefined)
    setXattrs(entry.xattrs, (name, value) => fsetxattr(fd, name, value), options.onDropped)
  futimens(fd, options.times)
}

/** The owner of a symlink or a node, and the bits of its mode that chown clears. */
export function finishNode(directory: OpenDirectory, base: Buffer, entry: TarEntry, chown: boolean): void {
  if (!chown) return
  lchownat(directory.fd, base, entry.uid, entry.gid)
  if (entry.type !== 'symlink' && entry.mode & S_ISUID_ISGID) fchmodat(directory.fd, base, entry.mode)
}

export function setTimes(directory: OpenDirectory, base: Buffer, times: Buffer): void {
  lutimensat(directory.fd, base, times)
}

/** Times by absolute path: for directories, whose times come last. */
export function setTimesOfPath(path: Buffer, times: Buffer): void {
  lutimensat(AT_FDCWD, path, times)
}

/** The struct timespec pair of an entry: atime as mtime, as docker does where the archive has no later atime. */
export function writeTimes(times: Buffer, entry: { mtimeSeconds: number; mtimeNanoseconds: number }): void {
  writeTimespec(times, 0, entry.mtimeSeconds, entry.mtimeNanoseconds)
  writeTimespec(times, 16, entry.mtimeSeconds, entry.mtimeNanoseconds)
}

/** Capabilities are the image's own matter, and so are signatures, which nobody can forge. Every other label of a security module is the host's. */
const imageSecurity: ReadonlySet<string> = new Set(['security.capability', 'security.ima', 'security.evm'])

/**
 * Attributes that an image must not set: overlayfs' own (they redirect lookups or make whiteouts), labels, which the host's policy
 * decides, and access lists of a file server, which name users of its own. They are left out, as the engines leave out a label, and told.
 */
export function isForbiddenXattr(name: string): boolean {
  if (name.startsWith('security.')) return !imageSecurity.has(name)
  return name.startsWith('trusted.overlay.') || name.startsWith('user.overlay.') || name === 'system.nfs4_acl'
}

export function setXattrsOfPath(path: Buffer, xattrs: ReadonlyMap<string, Buffer>, onDropped: OnDropped): void {
  setXattrs(xattrs, (name, value) => lsetxattr(path, name, value), onDropped)
}

function setXattrs(
  xattrs: ReadonlyMap<string, Buffer>,
  set: (name: Buffer, value: Buffer) => void,
  onDropped: OnDropped,
): void {
  for (const [name, value] of xattrs) {
    try {
      set(cPath(name, 'latin1'), value)
    } catch (error) {
      if (!isUnsupported(error)) throw error
      onDropped(name)
    }
  }
}

/**
 * The filesystem, or this type of file, has no such attributes: user.* on a symlink or device is EPERM by the kernel's rule. To root of a user namespace
 * some are forbidden: trusted.* and most of security.*.
 */
function isUnsupported(error: unknown): boolean {
  if (!(error instanceof SystemError)) return false
  return (
    error.errno === osConstants.errno.EOPNOTSUPP ||
    (error.errno === osConstants.errno.EPERM && (error.syscall === 'lsetxattr' || isInUserNamespace))
  )
}
