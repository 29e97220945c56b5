import type { BigIntStats } from 'node:fs'
import { chmod, chown, lstat, mkdir, mkdtemp, readdir, realpath, rename, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { WindlassError } from '../errors.ts'
import { adoptImplied } from '../layer/implied.ts'
import { quote } from '../oci/quote.ts'
import { removeTree } from '../places/store/remove-tree.ts'
import { type DirectoryLock, tryLockDirectory } from '../sys/directory-lock.ts'
import { FilesystemSync, syncDirectory } from '../sys/disk.ts'
import { AT_FDCWD, cPath, lutimensat, writeTimespec } from '../sys/libc.ts'

const buildingPrefix = '.windlass-'

/** mkfs makes it in the root of every ext4. */
const lostAndFound = 'lost+found'

/**
 * A directory that is being made. A new one is built beside its place and renamed. One that exists is built inside, so on its own filesystem, and
 * what was built is moved up: it stays the directory that it is, which may be a mount point or where a shell stands. What others were building there when they
 * died is removed.
 */
export class TargetDirectory {
  /** An empty directory of root's with mode 0755: what is to become the content of the target. */
  readonly building: string
  readonly #place: string
  readonly #isNew: boolean
  readonly #doing: string
  readonly #lock: DirectoryLock

  private constructor({ building, lock }: Building, place: string, options: { isNew: boolean; doing: string }) {
    this.building = building
    this.#lock = lock
    this.#place = place
    this.#isNew = options.isNew
    this.#doing = options.doing
  }

  /**
   * @param directory absolute; symlinks are followed
   * @param doing the first half of messages
   * @throws WindlassError FAILED if it is neither new nor empty; errors of the filesystem as they come
   */
  static async open(directory: string, doing: string): Promise<TargetDirectory> {
    const existing = await findExisting(directory, doing)
    if (existing !== undefined) {
      await sweepDead(existing)
      await checkEmpty(existing, doing)
      return new TargetDirectory(await makeBuilding(existing), existing, { isNew: false, doing })
    }
    await mkdir(dirname(directory), { recursive: true })
    const parent = await realpath(dirname(directory))
    const place = join(parent, basename(directory))
    await sweepDead(parent)
    return new TargetDirectory(await makeBuilding(parent), place, { isNew: true, doing })
  }

  /**
   * Brings what was built to the disk and to its place. If that fails, the target is as it was before, and `building` as it is; only a crash
   * can leave a part of the names in an existing directory.
   * @param adopts whether an existing directory gets owner, mode, times and attributes of `building`
   */
  async commit(adopts: boolean): Promise<void> {
    await syncFilesystem(this.building)
    if (this.#isNew) {
      await rename(this.building, this.#place)
      await syncDirectory(dirname(this.#place))
    } else {
      await checkEmpty(this.#place, this.#doing, basename(this.building))
      await this.#moveUp(adopts)
      await syncDirectory(this.#place)
    }
    this.#lock[Symbol.dispose]()
  }

  /** Removes what was built. */
  async discard(): Promise<void> {
    await removeBuilding(this.building)
    this.#lock[Symbol.dispose]()
  }

  async #moveUp(adopts: boolean): Promise<void> {
    const before = await lstat(this.#place)
    const facts = await lstat(this.building, { bigint: true })
    try {
      if (adopts) await adoptImplied(this.#place, [this.building], ['.'])
      await moveNames(this.building, this.#place)
    } catch (error) {
      await chown(this.#place, before.uid, before.gid)
      await chmod(this.#place, before.mode & 0o7777)
      throw error
    }
    await rmdir(this.building)
    // Last of all: each name that came and went has changed them.
    if (adopts) setTimes(this.#place, facts)
  }
}

/** The real path of what is there, if it is a directory; undefined if nothing is. */
async function findExisting(directory: string, doing: string): Promise<string | undefined> {
  const path = await realpath(directory).catch(ignoreAbsent)
  if (path !== undefined && (await stat(path)).isDirectory()) return path
  if (path === undefined && (await lstat(directory).catch(ignoreAbsent)) === undefined) return undefined
  const state = path === undefined ? 'it is a symlink to nothing' : 'it is no directory'
  throw new WindlassError('FAILED', `${doing}: ${state}; wanted a new or empty directory`)
}

function ignoreAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

/** An empty `lost+found` may be there: the image's own takes its place. */
async function checkEmpty(directory: string, doing: string, except?: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name === except || (name === lostAndFound && (await isEmptyDirectory(join(directory, name))))) continue
    const state = `it is not empty: it has ${quote(name)}`
    throw new WindlassError('FAILED', `${doing}: ${state}; wanted a new or empty directory`)
  }
}

async function isEmptyDirectory(path: string): Promise<boolean> {
  return (await lstat(path)).isDirectory() && (await readdir(path)).length === 0
}

interface Building {
  readonly building: string
  readonly lock: DirectoryLock
}

/** The parent may hand down its group or a default ACL's mode. */
async function makeBuilding(parent: string): Promise<Building> {
  const building = await mkdtemp(join(parent, buildingPrefix))
  const lock = tryLockDirectory(building)
  // Between the two it looked dead to a sweep.
  if (lock === undefined) return await makeBuilding(parent)
  await chown(building, 0, 0)
  await chmod(building, 0o755)
  return { building, lock }
}

/** Removes what nobody is building any more. What cannot be removed stays, and does no harm to what is made now. */
async function sweepDead(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const path = join(parent, name)
    if (!/^\.windlass-[A-Za-z0-9]{6}$/.test(name) || (await lstat(path).catch(ignoreAbsent))?.uid !== 0) continue
    using lock = tryLockDirectory(path)
    if (lock !== undefined) await removeBuilding(path).catch(() => {})
  }
}

/** Nobody else may enter it any more: users of this host may own parts of it, and would put others in the way. */
async function removeBuilding(building: string): Promise<void> {
  await chmod(building, 0o700).catch(ignoreAbsent)
  await removeTree(building)
}

async function syncFilesystem(directory: string): Promise<void> {
  using disk = new FilesystemSync(directory)
  await disk.sync()
}

/** Moves everything from one directory to another of the same filesystem, or nothing. Names are bytes: an image may have any. */
async function moveNames(from: string, to: string): Promise<void> {
  const moved: Buffer[] = []
  try {
    for (const name of await readdir(from, { encoding: 'buffer' })) {
      await rename(joinBytes(from, name), joinBytes(to, name))
      moved.push(name)
    }
  } catch (error) {
    for (const name of moved) await rename(joinBytes(to, name), joinBytes(from, name))
    throw error
  }
}

function joinBytes(directory: string, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), name])
}

function setTimes(path: string, { atimeNs, mtimeNs }: BigIntStats): void {
  const times = Buffer.alloc(32)
  for (const [at, timeNs] of [atimeNs, mtimeNs].entries()) {
    const nanoseconds = ((timeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
    writeTimespec(times, at * 16, Number((timeNs - nanoseconds) / 1_000_000_000n), Number(nanoseconds))
  }
  lutimensat(AT_FDCWD, cPath(path), times)
}
