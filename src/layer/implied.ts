import { lstatSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
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
import { parentName } from './names.ts'

const opaqueName = cPath(opaqueXattr)
const PATH_MAX = 4096

/** The event loop, on which all streams run, is held up no longer than this at a time. */
const turnMs = 20

/**
 * Gives directories that a layer only implies the owner, mode, times and attributes that the layers below gave them. A layer is a change set:
 * a directory that it does not describe has not changed, yet in an overlay the made-up one would hide the real one's facts.
 *
 * Runs outside the chroot, so every component of a name is looked at before it is used: nothing is followed.
 * @param names byte strings, parents before children
 */
export async function adoptImplied(
  diffDirectory: string,
  lowerDirectories: readonly string[],
  names: readonly string[],
): Promise<void> {
  const diff = new LayerDirectories(diffDirectory)
  const lowers = lowerDirectories.map(lower => new LayerDirectories(lower))
  let turnedMs = performance.now()
  for (const name of names) {
    if (performance.now() - turnedMs > turnMs) {
      await setImmediate()
      turnedMs = performance.now()
    }
    if (diff.find(name).kind !== 'directory' || diff.find(parentName(name)).hides) continue
    const lower = findLower(lowers, name)
    if (lower !== undefined) copyFacts(lower.path(name), diff.path(name))
  }
}

/** The nearest layer below that has the directory; none if a nearer one hides it. */
function findLower(lowers: readonly LayerDirectories[], name: string): LayerDirectories | undefined {
  for (const lower of lowers) {
    const { kind } = lower.find(name)
    if (kind === 'directory') return lower
    if (kind === 'hidden') return undefined
  }
  return undefined
}

/**
 * What a layer has of a name: a directory; or something that hides what the layers below have of it (something else stands there, a whiteout perhaps,
 * or a parent is opaque); or nothing.
 */
interface Found {
  readonly kind: 'directory' | 'hidden' | 'absent'
  /** It is opaque, or stands in a directory that is: what the layers below have in it is not to be seen. */
  readonly hides: boolean
}

const hidden: Found = { kind: 'hidden', hides: true }
const absent: Found = { kind: 'absent', hides: false }

/** The directories of one layer. Each is looked at once: a name of two thousand parts, part by part for each of its parents, would take minutes. */
class LayerDirectories {
  readonly #root: string
  readonly #found = new Map<string, Found>([['', { kind: 'directory', hides: false }]])

  constructor(root: string) {
    this.#root = root
  }

  path(name: string): Buffer {
    return Buffer.concat([Buffer.from(`${this.#root}/`), Buffer.from(name, 'latin1')])
  }

  find(name: string): Found {
    const known = this.#found.get(name)
    if (known !== undefined) return known
    const parent = this.find(parentName(name))
    if (parent.kind !== 'directory') return parent
    const found = this.#look(name, parent)
    this.#found.set(name, found)
    return found
  }

  #look(name: string, parent: Found): Found {
    const path = this.path(name)
    // What no call could name has no facts that could be taken.
    const stat = path.length < PATH_MAX ? lstatSync(path, { throwIfNoEntry: false }) : undefined
    if (stat === undefined) return parent.hides ? hidden : absent
    return stat.isDirectory() ? { kind: 'directory', hides: parent.hides || isOpaqueDirectory(path) } : hidden
  }
}

function isOpaqueDirectory(path: Buffer): boolean {
  return lgetxattr(Buffer.concat([path, Buffer.of(0)]), opaqueName)?.toString() === 'y'
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
