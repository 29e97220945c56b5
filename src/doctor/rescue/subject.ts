/** All that is known of a stuck decompressor before anything is done to it: who it is, what it has written, and how far its engine has come with that. */
import { basename, dirname, resolve } from 'node:path'
import { type ForeignPipe, isMarkedSize } from '../../sys/foreign-pipes.ts'
import type { HostView } from '../../sys/host-view.ts'
import {
  type Descriptor,
  descendantsOf,
  type ProcessTable,
  readDescriptorState,
  readDescriptors,
  readEnvironment,
  readTraffic,
  readUids,
} from '../../sys/process-files.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import { isTrusted } from '../engines.ts'
import { findLines, type Line } from '../lines.ts'
import { Refusal } from './refusal.ts'

/** A file that the engine, or its untar, has open to write what it unpacks. */
export interface OpenFile {
  /** As it is called in the root of whoever unpacks. */
  readonly path: string
  /** A path of /proc that leads to it. */
  readonly link: string
  /** Bytes written to it. */
  readonly position: number
}

export interface Subject {
  readonly line: Line
  /** The process that the engine waits for. */
  readonly waited: ProcessFacts
  /** What that has started and holds the same pipes: it has to end with it. */
  readonly others: readonly ProcessFacts[]
  /** The one that writes, and its pipes. */
  readonly writer: ProcessFacts
  readonly stdin: ForeignPipe | undefined
  /** Undefined if it has closed it. */
  readonly stdout: ForeignPipe | undefined
  /** Bytes that the writer has passed to write calls: to its output, and to whatever else it has. */
  readonly written: number
  /** It has nothing to write to but its output and its complaints: `written` is what it gave. */
  readonly isExact: boolean
  /** Its environment, or a file that its loader reads, makes it or its loader say more than it would: `written` may be more than it gave. */
  readonly mayComplain: boolean
  /** Its output has the room that a rescue gives to it before it writes there. */
  readonly isMarked: boolean
  /** Bytes that it has passed to read calls, also while it was loaded. */
  readonly read: number
  /** Bytes that wait in its input. */
  readonly inputWaiting: number
  /** What is unpacked to. Whose untar is whose cannot be seen where the engine has several: then those of all. */
  readonly files: readonly OpenFile[]
  /** Bytes between the decompressor and whoever unpacks. */
  readonly inFlight: number
}

interface SubjectOptions {
  /** Who may trace it: nobody yet, or we who hold it. */
  readonly by?: 'nobody' | 'held'
  /** Known already. */
  readonly mayComplain?: boolean
}

/** @throws Refusal if it is no subject for a rescue */
export function readSubject(
  host: HostView,
  line: Line,
  table: ProcessTable,
  { by = 'nobody', mayComplain: isKnownTo = false }: SubjectOptions = {},
): Subject {
  const group = line.decompressor
  const waited = group.find(({ parent }) => parent === line.engine.process.pid)
  if (waited === undefined) throw new Refusal('RESCUE_GONE', 'the engine waits for no decompressor')
  const writer = group.find(({ pid }) => (readTraffic(host, pid)?.written ?? 0) > 0) ?? group[0] ?? waited
  const traffic = readTraffic(host, writer.pid)
  if (traffic === undefined) throw unseen(host, writer.pid)
  if (by === 'nobody') checkTracers(host, table, group)
  checkOwners(host, [line.engine.process, ...group])
  const stdout = line.stdout && { path: `/proc/${writer.pid}/fd/1`, inode: line.stdout.inode }
  for (const pipe of [line.stdin, stdout]) checkPipe(host, pipe)
  const below = readHoldersBelow(host, { line, table, waited })
  const isExact = writesNothingElse(host, writer.pid)
  const mayComplain = isKnownTo || isToldToSayMore(host, writer.pid)
  const untars = findUntars(host, line, table)
  const pipes = [
    line.stdout,
    ...(untars.length < 2 || !isExact || mayComplain ? untars.map(({ untarStdin }) => untarStdin) : []),
  ]
  return {
    line,
    waited,
    others: [...group.filter(({ pid }) => pid !== waited.pid), ...below],
    writer,
    stdin: line.stdin,
    stdout,
    written: traffic.written,
    isExact,
    mayComplain,
    isMarked: isMarked(host, stdout),
    read: traffic.read,
    inputWaiting: fillOf(host, line.stdin?.path),
    files:
      untars.length === 0
        ? filesOf(host, line, line.engine.process)
        : untars.flatMap(({ untar }) => filesOf(host, line, untar)),
    inFlight: pipes.reduce((sum, pipe) => sum + fillOf(host, pipe?.path), 0),
  }
}

function unseen(host: HostView, pid: number): Refusal {
  if (readProcess(pid, host) === undefined) return new Refusal('RESCUE_GONE', `process ${pid} has ended meanwhile`)
  return new Refusal('RESCUE_DENIED', `what process ${pid} has written may not be seen`)
}

/** Anybody may call a program of his like an engine, and have it do what no engine does. @throws Refusal RESCUE_FOREIGN, RESCUE_GONE */
function checkOwners(host: HostView, processes: readonly ProcessFacts[]): void {
  for (const { pid, name } of processes) {
    const uids = readUids(host, pid)
    if (uids === undefined) throw unseen(host, pid)
    if (!isTrusted(uids))
      throw new Refusal(
        'RESCUE_FOREIGN',
        `process ${pid} (${name}) runs as user ${uids.effective}: neither root nor you`,
      )
  }
}

function checkPipe(host: HostView, pipe: ForeignPipe | undefined): void {
  if (pipe === undefined || host.link(pipe.path) === `pipe:[${pipe.inode}]`) return
  throw new Refusal('RESCUE_MOVES', `${pipe.path} does not lead to pipe ${pipe.inode} any more`)
}

function fillOf(host: HostView, path: string | undefined): number {
  return path === undefined ? 0 : (host.pipeFill(path)?.bytes ?? 0)
}

function isMarked(host: HostView, pipe: ForeignPipe | undefined): boolean {
  const fill = pipe && host.pipeFill(pipe.path)
  return fill !== undefined && isMarkedSize(fill.size)
}

function checkTracers(host: HostView, table: ProcessTable, group: readonly ProcessFacts[]): void {
  for (const { pid } of group) {
    const [, tracer] = /^TracerPid:\t(\d+)$/m.exec(host.text(`/proc/${pid}/status`) ?? '') ?? []
    if (tracer === undefined || tracer === '0') continue
    const name = table.get(Number(tracer))?.name ?? 'in another PID namespace'
    throw new Refusal('RESCUE_TRACED', `process ${pid} is traced by process ${tracer} (${name})`)
  }
}

interface Holding {
  readonly line: Line
  readonly table: ProcessTable
  readonly waited: ProcessFacts
}

/**
 * The engine sees the end of the stream when the last writer has closed the pipe, and takes the process for ended when the last one has closed that of its complaints.
 * @returns what the decompressor has started and holds them, too: it has to end with it
 * @throws Refusal if something else does
 */
function readHoldersBelow(host: HostView, { line, table, waited }: Holding): ProcessFacts[] {
  const group = new Set(line.decompressor.map(({ pid }) => pid))
  const { output, all } = readPipesToEngine(host, line, waited)
  const holders = findWriters(host, table, all).filter(({ pid }) => !group.has(pid))
  const below = new Set(descendantsOf(table, waited.pid).map(({ pid }) => pid))
  // Which of two has written to the output cannot be told.
  const mayHaveWritten = (pid: number) => isWriterOf(host, pid, output) && readTraffic(host, pid)?.written !== 0
  const stranger = holders.find(({ pid }) => !below.has(pid) || mayHaveWritten(pid))
  if (stranger === undefined) return holders
  throw new Refusal('RESCUE_PIPE_SHARED', `process ${stranger.pid} (${stranger.name}) holds its output open, too`)
}

/** What the engine reads to its end: the output, and complaints where it reads them; as the kernel names them. */
export function readPipesToEngine(host: HostView, { engine, stdout }: Line, waited: ProcessFacts) {
  const complaints = host.link(`/proc/${waited.pid}/fd/2`) ?? ''
  const output = stdout === undefined ? [] : [`pipe:[${stdout.inode}]`]
  return { output, all: isReadBy(host, engine.process.pid, complaints) ? [...output, complaints] : output }
}

export function findWriters(host: HostView, table: ProcessTable, pipes: readonly string[]): ProcessFacts[] {
  return [...table.values()].filter(({ pid }) => isWriterOf(host, pid, pipes))
}

function isReadBy(host: HostView, pid: number, pipe: string): boolean {
  if (!pipe.startsWith('pipe:')) return false
  const ends = readDescriptors(host, pid).filter(({ target }) => target === pipe)
  return ends.some(({ fd }) => readDescriptorState(host, pid, fd)?.isReader === true)
}

function isWriterOf(host: HostView, pid: number, pipes: readonly string[]): boolean {
  const ends = readDescriptors(host, pid).filter(({ target }) => pipes.includes(target))
  return ends.some(({ fd }) => readDescriptorState(host, pid, fd)?.isWriter === true)
}

/** They write to their output, and complain; whatever they have inherited beside that they do not use. */
export const filters: ReadonlySet<string> = new Set(['pigz', 'unpigz', 'igzip', 'gzip', 'zstd', 'xz'])

function writesNothingElse(host: HostView, pid: number): boolean {
  const isFilter = filters.has(basename((host.link(`/proc/${pid}/exe`) ?? '').replace(/ \(deleted\)$/, '')))
  const isWriter = ({ fd }: Descriptor) => readDescriptorState(host, pid, fd)?.isWriter !== false
  return isFilter || !readDescriptors(host, pid).some(descriptor => descriptor.fd > 2 && isWriter(descriptor))
}

/** Makes these programs, or their loader, say more than they would, or do something else. */
const telling = /^(LD_(?!LIBRARY_PATH$)|MALLOC_|PIGZ$|GZIP$|ZSTD_|XZ_)/

function isToldToSayMore(host: HostView, pid: number): boolean {
  const environment = readEnvironment(host, pid)
  if (environment === undefined || [...environment.keys()].some(name => telling.test(name))) return true
  const places = environment.get('LD_LIBRARY_PATH')
  return places !== undefined && hasLibraryFrom(host, pid, places.split(/[:;]/))
}

/** containerd gives all that it starts a place where there is nothing. Of a library that is found in such a place a loader may complain, and uses it all the same. @param places "" is the working directory (ld.so(8)) */
function hasLibraryFrom(host: HostView, pid: number, places: readonly string[]): boolean {
  const maps = host.text(`/proc/${pid}/maps`)
  const here = host.link(`/proc/${pid}/cwd`)
  if (maps === undefined || here === undefined) return true
  const directories = places.map(place => resolve(here, place))
  return maps.split('\n').some(line => directories.includes(dirname(/\/.*$/.exec(line)?.[0] ?? '')))
}

/** The untars of the engine, one of which unpacks what this decompressor gives; none where the engine unpacks itself. */
function findUntars(host: HostView, { engine, untar }: Line, table: ProcessTable) {
  if (untar === undefined) return []
  return findLines(host, [engine], table).flatMap(({ untar, untarStdin }) =>
    untar === undefined ? [] : [{ untar, untarStdin }],
  )
}

/** Below these directories engines unpack layers; all else that they write may have a name that a layer has, too. */
const layerDirectories = [
  /\/(?:snapshots|active)\/\d+\/(?:fs\/)?/, // containerd and buildkitd
  /\/containerd-mount\d+\//,
  /\/(?:overlay2?|fuse-overlayfs|vfs\/dir|vfs|aufs\/diff|btrfs\/subvolumes|zfs\/graph|devicemapper\/mnt)\/[0-9a-f]{64}(?:-init)?\//,
]

/** Files that whoever unpacks has open to write, below what it unpacks to. */
function filesOf(host: HostView, { engine }: Line, { pid }: ProcessFacts): OpenFile[] {
  const mounts = new Set(readRootsOfTheirOwn(host, engine.process.pid, pid))
  return readDescriptors(host, pid).flatMap(({ fd, target }): OpenFile[] => {
    if (!target.startsWith('/') || target.startsWith('/dev/')) return []
    const state = readDescriptorState(host, pid, fd)
    if (state === undefined || !state.isWriter) return []
    const isUnpacked = mounts.has(state.mount ?? '') || layerDirectories.some(pattern => pattern.test(target))
    return isUnpacked ? [{ path: target, link: `/proc/${pid}/fd/${fd}`, position: state.position }] : []
  })
}

/** Who unpacks as docker does changes into the layer's directory: that is a mount, and the root of a process or thread with mounts of its own. @returns IDs of these mounts */
function readRootsOfTheirOwn(host: HostView, engine: number, pid: number): string[] {
  const its = host.link(`/proc/${engine}/ns/mnt`)
  const tasks = host.names(`/proc/${pid}/task`).map(task => `/proc/${pid}/task/${task}`)
  return tasks
    .filter(task => its !== undefined && (host.link(`${task}/ns/mnt`) ?? its) !== its)
    .flatMap(task => (host.text(`${task}/mountinfo`) ?? '').split('\n'))
    .flatMap(mount => /^(\d+) \d+ \S+ \S+ \/ /.exec(mount)?.[1] ?? [])
}
