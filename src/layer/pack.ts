import {
  type BigIntStats,
  closeSync,
  constants as fsConstants,
  fstatSync,
  lstatSync,
  openSync,
  read,
  readlinkSync,
  readSync,
  realpathSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import { WindlassError, wrapError } from '../errors.ts'
import { O, readlinkat } from '../sys/libc.ts'
import { type TarHeaderFields, tarEnd, tarHeader, tarPadding } from '../tar/writer.ts'
import { deviceNumbers, entryType, readXattrs, sortedNames } from './file-facts.ts'

/**
 * One directory or file to pack, and where it stands in the layer: `to` is relative to the root, '' for the root
 * itself.
 */
export interface PackRoot {
  readonly from: string
  readonly to: string
}

export interface PackOptions {
  readonly signal: AbortSignal
  /** Asked with the name in the layer (one character per byte); false leaves the entry and all below it out. */
  readonly filter?: ((name: string) => boolean) | undefined
  /** Seconds since the epoch: later times are set to it (reproducible-builds.org, SOURCE_DATE_EPOCH). */
  readonly sourceDateEpoch?: number | undefined
}

/** Bytes per chunk of output, and per read of a large file. */
const chunkSize = 1024 * 1024
/** Up to here a file is read at once and synchronously: a trip through the pool costs more than the read. */
const smallFileSize = 64 * 1024
const slash = Buffer.from('/')

/**
 * A reproducible tar of a directory, or of several put together: the same tree gives the same bytes. Entries are
 * sorted by bytes, directories before what is in them; parents of `to` that nobody packs are made (0755, root, time
 * 0). Hard links, devices, FIFOs, xattrs, owners and times to the nanosecond are kept; sockets are left out. Names
 * need not be UTF-8.
 *
 * The root directory itself has no entry. xattrs of this host's security modules and of its overlay mounts stay here.
 * Chunks are up to 1 MiB and belong to the caller.
 * @throws WindlassError FAILED if a file changes its size while it is read, or something else takes the place of what is read, UNSUPPORTED for a name that a layer would
 * take for a whiteout, PERMISSION, CANCELLED
 */
export async function* packDirectory(
  roots: string | readonly PackRoot[],
  options: PackOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const packing = new Packing(options)
  for (const { from, to } of typeof roots === 'string' ? [{ from: roots, to: '' }] : roots) {
    const name = Buffer.from(to.replace(/^\/+|\/+$/g, ''))
    yield* packing.parents(name)
    yield* packing.path(realPath(from), name)
  }
  yield* packing.append(tarEnd)
  yield* packing.rest()
}

/** The state of one archive: what is packed already, and the chunk that is being filled. */
class Packing {
  readonly #options: PackOptions
  /** First name of each inode that has several. */
  readonly #linked = new Map<string, Buffer>()
  readonly #directories = new Set<string>()
  #chunk = Buffer.allocUnsafeSlow(chunkSize)
  #filled = 0

  constructor(options: PackOptions) {
    this.#options = options
  }

  *parents(name: Buffer): Generator<Uint8Array> {
    for (let at = name.indexOf(slash); at > 0; at = name.indexOf(slash, at + 1)) {
      const parent = name.subarray(0, at)
      if (this.#directories.has(parent.toString('latin1'))) continue
      this.#directories.add(parent.toString('latin1'))
      yield* this.append(
        tarHeader({ name: parent, type: 'directory', mode: 0o755, uid: 0, gid: 0, size: 0, mtimeNs: 0n }),
      )
    }
  }

  /** Packs what stands at `path` under `name`, with all that is below. */
  async *path(path: Buffer, name: Buffer): AsyncGenerator<Uint8Array> {
    const stack: { path: Buffer; name: Buffer }[] = [{ path, name }]
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (this.#options.signal.aborted) throw cancelled(this.#options.signal)
      const children = yield* this.#entry(next.path, next.name)
      stack.push(...children)
    }
  }

  *append(bytes: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; ) {
      const length = Math.min(bytes.length - at, chunkSize - this.#filled)
      this.#chunk.set(bytes.subarray(at, at + length), this.#filled)
      at += length
      yield* this.#advance(length)
    }
  }

  *rest(): Generator<Uint8Array> {
    if (this.#filled > 0) yield this.#chunk.subarray(0, this.#filled)
    this.#filled = 0
  }

  *#advance(length: number): Generator<Uint8Array> {
    this.#filled += length
    if (this.#filled < chunkSize) return
    yield this.#chunk
    this.#chunk = Buffer.allocUnsafeSlow(chunkSize)
    this.#filled = 0
  }

  /** @returns the children of a directory, in the order in which a stack gives them back sorted */
  async *#entry(path: Buffer, name: Buffer): AsyncGenerator<Uint8Array, { path: Buffer; name: Buffer }[]> {
    const doing = `Cannot pack ${JSON.stringify(path.toString())}`
    try {
      using place = openPlace(path)
      const stat = fstatSync(place.fd, { bigint: true })
      if (stat.isSocket() || !this.#isWanted(name)) return []
      if (stat.isDirectory()) {
        if (this.#isNewDirectory(name)) yield* this.append(tarHeader(this.#fields(place, name, stat)))
        return childrenOf(place, name)
      }
      const fields = this.#fields(place, name, stat)
      if (fields.type === 'file') yield* this.#file(place, fields)
      else yield* this.append(tarHeader(fields))
      return []
    } catch (error) {
      throw wrapError(error, doing)
    }
  }

  #isWanted(name: Buffer): boolean {
    if (name.subarray(name.lastIndexOf(slash) + 1).indexOf('.wh.') === 0) {
      const doing = `Cannot pack ${JSON.stringify(name.toString())}`
      throw new WindlassError('UNSUPPORTED', `${doing}: a layer takes it for a whiteout; wanted a name without .wh.`)
    }
    return name.length === 0 || (this.#options.filter?.(name.toString('latin1')) ?? true)
  }

  #isNewDirectory(name: Buffer): boolean {
    const key = name.toString('latin1')
    if (name.length === 0 || this.#directories.has(key)) return false
    this.#directories.add(key)
    return true
  }

  #fields({ fd, here }: Place, name: Buffer, stat: BigIntStats): TarHeaderFields {
    const first = this.#firstLink(name, stat)
    const type = first === undefined ? entryType(stat) : 'hardlink'
    const target = first ?? (type === 'symlink' ? Buffer.from(readlinkat(fd), 'latin1') : undefined)
    const xattrs = first === undefined ? readXattrs(here) : []
    return {
      name,
      type,
      mode: Number(stat.mode & 0o7777n),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      size: type === 'file' ? Number(stat.size) : 0,
      mtimeNs: this.#clamp(stat.mtimeNs),
      ...(target === undefined ? {} : { linkName: target }),
      ...(type === 'character' || type === 'block' ? { device: deviceNumbers(stat.rdev) } : {}),
      xattrs,
    }
  }

  #firstLink(name: Buffer, stat: BigIntStats): Buffer | undefined {
    if (stat.nlink < 2n || stat.isDirectory()) return undefined
    const key = `${stat.dev}:${stat.ino}`
    const first = this.#linked.get(key)
    if (first === undefined) this.#linked.set(key, name)
    return first
  }

  #clamp(nanoseconds: bigint): bigint {
    const { sourceDateEpoch } = this.#options
    if (sourceDateEpoch === undefined) return nanoseconds
    const latest = BigInt(sourceDateEpoch) * 1_000_000_000n
    return nanoseconds < latest ? nanoseconds : latest
  }

  async *#file({ path, here }: Place, fields: TarHeaderFields): AsyncGenerator<Uint8Array> {
    const fd = openSync(here, fsConstants.O_RDONLY)
    try {
      checkUnchanged(fd, path, fields.size)
      yield* this.append(tarHeader(fields))
      for (let left = fields.size; left > 0; ) {
        const room = this.#chunk.subarray(this.#filled, Math.min(chunkSize, this.#filled + left))
        const length = fields.size <= smallFileSize ? readSync(fd, room) : await readAsync(fd, room)
        if (length === 0) throw changedError(path, fields.size, fields.size - left)
        if (this.#options.signal.aborted) throw cancelled(this.#options.signal)
        left -= length
        yield* this.#advance(length)
      }
      checkUnchanged(fd, path, fields.size)
      yield* this.append(tarPadding(fields.size))
    } finally {
      closeSync(fd)
    }
  }
}

/** In the order in which a stack gives them back sorted. */
function childrenOf({ path, here }: Place, name: Buffer): { path: Buffer; name: Buffer }[] {
  return sortedNames(Buffer.from(here))
    .reverse()
    .map(child => ({
      path: pathBelow(path, child),
      name: name.length === 0 ? child : Buffer.concat([name, slash, child]),
    }))
}

/** As the kernel writes it: the root's own slash is the only one. */
function pathBelow(parent: Buffer, child: Buffer): Buffer {
  return Buffer.concat(parent.equals(slash) ? [slash, child] : [parent, slash, child])
}

/** A symlink that is packed stays one; those above it are the user's way to it. */
function realPath(path: string): Buffer {
  try {
    if (!lstatSync(path).isSymbolicLink()) return realpathSync.native(path, { encoding: 'buffer' })
    const parent = realpathSync.native(dirname(path), { encoding: 'buffer' })
    return pathBelow(parent, Buffer.from(basename(path)))
  } catch (error) {
    throw wrapError(error, `Cannot pack ${JSON.stringify(path)}`)
  }
}

/** One file, held: all that is packed of it is its own, whatever takes its name meanwhile. */
interface Place extends Disposable {
  /** Of O_PATH: nothing is read by it, and no FIFO or device is opened. */
  readonly fd: number
  readonly path: Buffer
  /** A path to this very file, through the descriptor. */
  readonly here: string
}

function openPlace(path: Buffer): Place {
  const fd = openSync(path, O.PATH | O.NOFOLLOW)
  try {
    checkPlace(fd, path)
    return { fd, path, here: `/proc/self/fd/${fd}`, [Symbol.dispose]: () => closeSync(fd) }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** Who may write into the directory could put a symlink to anywhere in the place of one of its directories, and have what is there packed (CVE-2018-15664). */
function checkPlace(fd: number, path: Buffer): void {
  const place = readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' })
  if (place.equals(path)) return
  const doing = `Cannot pack ${JSON.stringify(path.toString())}`
  const state = `another file took its place meanwhile: ${JSON.stringify(place.toString())}`
  throw new WindlassError('FAILED', `${doing}: ${state}; wanted a quiet directory`)
}

function readAsync(fd: number, room: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, room, 0, room.length, null, (error, length) => (error ? reject(error) : resolve(length)))
  })
}

function checkUnchanged(fd: number, path: Buffer, size: number): void {
  const stat = fstatSync(fd)
  if (!stat.isFile() || stat.size !== size) throw changedError(path, size, stat.size)
}

function changedError(path: Buffer, size: number, now: number): WindlassError {
  const doing = `Cannot pack ${JSON.stringify(path.toString())}`
  return new WindlassError('FAILED', `${doing}: it went from ${size} to ${now} bytes meanwhile; wanted a quiet file`)
}

function cancelled(signal: AbortSignal): WindlassError {
  if (signal.reason instanceof WindlassError) return signal.reason
  return new WindlassError('CANCELLED', 'Cannot pack the layer: cancelled', { cause: signal.reason })
}
