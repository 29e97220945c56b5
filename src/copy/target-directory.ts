import { type BigIntStats, constants, fstatSync } from 'node:fs'
import {
  chmod,
  chown,
  type FileHandle,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { WindlassError } from '../errors.ts'
import { adoptImplied } from '../layer/implied.ts'
import { quote } from '../oci/quote.ts'
import { removeTree } from '../places/store/remove-tree.ts'
import { type DirectoryLock, tryLockDirectory } from '../sys/directory-lock.ts'
import { FilesystemSync, syncDirectory } from '../sys/disk.ts'
import { AT_FDCWD, cPath, fchmod, fchown, lutimensat, writeTimespec } from '../sys/libc.ts'

const buildingPrefix = '.windlass-'
/** Stands beside what is built, and holds the inode number of their directory: an image cannot know it, so that nothing else is taken for one. */
const markName = 'windlass'
const treeName = 'tree'

/** mkfs makes it in the root of every ext4. */
const lostAndFound = 'lost+found'

/**
 * A directory that is being made. A new one is built beside its place and moved there. One that exists is built inside, so on its own filesystem, and
 * what was built is moved up: it stays the directory that it is, which may be a mount point or where a shell stands. What others were building there when they
 * died is removed.
 *
 * The place may be another user's, who may put symlinks where a name was a moment ago: so directories are held open, and all is done through
 * their descriptors. What is built stands in a directory that nobody else may enter.
 */
export class TargetDirectory {
  /** An empty directory of root's with mode 0755: what is to become the content of the target. */
  readonly building: string
  readonly #workshop: Workshop
  readonly #newName: string | undefined
  readonly #doing: string

  private constructor(workshop: Workshop, options: { newName?: string; doing: string }) {
    this.building = join(workshop.lock.here, treeName)
    this.#workshop = workshop
    this.#newName = options.newName
    this.#doing = options.doing
  }

  /**
   * @param directory absolute; symlinks are followed
   * @param doing the first half of messages
   * @throws WindlassError FAILED if it is neither new nor empty; errors of the filesystem as they come
   */
  static async open(directory: string, doing: string): Promise<TargetDirectory> {
    const existing = await findExisting(directory, doing)
    if (existing !== undefined) return await TargetDirectory.#within(await holdDirectory(existing), { doing })
    await mkdir(dirname(directory), { recursive: true })
    const parent = await holdDirectory(await realpath(dirname(directory)))
    return await TargetDirectory.#within(parent, { doing, newName: basename(directory) })
  }

  static async #within(around: Held, options: { newName?: string; doing: string }): Promise<TargetDirectory> {
    try {
      await sweepDead(around)
      if (options.newName === undefined) await checkEmpty(around.here, options.doing)
      return new TargetDirectory(await openWorkshop(around), options)
    } catch (error) {
      await around.handle.close()
      throw error
    }
  }

  /**
   * Brings what was built to the disk and to its place. If that fails, the target is as it was before, and `building` as it is; only a crash
   * can leave a part of the names in an existing directory.
   * @param adopts whether an existing directory gets owner, mode, times and attributes of `building`
   */
  async commit(adopts: boolean): Promise<void> {
    const { around, name } = this.#workshop
    await syncFilesystem(this.building)
    if (this.#newName !== undefined) {
      await rename(this.building, join(around.here, this.#newName))
      await closeWorkshop(this.#workshop)
      await syncDirectory(around.here)
    } else {
      await checkEmpty(around.here, this.#doing, name)
      await this.#moveUp(adopts)
      await syncDirectory(around.here)
    }
    await this.#release()
  }

  /** Removes what was built. */
  async discard(): Promise<void> {
    try {
      await closeWorkshop(this.#workshop)
    } finally {
      await this.#release()
    }
  }

  async #moveUp(adopts: boolean): Promise<void> {
    const { around } = this.#workshop
    const before = await around.handle.stat()
    const facts = await lstat(this.building, { bigint: true })
    try {
      if (adopts) await adoptImplied(around.here, [this.building], ['.'])
      await moveNames(this.building, around.here)
    } catch (error) {
      await around.handle.chown(before.uid, before.gid)
      await around.handle.chmod(before.mode & 0o7777)
      throw error
    }
    await closeWorkshop(this.#workshop)
    // Last of all: each name that came and went has changed them.
    if (adopts) setTimes(`${around.here}/.`, facts)
  }

  async #release(): Promise<void> {
    this.#workshop.lock[Symbol.dispose]()
    await this.#workshop.around.handle.close()
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

/** A directory held open. */
interface Held {
  readonly handle: FileHandle
  /** A path to this very directory, whatever takes its name meanwhile. */
  readonly here: string
}

/** @param path real: what became a symlink meanwhile is not followed */
async function holdDirectory(path: string): Promise<Held> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  return { handle, here: `/proc/self/fd/${handle.fd}` }
}

/** Where something is built: a directory that nobody else may enter. */
interface Workshop {
  readonly around: Held
  readonly name: string
  readonly lock: DirectoryLock
}

async function openWorkshop(around: Held): Promise<Workshop> {
  const path = await mkdtemp(join(around.here, buildingPrefix))
  const lock = tryLockDirectory(path)
  // Between the two it looked dead to a sweep.
  if (lock === undefined) return await openWorkshop(around)
  if (!isOwn(lock.fd) || (await readdir(lock.here)).length > 0) {
    lock[Symbol.dispose]()
    throw new Error('somebody has put another directory in the place of the one that is built in')
  }
  const workshop = { around, name: basename(path), lock }
  try {
    await furnish(lock)
    return workshop
  } catch (error) {
    await closeWorkshop(workshop).catch(() => {})
    lock[Symbol.dispose]()
    throw error
  }
}

/** The directory around it may hand down its group or a default ACL's mode. */
async function furnish(lock: DirectoryLock): Promise<void> {
  fchown(lock.fd, 0, 0)
  fchmod(lock.fd, 0o700)
  await writeFile(join(lock.here, markName), markOf(lock.fd), { flag: 'wx', mode: 0o600 })
  const tree = join(lock.here, treeName)
  await mkdir(tree)
  await chown(tree, 0, 0)
  await chmod(tree, 0o755)
}

function isOwn(fd: number): boolean {
  return fstatSync(fd).uid === process.geteuid?.()
}

function markOf(fd: number): string {
  return `${fstatSync(fd, { bigint: true }).ino}\n`
}

/** Removes what nobody is building any more. What cannot be looked at or removed stays, and does no harm to what is made now. */
async function sweepDead(around: Held): Promise<void> {
  for (const name of await readdir(around.here)) {
    if (/^\.windlass-[A-Za-z0-9]{6}$/.test(name)) await sweep(around, name).catch(() => {})
  }
}

async function sweep(around: Held, name: string): Promise<void> {
  const path = join(around.here, name)
  // Others' are not even opened: that may be forbidden.
  if ((await lstat(path)).uid !== process.geteuid?.()) return
  using lock = tryLockDirectory(path)
  if (lock !== undefined && isOwn(lock.fd) && (await isMarked(lock))) await closeWorkshop({ around, name, lock })
}

/**
 * Who may rename things there could give that name to any directory of ours, and, where he may write, put a mark of his or a link to
 * a file of ours in it. One that died before it had its mark is empty.
 */
async function isMarked(lock: DirectoryLock): Promise<boolean> {
  const names = await readdir(lock.here)
  if (!names.includes(markName)) return names.length === 0
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  await using mark = await open(join(lock.here, markName), flags)
  const facts = await mark.stat()
  if (!facts.isFile() || facts.nlink !== 1 || !isOwn(mark.fd)) return false
  return (await mark.readFile('latin1')) === markOf(lock.fd)
}

/** Removes it with all it holds, the mark last: one who dies meanwhile leaves what is swept. */
async function closeWorkshop({ around, name, lock }: Workshop): Promise<void> {
  fchmod(lock.fd, 0o700)
  for (const held of await readdir(lock.here)) if (held !== markName) await removeTree(join(lock.here, held))
  await rm(join(lock.here, markName), { force: true })
  await rmdir(join(around.here, name)).catch(ignoreExchanged)
}

/** Somebody else has put something in its place, or moved it: then it is his, and it is empty. */
function ignoreExchanged(error: NodeJS.ErrnoException): void {
  if (!/^(ENOENT|ENOTDIR|ENOTEMPTY)$/.test(error.code ?? '')) throw error
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
