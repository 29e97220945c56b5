/**
 * What a directory tree is, byte for byte: read it, and say in which facts two trees differ.
 * Paths are byte strings (one character per byte), so that names that are not UTF-8 compare as they are.
 */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { type BigIntStats, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { cPath, lgetxattr, llistxattr } from '../src/sys/libc.ts'

export type EntryType = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket'

/** Everything about one path that an unpacked layer promises. Facts that its type does not have are undefined. */
export interface Facts {
  readonly type: EntryType
  /** All twelve bits, octal. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
  /** Seconds and nanoseconds since the epoch, exact. */
  readonly mtime: string
  readonly size?: number
  /** Byte string. */
  readonly target?: string
  readonly device?: string
  /** `name=hex` pairs, sorted. */
  readonly xattrs: string
  /** Every path of the tree that shares the inode, sorted; only where there is more than one. */
  readonly links?: string
  readonly sha256?: string
  /** True where fewer blocks are allocated than the size needs. */
  readonly sparse?: boolean
}

export type Tree = Map<string, Facts>

export interface ReadTreeOptions {
  /** Leaves extended attributes out whose name starts with one of these, such as `trusted.overlay.`. */
  ignoreXattrs?: readonly string[]
  /** Leaves out names that lead to nothing, as overlayfs lists whiteouts of a directory that only one layer has. */
  ignoreGone?: boolean
}

type Draft = { -readonly [K in keyof Facts]: Facts[K] }

/** Reads the tree below `root`; the root itself is `.`. Symlinks are never followed. Needs root to see `trusted.*`. */
export function readTree(root: string, options: ReadTreeOptions = {}): Tree {
  const tree = new Map<string, Draft>()
  const inodes = new Map<string, string[]>()
  const pending = ['.']
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const place = Buffer.concat([Buffer.from(root), Buffer.from(`/${path}`, 'latin1')])
    const stat = lstatSync(place, { bigint: true, throwIfNoEntry: false })
    if (stat === undefined && options.ignoreGone) continue
    assert.ok(stat, `${path} is gone`)
    if (stat.isDirectory()) {
      for (const name of readdirSync(place, { encoding: 'buffer' })) {
        pending.push(path === '.' ? name.toString('latin1') : `${path}/${name.toString('latin1')}`)
      }
    }
    const first = noteLink(inodes, stat, path)
    tree.set(path, readFacts(place, stat, options, first === undefined ? undefined : tree.get(first)))
  }
  nameLinks(tree, inodes)
  return new Map([...tree].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Remembers which paths share an inode. @returns the first path of this inode that was seen before */
function noteLink(inodes: Map<string, string[]>, stat: BigIntStats, path: string): string | undefined {
  if (stat.isDirectory() || stat.nlink < 2n) return undefined
  const key = `${stat.dev}:${stat.ino}`
  const paths = inodes.get(key)
  if (paths === undefined) inodes.set(key, [path])
  else paths.push(path)
  return paths?.[0]
}

function nameLinks(tree: Map<string, Draft>, inodes: Map<string, string[]>): void {
  for (const paths of inodes.values()) {
    if (paths.length < 2) continue
    const links = paths.sort().join(' ')
    for (const path of paths) {
      const facts = tree.get(path)
      if (facts !== undefined) facts.links = links
    }
  }
}

function readFacts(place: Buffer, stat: BigIntStats, options: ReadTreeOptions, same: Facts | undefined): Draft {
  const facts: Draft = {
    type: entryType(stat),
    mode: (Number(stat.mode) & 0o7777).toString(8).padStart(4, '0'),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: formatTime(stat.mtimeNs),
    xattrs: readXattrs(place, options.ignoreXattrs ?? []),
  }
  if (facts.type === 'symlink') facts.target = readlinkSync(place, { encoding: 'buffer' }).toString('latin1')
  if (facts.type === 'char' || facts.type === 'block') facts.device = formatDevice(stat.rdev)
  if (facts.type === 'file') {
    facts.size = Number(stat.size)
    facts.sparse = stat.blocks * 512n < stat.size
    facts.sha256 = same?.sha256 ?? hash('sha256', readFileSync(place))
  }
  return facts
}

function entryType(stat: BigIntStats): EntryType {
  if (stat.isFile()) return 'file'
  if (stat.isDirectory()) return 'directory'
  if (stat.isSymbolicLink()) return 'symlink'
  if (stat.isCharacterDevice()) return 'char'
  if (stat.isBlockDevice()) return 'block'
  return stat.isFIFO() ? 'fifo' : 'socket'
}

function formatTime(ns: bigint): string {
  const text = String(ns < 0n ? -ns : ns).padStart(10, '0')
  return `${ns < 0n ? '-' : ''}${text.slice(0, -9)}.${text.slice(-9)}`
}

/** Splits the kernel's dev_t as glibc's major(3) and minor(3) do. */
function formatDevice(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffffff00n)
  return `${major}:${minor}`
}

function readXattrs(place: Buffer, ignored: readonly string[]): string {
  const path = Buffer.concat([place, Buffer.of(0)])
  return llistxattr(path)
    .filter(name => !ignored.some(prefix => name.startsWith(prefix)))
    .sort()
    .map(name => `${name}=${lgetxattr(path, cPath(name, 'latin1'))?.toString('hex')}`)
    .join(' ')
}

export interface CompareOptions {
  /** True for a fact that may differ at a path. `presence` stands for the path itself being on one side only. */
  ignore?: (path: string, fact: keyof Facts | 'presence') => boolean
}

const factNames: readonly (keyof Facts)[] = [
  'type',
  'mode',
  'uid',
  'gid',
  'mtime',
  'size',
  'target',
  'device',
  'xattrs',
  'links',
  'sha256',
  'sparse',
]

/** @returns one line for each difference, in the order of the paths; empty if the trees are equal */
export function compareTrees(actual: Tree, expected: Tree, options: CompareOptions = {}): string[] {
  const ignore = options.ignore ?? (() => false)
  const paths = [...new Set([...actual.keys(), ...expected.keys()])].sort()
  return paths.flatMap(path => {
    const a = actual.get(path)
    const e = expected.get(path)
    if (a !== undefined && e !== undefined) return compareFacts(path, a, e, ignore)
    if (ignore(path, 'presence')) return []
    return [a === undefined ? `${show(path)}: missing, wanted a ${e?.type}` : `${show(path)}: unexpected ${a.type}`]
  })
}

function compareFacts(path: string, a: Facts, e: Facts, ignore: NonNullable<CompareOptions['ignore']>): string[] {
  return factNames
    .filter(fact => a[fact] !== e[fact] && !ignore(path, fact))
    .map(fact => `${show(path)}: ${fact} is ${show(String(a[fact]))}, wanted ${show(String(e[fact]))}`)
}

function show(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

const differencesShown = 20

/** Fails with the first differences if the trees differ. */
export function assertSameTree(actual: Tree, expected: Tree, options: CompareOptions = {}): void {
  const differences = compareTrees(actual, expected, options)
  if (differences.length === 0) return
  const more = differences.length - differencesShown
  const shown = differences.slice(0, differencesShown).join('\n  ')
  assert.fail(`The trees differ in ${differences.length} facts:\n  ${shown}${more > 0 ? `\n  and ${more} more` : ''}`)
}
