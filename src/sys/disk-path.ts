/**
 * Paths on disks that strangers may have made. A path below `/proc/PID/root` is a path in the root of that process, and so are the symlinks in it: for the kernel an
 * absolute one would lead on from our own root, to files that are for us alone. So it is walked here, by descriptors, as RESOLVE_IN_ROOT of openat2(2) does since Linux 5.6.
 */
import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, readlink } from 'node:fs/promises'
import { pathOnly } from './open-foreign-pipe.ts'

/** As many as the kernel follows. */
const linksMax = 40

export interface WalkOptions {
  /** Refuses symlinks: for paths as the kernel tells them, which have none. */
  readonly isPlain?: boolean
}

/** Calls `use` with a name of what the path leads to, which stays the same however the path is changed meanwhile. @throws what open(2) says, and ELOOP for a symlink in a plain path */
export async function withPlace<T>(
  path: string,
  { isPlain = false }: WalkOptions,
  use: (place: string) => Promise<T>,
): Promise<T> {
  const [root = ''] = /^\/proc\/\d+\/root(?=\/|$)/.exec(path) ?? []
  if (root === '' && !isPlain) return await use(path)
  const walked = [await open(`${root}/`, pathOnly)]
  try {
    await walk(walked, path.slice(root.length), isPlain)
    return await use(nameOf(walked))
  } finally {
    await Promise.all(walked.map(handle => handle.close()))
  }
}

/** @param walked the descriptors from the root on; what is passed by `..` goes */
async function walk(walked: FileHandle[], path: string, isPlain: boolean): Promise<void> {
  const rest = path.split('/')
  for (let links = 0; rest.length > 0; ) {
    const name = rest.shift() ?? ''
    if (name === '' || name === '.') continue
    if (name === '..') {
      if (walked.length > 1) await walked.pop()?.close()
      continue
    }
    const at = `${nameOf(walked)}/${name}`
    const next = await open(at, pathOnly | constants.O_NOFOLLOW)
    walked.push(next)
    if (!(await next.stat()).isSymbolicLink()) continue
    await walked.pop()?.close()
    links += 1
    if (isPlain || links > linksMax) throw failure('ELOOP', path)
    const target = await readlink(at)
    if (target.startsWith('/')) for (const passed of walked.splice(1)) await passed.close()
    rest.unshift(...target.split('/'))
  }
}

function nameOf(walked: readonly FileHandle[]): string {
  return `/proc/self/fd/${walked.at(-1)?.fd}`
}

/** A file whose name anybody may have given to a FIFO or a device, opened for reading if it is a file. @throws ENOTSUP for anything else, and what open(2) says */
export async function openFile(place: string): Promise<FileHandle & { readonly facts: Stats }> {
  await using found = await open(place, pathOnly)
  const facts = await found.stat()
  if (!facts.isFile()) throw failure('ENOTSUP', place)
  const file = await open(`/proc/self/fd/${found.fd}`, constants.O_RDONLY | constants.O_NONBLOCK)
  return Object.assign(file, { facts })
}

function failure(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}
