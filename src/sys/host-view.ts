/** What can be seen of a host. All that the doctor knows comes through here, so that it can be recorded, and read on another host. */
import { createHash } from 'node:crypto'
import { closeSync, constants, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { open, readdir, realpath, stat, statfs } from 'node:fs/promises'
import { type Connected, tryConnection } from './connect.ts'
import { hasDTypeAsync, measureSync } from './disk.ts'
import { openFile, type WalkOptions, withPlace } from './disk-path.ts'
import { type DiskSlots, ownDiskSlots } from './disk-slots.ts'
import { afterFreeTime, settlesInFreeTime } from './free-time.ts'
import { bytesInPipe, pipeSize } from './libc.ts'
import { AnswerRoom, askSocket, type SocketAnswer } from './local-http.ts'
import { isLocked, lockedFiles, type Question } from './locked-files.ts'
import { findMountOf, isUnder, type MountPoint, parseMountInfo } from './mounts.ts'
import { type Lookup, lookUp } from './name-servers.ts'
import { pathOnly } from './open-foreign-pipe.ts'
import { findStranger, type Stranger } from './own-path.ts'
import { findListener, type Listener } from './socket-peer.ts'
import type { ProcView } from './tasks.ts'
import { runTool } from './tool.ts'

export interface FileFacts {
  readonly size: number
  readonly mtimeMs: number
  /** Type and permissions, as stat(2) gives them. */
  readonly mode: number
  /** When it came to be what and where it is; a package's installation cannot set it back, as it does with `mtimeMs`. */
  readonly ctimeMs?: number
  readonly inode?: number
  /** Whose it is. Absent in a record. */
  readonly uid?: number
}

/** What statfs(2) tells; 0 inodes in all where the filesystem does not count them. */
export interface FilesystemFacts {
  readonly bytesTotal: number
  readonly bytesFree: number
  readonly inodesTotal: number
  readonly inodesFree: number
  /** The filesystem's magic number, statfs(2). */
  readonly magic?: number
}

/** Bytes that wait in a pipe, and how many it takes. */
export interface PipeFill {
  readonly bytes: number
  readonly size: number
}

/**
 * Nothing here throws, and nothing changes the host: what cannot be seen is undefined. `text`, `link`, `names` and `pipeFill` are for /proc, /sys and
 * /dev alone, which answer at once, or are given up (`locked-files.ts`); what lies on a disk may be frozen, or gated by an agent that does not answer, and is asked in `disk`.
 */
export interface HostView extends ProcView {
  /** Milliseconds since 1970, and since some moment. */
  now(): number
  elapsed(): number
  link(path: string): string | undefined
  /** Where each of many leads: at once where that costs less. */
  links?(paths: readonly string[]): (string | undefined)[]
  /** The pipe behind a descriptor in /proc. */
  pipeFill(path: string): PipeFill | undefined
  readonly disk: DiskView
  /** Absent where this is not the host itself. */
  readonly network?: NetworkView
  /** Runs a program that only tells something, for a few seconds at most. @returns its stdout, if it succeeded, or whatever it said */
  tell(file: string, args: readonly string[], wanted?: 'whatever'): Promise<string | undefined>
  /** Asks an HTTP server on a socket of this host, if it is the one that is meant. */
  ask(socket: string, path: string, meant?: MeantSocket): Promise<SocketAnswer | undefined>
  /** A socket of this host, if it is the one that is meant, held: whoever may change its path cannot change where that name leads. Absent in a record. */
  holdSocket?(socket: string, meant: MeantSocket): Promise<HeldSocket | undefined>
  /** Before another look, much later: what did not answer may do so now, and other disks be mounted. Absent in a record. */
  forget?(): void
  /** Waits; a record goes on to what was seen so much later instead. @returns false if nothing more was */
  pause(ms: number, signal: AbortSignal): Promise<boolean>
  /** Whether that server was asked at all: it may not be the one that was meant. */
  wasAsked(socket: string, path: string): boolean
  /** Who looks. */
  readonly uid?: number | undefined
  /** A record of the engine with this process alone: it tells nothing of others. */
  readonly only?: number | undefined
  /** Paths that are there and may not be read. */
  readonly denied: ReadonlySet<string>
  readonly silent: ReadonlySet<string>
}

/** Which socket is meant: the path alone may lead anywhere. */
export interface MeantSocket {
  /** Whose it must be, where a process told of it that may be anybody's: links lead to those of others. */
  readonly owner?: number | undefined
  /** Whether this is who should answer there. Without, anybody may. */
  isListener?(listener: Listener): boolean
}

export interface HeldSocket extends AsyncDisposable {
  readonly place: string
  /** Its file is root's or that of who looks. */
  readonly isOwn: boolean
}

/**
 * What lies on disks: each question waits some seconds at most. A path below `/proc/PID/root` is one in the root of that process, whatever symlinks are in it, and only
 * what is a file is opened for what is in it: anybody may have made it.
 */
interface DiskView {
  text(path: string, options?: WalkOptions): Promise<string | undefined>
  names(path: string): Promise<readonly string[]>
  file(path: string): Promise<FileFacts | undefined>
  filesystem(path: string): Promise<FilesystemFacts | undefined>
  /** Paths that did not answer in time, when they were asked last. */
  readonly silent: ReadonlySet<string>
  /** Paths that were not asked, since others on the same disk, of the same process, or too many, have not answered yet. Absent in a record. */
  readonly unasked?: ReadonlySet<string>
  /** Whether the entries of a directory tell their type (d_type). Absent where that cannot be asked from here, as is the next. */
  hasTypes?(path: string): Promise<boolean | undefined>
  /** Whether two paths lead to the same file. Absent in a record. */
  isOne?(path: string, other: string): Promise<boolean | undefined>
  /** Who else than root and who looks may have put there what stands at a path, or may replace it. Undefined if that is not known. Absent in a record. */
  strangerAt?(path: string): Promise<Stranger | 'nobody' | undefined>
  /** The file itself, behind all links. */
  realPath?(path: string): Promise<string | undefined>
  /** The sha256 of a file of up to a gigabyte, as `sha256:…`, if it can be read in a second or two. */
  digest?(path: string): Promise<string | undefined>
  /** Milliseconds until a small file is on the disk. The one thing that writes: a file without a name, gone with its descriptor. */
  measureSync?(path: string): Promise<number | undefined>
}

/** What can be tried of the network from this host; only here and now. */
interface NetworkView {
  /** Asks one name server for the addresses of a name. */
  lookUp(name: string, server: string, signal: AbortSignal): Promise<Lookup>
  /** Makes a connection, and closes it. */
  connect(address: string, port: number, timeoutMs: number, signal: AbortSignal): Promise<Connected>
}

/** A file of /proc is a page or two; maps and tables of a busy daemon are larger. */
const textMax = 4 * 1024 * 1024
const answerMs = 3000
const deniedMax = 10_000

/** This host, now. */
export class LiveHost implements HostView {
  readonly arch = process.arch
  readonly denied = new Set<string>()
  readonly disk: LiveDisk
  readonly #asked = new Set<string>()
  /** Anybody may call many processes like engines: theirs share one, of 4 MiB. */
  readonly #strangersRoom = new AnswerRoom(4 * 1024 * 1024)
  readonly network: NetworkView = { lookUp, connect: tryConnection }

  /** @param digestMs what hashing one file may take */
  constructor(slots: DiskSlots = ownDiskSlots(), digestMs = 2000) {
    this.disk = new LiveDisk(slots, digestMs)
  }

  get silent(): ReadonlySet<string> {
    return lockedFiles.silent
  }

  now(): number {
    return Date.now()
  }

  elapsed(): number {
    return performance.now()
  }

  text(path: string): string | undefined {
    return isLocked(path) ? this.#ask(['text', path]) : this.#try(path, () => readHead(path))
  }

  texts(paths: readonly string[]): (string | undefined)[] {
    return this.#askAll(paths.map(path => ['text', path]))
  }

  link(path: string): string | undefined {
    return isLocked(path) ? this.#ask(['link', path]) : this.#try(path, () => readlinkSync(path))
  }

  links(paths: readonly string[]): (string | undefined)[] {
    return this.#askAll(paths.map(path => ['link', path]))
  }

  names(path: string): readonly string[] {
    if (!isLocked(path)) return this.#try(path, () => readdirSync(path)) ?? []
    return this.#ask(['names', path])?.split('\n').filter(Boolean) ?? []
  }

  /** Opened for reading only, for microseconds: one more writer would hide the end of the stream from its reader. */
  pipeFill(path: string): PipeFill | undefined {
    const opened = this.#ask(['open', path])
    if (opened === undefined) return undefined
    const fd = Number(opened)
    return this.#try(path, () => {
      try {
        return { bytes: bytesInPipe(fd), size: pipeSize(fd) }
      } finally {
        closeSync(fd)
      }
    })
  }

  async tell(file: string, args: readonly string[], wanted?: 'whatever'): Promise<string | undefined> {
    const isWhatever = wanted === 'whatever'
    const { status, stdout } = (await runTool(file, args, { timeoutMs: answerMs, withStderr: isWhatever })) ?? {}
    return status === 0 || isWhatever ? stdout : undefined
  }

  async ask(socket: string, path: string, meant: MeantSocket = {}): Promise<SocketAnswer | undefined> {
    await using held = await this.holdSocket(socket, meant)
    const isStranger = meant.owner !== undefined
    return held && (await askSocket(held.place, path, answerMs, isStranger ? this.#strangersRoom : undefined))
  }

  /** What is held is one socket for good, and so is who listens there: it can only be passed on by him. */
  async holdSocket(socket: string, { owner, isListener }: MeantSocket): Promise<HeldSocket | undefined> {
    const held = await this.disk.holdSocket(socket, owner)
    const listener = held && isListener && findListener(held.place)
    const isMeant = isListener === undefined || (listener !== undefined && isListener(listener))
    // Where it is gone, or too many wait already, nobody is told who listens.
    const isUnknown = held === undefined ? owner === undefined : listener === undefined && held.isOwn
    if (isMeant || isUnknown) this.#asked.add(socket)
    if (isMeant) return held
    await held?.[Symbol.asyncDispose]()
    return undefined
  }

  wasAsked(socket: string): boolean {
    return this.#asked.has(socket)
  }

  forget(): void {
    this.denied.clear()
    this.#asked.clear()
    this.disk.forget()
  }

  async pause(ms: number, signal: AbortSignal): Promise<boolean> {
    await pause(ms, signal)
    return true
  }

  #ask(question: Question): string | undefined {
    return this.#askAll([question])[0]
  }

  #askAll(questions: readonly Question[]): (string | undefined)[] {
    return lockedFiles.ask(questions).map((answer, at) => {
      if (typeof answer === 'string') return answer
      this.#noteDenied(questions[at]?.[1] ?? '', answer)
      return undefined
    })
  }

  #try<T>(path: string, look: () => T): T | undefined {
    try {
      return look()
    } catch (error) {
      this.#noteDenied(path, error as NodeJS.ErrnoException)
      return undefined
    }
  }

  #noteDenied(path: string, { code }: NodeJS.ErrnoException): void {
    if ((code === 'EACCES' || code === 'EPERM') && this.denied.size < deniedMax) this.denied.add(path)
  }
}

const diskMs = 1000
/** The one question after which a disk is called silent: a busy one may take a while. */
const filesystemMs = 5000
/** A gigabyte from the page cache is hashed in less than a second; what must come from the disk may not be. */
const digestBytesMax = 2 ** 30
const digestPieceBytes = 2 ** 20
/** What is read from disks here are names and numbers. */
const diskTextMax = 1024 * 1024

class LiveDisk implements DiskView {
  readonly silent = new Set<string>()
  readonly unasked = new Set<string>()
  readonly #slots: DiskSlots
  readonly #digestMs: number
  #mounts: readonly MountPoint[] | undefined

  constructor(slots: DiskSlots, digestMs: number) {
    this.#slots = slots
    this.#digestMs = digestMs
  }

  /** What is still out is known to all that look, and told again when it is asked for. */
  forget(): void {
    this.silent.clear()
    this.unasked.clear()
    this.#mounts = undefined
  }

  text(path: string, options?: WalkOptions): Promise<string | undefined> {
    return this.#ask(path, place => readText(place), { options })
  }

  async names(path: string): Promise<readonly string[]> {
    return (await this.#ask(path, place => readdir(place))) ?? []
  }

  async file(path: string): Promise<FileFacts | undefined> {
    const facts = await this.#ask(path, place => stat(place))
    if (facts === undefined) return undefined
    const { size, mtimeMs, mode, ctimeMs, ino, uid } = facts
    return { size, mtimeMs, mode, ctimeMs, inode: ino, uid }
  }

  async filesystem(path: string): Promise<FilesystemFacts | undefined> {
    const facts = await this.#ask(path, place => statfs(place), { ms: filesystemMs, isLast: true })
    if (facts === undefined) return undefined
    const { bsize, blocks, bavail, files, ffree, type } = facts
    return { bytesTotal: blocks * bsize, bytesFree: bavail * bsize, inodesTotal: files, inodesFree: ffree, magic: type }
  }

  hasTypes(path: string): Promise<boolean | undefined> {
    return this.#ask(path, place => hasDTypeAsync(place))
  }

  async isOne(path: string, other: string): Promise<boolean | undefined> {
    const places = await Promise.all([path, other].map(path => this.#ask(path, place => stat(place, { bigint: true }))))
    const [one, two] = places
    return one && two && one.dev === two.dev && one.ino === two.ino
  }

  strangerAt(path: string): Promise<Stranger | 'nobody' | undefined> {
    // Links of /proc lead elsewhere than to what they are called.
    if (isUnder(path, '/proc')) return Promise.resolve(undefined)
    return this.#ask(path, async place => (await findStranger(place)) ?? 'nobody')
  }

  realPath(path: string): Promise<string | undefined> {
    return this.#ask(path, place => realpath(place))
  }

  measureSync(path: string): Promise<number | undefined> {
    return this.#ask(path, place => measureSync(place), { ms: filesystemMs })
  }

  async holdSocket(path: string, owner: number | undefined): Promise<HeldSocket | undefined> {
    let isLate = false
    const held = await this.#ask(path, async place => {
      const opened = await open(place, pathOnly)
      const facts = await opened.stat()
      if (!isLate && facts.isSocket() && (owner === undefined || facts.uid === owner)) return { opened, facts }
      await opened.close()
      return undefined
    })
    isLate = true
    if (held === undefined) return undefined
    const { opened, facts } = held
    const isOwn = facts.uid === 0 || facts.uid === process.geteuid?.()
    return { place: `/proc/self/fd/${opened.fd}`, isOwn, [Symbol.asyncDispose]: () => opened.close() }
  }

  digest(path: string): Promise<string | undefined> {
    const ms = this.#digestMs
    // It leaves off by itself, unless the disk does not let it.
    return this.#ask(path, place => readDigest(place, ms), { ms: ms + diskMs })
  }

  async #ask<T>(
    path: string,
    look: Look<T>,
    { ms = diskMs, options = {}, isLast = false }: AskOptions = {},
  ): Promise<T | undefined> {
    const { out } = this.#slots
    // Asked before, perhaps by another one who looked.
    if (out.has(path)) this.silent.add(path)
    const isOut = [...out].some(late => isUnder(path, late))
    const slot = isOut ? undefined : await this.#slots.take(this.#scopeOf(path), isLast)
    if (slot === undefined) {
      if (!this.silent.has(path)) this.unasked.add(path)
      return undefined
    }
    const asked = withPlace(path, options, look)
    const answer = asked.catch(() => undefined)
    if (await settlesInFreeTime(answer, ms)) {
      slot.release()
      this.silent.delete(path)
      this.unasked.delete(path)
      return await answer
    }
    slot.hang()
    this.silent.add(path)
    out.add(path)
    // Whoever was only slow may be asked again.
    void answer.then(() => {
      out.delete(path)
      slot.release()
    })
    return undefined
  }

  /** What hangs together: what one process shows us, or one disk. Of the root filesystem each path is for itself: a symlink may lead from it to any other. */
  #scopeOf(path: string): string {
    const [process] = /^\/proc\/\d+(?=\/)/.exec(path) ?? []
    if (process !== undefined) return process
    this.#mounts ??= parseMountInfo(readHead('/proc/self/mountinfo'))
    const mount = findMountOf(path, this.#mounts)?.target ?? '/'
    return mount === '/' ? path : mount
  }
}

type Look<T> = (place: string) => Promise<T>

interface AskOptions {
  readonly ms?: number
  readonly options?: WalkOptions | undefined
  readonly isLast?: boolean
}

async function readText(place: string): Promise<string | undefined> {
  await using file = await openFile(place)
  const chunks: Buffer[] = []
  for (let total = 0; total <= diskTextMax; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(65_536), 0, 65_536)
    if (bytesRead === 0) return Buffer.concat(chunks).toString()
    chunks.push(buffer.subarray(0, bytesRead))
    total += bytesRead
  }
  return undefined
}

/** Leaves off between two pieces: a read that is given up tells nothing of its thread. */
async function readDigest(place: string, ms: number): Promise<string | undefined> {
  const late = new AbortController()
  const cancel = afterFreeTime(ms, () => late.abort())
  try {
    await using file = await openFile(place)
    if (file.facts.size > digestBytesMax) return undefined
    const hash = createHash('sha256')
    const piece = Buffer.allocUnsafe(digestPieceBytes)
    while (!late.signal.aborted) {
      const { bytesRead } = await file.read(piece, 0, digestPieceBytes, null)
      if (bytesRead === 0) return `sha256:${hash.digest('hex')}`
      hash.update(piece.subarray(0, bytesRead))
    }
    return undefined
  } finally {
    cancel()
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  const stop = () => resolve()
  signal.addEventListener('abort', stop, { once: true })
  await promise
  clearTimeout(timer)
  signal.removeEventListener('abort', stop)
  signal.throwIfAborted()
}

/** Files of /proc have no size: they are read until they end, and a file that does not end only so far. */
function readHead(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const chunks: Buffer[] = []
    for (let total = 0; total < textMax; ) {
      const chunk = Buffer.allocUnsafe(total === 0 ? 16_384 : 262_144)
      const length = readSync(fd, chunk)
      if (length === 0) break
      chunks.push(chunk.subarray(0, length))
      total += length
    }
    return Buffer.concat(chunks).toString()
  } finally {
    closeSync(fd)
  }
}
