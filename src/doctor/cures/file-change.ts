/** Files that a cure writes, and how that is taken back: only as long as nobody else has changed them. */
import {
  closeSync,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  lstatSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { WindlassError, wrapError } from '../../errors.ts'
import { cPath, fsetxattr, getxattr, listxattr } from '../../sys/libc.ts'
import { makePath } from '../../sys/make-path.ts'

/** Plain data: survives JSON. */
export interface FileChange {
  readonly path: string
  /** Undefined if there is no such file. */
  readonly before: string | undefined
  readonly after: string
  /** Of a file that is new. */
  readonly mode: number
}

/** A change that was begun: what comes back with it. */
export interface BegunChange extends FileChange {
  /** Directories that were not there before, the uppermost first. Not written down by an earlier windlass: then they stay. */
  readonly directories?: readonly string[] | undefined
}

/** What has to be known of it before it is applied, for the day on which it is taken back. */
export function beginChange(change: FileChange): BegunChange {
  return { ...change, directories: missingAbove(change.path) }
}

function missingAbove(path: string): string[] {
  const above = dirname(path)
  return existsSync(above) ? [] : [...missingAbove(above), above]
}

/** @throws WindlassError FAILED if the file is not as it was when the change was planned, or has other names that would stay behind */
export function checkChange({ path, before }: FileChange): void {
  expect(path, before, 'Cannot change')
  checkNames(path, 'Cannot change')
}

/** After `checkChange`. @throws WindlassError NO_SPACE, PERMISSION: the file is as before then, or as it was to become */
export function applyChange({ path, after, mode }: FileChange): void {
  write(path, after, mode)
}

/** @returns whether there is something to take back. @throws WindlassError FAILED if somebody has changed the file since, or given it other names */
export function checkRevert({ path, before, after }: FileChange): boolean {
  if (isThere(path, before)) return false
  expect(path, after, 'Cannot take back the change of')
  if (before !== undefined) checkNames(path, 'Cannot take back the change of')
  return true
}

/** Does nothing where there is nothing to take back, but for directories that are empty. @throws WindlassError FAILED if somebody has changed the file since; NO_SPACE, PERMISSION */
export function revertChange(change: BegunChange): void {
  const { path, before, mode, directories = [] } = change
  if (checkRevert(change)) {
    if (before !== undefined) return write(path, before, mode)
    try {
      rmSync(path)
    } catch (error) {
      throw wrapError(error, `Cannot take back the change of ${path}`)
    }
  }
  for (const directory of directories.toReversed()) rmdirIfEmpty(directory)
}

/** A unified diff of the whole file, which is short. */
export function formatDiff({ path, before, after }: FileChange): string[] {
  const old = linesOf(before ?? '')
  const fresh = linesOf(after)
  const common = old.findIndex((line, at) => line !== fresh[at])
  const kept = common < 0 ? old.length : common
  return [
    `--- ${before === undefined ? '/dev/null' : path}`,
    `+++ ${path}`,
    ...old.slice(Math.max(0, kept - 2), kept).map(line => ` ${line}`),
    ...old.slice(kept).map(line => `-${line}`),
    ...fresh.slice(kept).map(line => `+${line}`),
  ]
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}

function expect(path: string, wanted: string | undefined, doing: string): void {
  if (isThere(path, wanted)) return
  const state = wanted === undefined ? 'it is there already' : 'somebody else has changed it'
  throw new WindlassError('FAILED', `${doing} ${path}: ${state}`, {
    hint: 'look at the file, and run the command again',
  })
}

/** By its bytes, of which a text may not tell all; a link that leads nowhere is somebody's, too. @param wanted undefined for nothing at all */
function isThere(path: string, wanted: string | undefined): boolean {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return wanted === undefined
  const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() === true
  return wanted !== undefined && isFile && readFileSync(path).equals(Buffer.from(wanted))
}

/** A file that is replaced is another one: its other names would lead to the old one. */
function checkNames(path: string, doing: string): void {
  const names = statSync(path, { throwIfNoEntry: false })?.nlink ?? 1
  if (names === 1) return
  throw new WindlassError(
    'FAILED',
    `${doing} ${path}: it has ${names} names (hard links), and the others would be left behind`,
    {
      hint: `find them with find / -xdev -samefile ${path}, and change the file by hand`,
    },
  )
}

/** Whole or not at all, and durable. What is there keeps its owner, permissions and extended attributes (ACLs and a SELinux label among them), and a link to it stays one. */
function write(path: string, content: string, mode: number): void {
  let fresh: string | undefined
  try {
    makePath(dirname(path), 0o755)
    const old = statSync(path, { throwIfNoEntry: false })
    const real = old === undefined ? path : realpathSync(path)
    fresh = `${real}.windlass-new`
    rmSync(fresh, { force: true })
    // By its descriptor: where the directory is somebody else's, the name may be that of another file by now.
    const file = openSync(fresh, 'wx', 0o600)
    try {
      writeFileSync(file, content)
      if (old !== undefined) fchownSync(file, old.uid, old.gid)
      fchmodSync(file, old === undefined ? mode : old.mode & 0o7777) // whatever the umask is
      if (old !== undefined) copyAttributes(real, file)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(fresh, real)
    const directory = openSync(dirname(real), 'r')
    fsyncSync(directory)
    closeSync(directory)
  } catch (error) {
    if (fresh !== undefined) rmSync(fresh, { force: true })
    throw wrapError(error, `Cannot write ${path}`)
  }
}

/** After owner and mode: a new owner takes capabilities away, and a new mode changes an ACL. What cannot be kept is an error. */
function copyAttributes(from: string, to: number): void {
  for (const name of listxattr(cPath(from))) {
    const value = getxattr(cPath(from), cPath(name, 'latin1'))
    if (value !== undefined) fsetxattr(to, cPath(name, 'latin1'), value)
  }
}

function rmdirIfEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {} // somebody has put something there, or made a link of it
}
