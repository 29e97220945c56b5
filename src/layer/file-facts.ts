import { type BigIntStats, readdirSync } from 'node:fs'
import { WindlassError } from '../errors.ts'
import { cPath, getxattr, listxattr } from '../sys/libc.ts'
import type { TarHeaderFields } from '../tar/writer.ts'

/**
 * The names in a directory as byte strings, sorted by bytes: the same order on every filesystem and in every locale.
 */
export function sortedNames(path: Buffer): Buffer[] {
  return readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)
}

/** How a tar calls what lstat found. */
export function entryType(stat: BigIntStats): TarHeaderFields['type'] {
  if (stat.isFile()) return 'file'
  if (stat.isDirectory()) return 'directory'
  if (stat.isSymbolicLink()) return 'symlink'
  if (stat.isCharacterDevice()) return 'character'
  if (stat.isBlockDevice()) return 'block'
  if (stat.isFIFO()) return 'fifo'
  throw new WindlassError('UNSUPPORTED', `Cannot pack a file of mode ${stat.mode.toString(8)}: no tar type for it`)
}

/** Major and minor number of a dev_t as glibc composes it (gnu_dev_makedev): 12 and 20 bits are in use. */
export function deviceNumbers(rdev: bigint): { major: number; minor: number } {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)
  return { major: Number(major), minor: Number(minor) }
}

/**
 * xattrs that say something of this host and not of the file: labels and signatures of security modules, POSIX ACLs
 * (their binary form names ids of this host), and the marks of overlay mounts.
 */
const hostXattrs = /^(?:system\.|security\.(?!capability$)|(?:trusted|user)\.overlay\.)/

/** The xattrs that belong in a layer, sorted by name; `path` is followed, also to a symlink that is held open. */
export function readXattrs(path: string): (readonly [string, Uint8Array])[] {
  const found: (readonly [string, Uint8Array])[] = []
  for (const name of listxattr(cPath(path)).sort()) {
    if (hostXattrs.test(name)) continue
    const value = getxattr(cPath(path), cPath(name, 'latin1'))
    if (value !== undefined) found.push([name, value])
  }
  return found
}
