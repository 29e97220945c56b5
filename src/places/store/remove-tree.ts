import { randomBytes } from 'node:crypto'
import type { Dirent } from 'node:fs'
import { chmod, lstat, readdir, realpath, rename, rmdir, unlink } from 'node:fs/promises'
import { WindlassError } from '../../errors.ts'
import { isUnder, readMounts } from '../../sys/mounts.ts'

/** Names are unlinked this many at a time: enough for the threads of the pool, few enough to let others in between. */
const batchSize = 64

/** A directory whose path is longer is moved up first: the kernel takes no path of 4096 bytes, and a layer may nest deeper than that. */
const pathLengthMax = 2048

/**
 * Removes a file or a directory with everything in it. Names are bytes, since a layer may hold names that are not UTF-8; symlinks are removed, never
 * followed; a tree with a mount in it is refused, since what is mounted may be anybody's. The caller owns the path and its parent directory: nobody else writes there. A path that is not there is fine.
 * When the signal fires, what is left stays for another call.
 */
export async function removeTree(path: string, signal?: AbortSignal): Promise<void> {
  const top = Buffer.from(path)
  try {
    const isDirectory = (await lstat(top)).isDirectory()
    const mount = isDirectory ? await findMount(path) : undefined
    if (mount !== undefined)
      throw new WindlassError('FAILED', `Cannot remove ${path}: something is mounted on ${mount.target}`)
    if (isDirectory) await removeDirectory(top, top, signal)
    else await unlink(top)
  } catch (error) {
    ignoreAbsent(error)
  }
}

async function findMount(path: string): Promise<{ readonly target: string } | undefined> {
  const real = await realpath(path)
  return readMounts().find(({ target }) => isUnder(target, real))
}

async function removeDirectory(path: Buffer, top: Buffer, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  const entries = await readEntries(path)
  const directories = entries.filter(entry => entry.isDirectory())
  const others = entries.filter(entry => !entry.isDirectory())
  for (let at = 0; at < others.length; at += batchSize) {
    signal?.throwIfAborted()
    await Promise.all(others.slice(at, at + batchSize).map(entry => unlink(join(path, entry.name)).catch(ignoreAbsent)))
  }
  for (const entry of directories) await removeDirectory(await bringUp(join(path, entry.name), top), top, signal)
  await rmdir(path).catch(ignoreAbsent)
}

/** Without root, a directory that its image made unreadable must be opened first. */
async function readEntries(path: Buffer): Promise<Dirent<Buffer>[]> {
  if (process.getuid?.() !== 0) await chmod(path, 0o700)
  return readdir(path, { withFileTypes: true, encoding: 'buffer' })
}

async function bringUp(path: Buffer, top: Buffer): Promise<Buffer> {
  if (path.length <= pathLengthMax) return path
  const nearer = Buffer.concat([top, Buffer.from(`.${randomBytes(6).toString('hex')}`)])
  await rename(path, nearer)
  return nearer
}

function join(directory: Buffer, name: Buffer): Buffer {
  return Buffer.concat([directory, Buffer.from('/'), name])
}

function ignoreAbsent(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}
