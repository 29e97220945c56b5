/** Whether a path means the same to whoever listens on a socket as it does here: the process may have other mounts, or another root. */
import { readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { cPath, readListener, SystemError } from './libc.ts'

/** What the kernel follows in one path, path_resolution(7). */
const linksMax = 40

/** Who called listen(2) on a socket: it may have given it to another process since, as systemd does. */
export interface Listener {
  readonly pid: number
  readonly uid: number
}

/** The process that listens on a Unix socket; undefined if it is not to be found out, or not seen from this PID namespace. */
export function findListener(socket: string): Listener | undefined {
  try {
    const listener = readListener(cPath(socket))
    return listener.pid === 0 ? undefined : listener
  } catch (error) {
    if (error instanceof SystemError) return undefined
    throw error
  }
}

/** Undefined if nothing is known of the process: it is gone, or we may not look. */
export async function meansSameTo(pid: number, path: string): Promise<boolean | undefined> {
  const root = `/proc/${pid}/root`
  try {
    await readlink(root)
  } catch {
    return undefined
  }
  const [ours, theirs] = await Promise.all([readIdentity(path), resolveUnder(root, path).then(readIdentity)])
  return ours !== undefined && ours === theirs
}

async function readIdentity(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined)
  return found && `${found.dev}:${found.ino}`
}

/** Where a path leads for a process with that root: an absolute symlink begins there, not at our root. */
async function resolveUnder(root: string, path: string): Promise<string> {
  const rest = path.split('/')
  let done: string[] = []
  let links = 0
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === '' || name === '.') continue
    if (name === '..') {
      done.pop()
      continue
    }
    const target = links < linksMax ? await readlink(join(root, ...done, name)).catch(() => undefined) : undefined
    if (target === undefined) {
      done.push(name)
      continue
    }
    links++
    if (target.startsWith('/')) done = []
    rest.unshift(...target.split('/'))
  }
  return join(root, ...done)
}
