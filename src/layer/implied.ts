import { lstatSync } from 'node:fs'
import {
  AT_FDCWD,
  cPath,
  fchmodat,
  lchownat,
  lgetxattr,
  llistxattr,
  lsetxattr,
  lutimensat,
  writeTimespec,
} from '../sys/libc.ts'
import { opaqueXattr } from '../sys/mounts.ts'

const opaqueName = cPath(opaqueXattr)

/**
 * Gives directories that a layer only implies the owner, mode, times and attributes that the layers below gave them. A layer is a change set:
 * a directory that it does not describe has not changed, yet in an overlay the made-up one would hide the real one's facts.
 *
 * Runs outside the chroot, so every component of a name is looked at before it is used: nothing is followed.
 * @param names byte strings, parents before children
 */
export function adoptImplied(
  diffDirectory: string,
  lowerDirectories: readonly string[],
  names: readonly string[],
): void {
  for (const name of names) {
    if (lookUp(diffDirectory, name) !== 'directory' || isBelowOpaque(diffDirectory, name)) continue
    const lower = findLower(lowerDirectories, name)
    if (lower !== undefined) copyFacts(joinBytes(lower, name), joinBytes(diffDirectory, name))
  }
}

/** The nearest layer below that has the directory; none if a nearer one hides it. */
function findLower(lowerDirectories: readonly string[], name: string): string | undefined {
  for (const lower of lowerDirectories) {
    const found = lookUp(lower, name)
    if (found === 'directory') return lower
    if (found === 'hidden') return undefined
  }
  return undefined
}

function joinBytes(directory: string, name: string): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name, 'latin1')])
}

/**
 * Looks a directory up in one layer, component by component: it has it, or hides what the layers below have of that name (something else
 * stands there, a whiteout perhaps, or a parent is opaque), or says nothing about it.
 */
function lookUp(layer: string, name: string): 'directory' | 'hidden' | 'absent' {
  let isOpaque = false
  for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
    const parent = joinBytes(layer, name.slice(0, slash))
    const stat = lstatSync(parent, { throwIfNoEntry: false })
    if (stat === undefined) return isOpaque ? 'hidden' : 'absent'
    if (!stat.isDirectory()) return 'hidden'
    isOpaque ||= isOpaqueDirectory(parent)
  }
  const stat = lstatSync(joinBytes(layer, name), { throwIfNoEntry: false })
  if (stat === undefined) return isOpaque ? 'hidden' : 'absent'
  return stat.isDirectory() ? 'directory' : 'hidden'
}

function isOpaqueDirectory(path: Buffer): boolean {
  return lgetxattr(Buffer.concat([path, Buffer.of(0)]), opaqueName)?.toString() === 'y'
}

/** True if a directory above the name hides all that the layers below have there. */
function isBelowOpaque(layer: string, name: string): boolean {
  for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1))
    if (isOpaqueDirectory(joinBytes(layer, name.slice(0, slash)))) return true
  return false
}

function copyFacts(from: Buffer, to: Buffer): void {
  const stat = lstatSync(from, { bigint: true })
  const path = cPath(to.toString('latin1'), 'latin1')
  const source = cPath(from.toString('latin1'), 'latin1')
  lchownat(AT_FDCWD, path, Number(stat.uid), Number(stat.gid))
  fchmodat(AT_FDCWD, path, Number(stat.mode & 0o7777n))
  for (const xattr of llistxattr(source)) {
    const value = lgetxattr(source, cPath(xattr, 'latin1'))
    if (value !== undefined && !/^(trusted|user)\.overlay\./.test(xattr)) lsetxattr(path, cPath(xattr, 'latin1'), value)
  }
  const times = Buffer.alloc(32)
  writeNanoseconds(times, 0, stat.atimeNs)
  writeNanoseconds(times, 16, stat.mtimeNs)
  lutimensat(AT_FDCWD, path, times)
}

function writeNanoseconds(times: Buffer, offset: number, timeNs: bigint): void {
  const nanoseconds = ((timeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
  writeTimespec(times, offset, Number((timeNs - nanoseconds) / 1_000_000_000n), Number(nanoseconds))
}
