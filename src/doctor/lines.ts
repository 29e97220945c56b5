/**
 * The pipelines through which engines unpack layers, found by their pipes: engine → decompressor → engine → untar, or engine → decompressor →
 * engine where the engine unpacks itself.
 */
import { basename } from 'node:path'
import type { HostView } from '../sys/host-view.ts'
import {
  type Descriptor,
  descendantsOf,
  type ProcessTable,
  readArguments,
  readDescriptorState,
  readDescriptors,
} from '../sys/process-files.ts'
import type { ProcessFacts } from '../sys/tasks.ts'
import type { FoundEngine } from './engines.ts'
import { temporaryLayers } from './layer-names.ts'

/** A pipe between two processes, with a descriptor of /proc through which it can be looked at. */
interface PipeEnd {
  readonly inode: string
  readonly path: string
}

export interface Line {
  /** Stays the same as long as the processes do. */
  readonly key: string
  readonly engine: FoundEngine
  /** The decompressor: one process, or a script with the program that it started. The program that does the work comes first. */
  readonly decompressor: readonly ProcessFacts[]
  readonly program: string
  readonly stdin: PipeEnd | undefined
  /** Undefined if it has closed it. */
  readonly stdout: PipeEnd | undefined
  /** Whether somebody may still write to its stdin. */
  readonly isFed: boolean
  /** A process of its own that unpacks; undefined where a thread of the engine does. */
  readonly untar: ProcessFacts | undefined
  readonly untarStdin: PipeEnd | undefined
  /** Whether the engine may still write to it, or that cannot be seen. */
  readonly isUntarFed: boolean
  /** What the engine calls it: `docker-untar`, `docker-applyLayer`. */
  readonly untarName: string | undefined
  /** The directory that is unpacked to, where the command line tells it. */
  readonly target: string | undefined
}

const decompressorNames = new Set([
  'unpigz',
  'pigz',
  'igzip',
  'gzip',
  'gunzip',
  'zstd',
  'unzstd',
  'xz',
  'unxz',
  'bzip2',
  'bunzip2',
])
const untarNames = new Set(['docker-untar', 'docker-applyLayer', 'storage-untar', 'storage-applyLayer'])
/** What else engines start, with all that it starts: no business of a pull. */
const strangers =
  /^(containerd-shim|docker-containe|runc|crun|youki|kata-|buildkit-runc|buildkit-cni|conmon|docker-init|docker-proxy|containerd|dockerd|tini|catatonit|slirp4netns|pasta|exe:)/

interface Child {
  readonly entry: ProcessFacts
  readonly args: readonly string[]
  readonly input: PipeEnd | undefined
  readonly output: PipeEnd | undefined
  readonly hasOutput: boolean
}

/** Where dockerd unpacks layers by `docker-untar`; for drivers without directories of that name it runs `docker-applyLayer`. */
const placeOfLayer = /\/diff(?:\/[^/]+)?$/

/** True for what a client of dockerd sends it, other than a layer: an archive of images, what is to be built, files for a container. */
export function isForClient({ engine, target, untarName }: Pick<Line, 'engine' | 'target' | 'untarName'>): boolean {
  return engine.kind === 'dockerd' && untarName === 'docker-untar' && !placeOfLayer.test(target ?? '')
}

/** What dockerd unpacks layers from that come from no pull of its own: an archive that was sent, or what a build fetched. */
const otherLayer = /\/(?:docker-import-[^/]+\/.+|content\/blobs\/.+)$/
/** Of these it reads at places of its own choice, which its descriptor does not tell. */
const chosenPlaces = /\/content\/blobs\//

/** How many layers dockerd has open that are no pull's. */
export function countOtherLayers(host: HostView, { process: { pid } }: FoundEngine): number {
  return new Set(readDescriptors(host, pid).flatMap(({ target }) => (otherLayer.test(target) ? [target] : []))).size
}

/** Between a file and its decompressor there are buffers of some 32 KiB; and a program reads its libraries, too. */
export const slackBytes = 131_072

export interface Feeding {
  /** What the decompressor was handed; undefined where there is none. */
  readonly handed: number | undefined
  /** How many layers of pulls the engine unpacks by its own word; undefined where it gives none. */
  readonly pulls: number | undefined
}

/** True if what dockerd feeds to this line is sent to it just now, by a client: of a pull all is in a file before it is unpacked, and that one is open. */
export function comesFromClient(host: HostView, line: Line, { handed, pulls }: Feeding): boolean {
  if (line.engine.kind !== 'dockerd') return false
  if (isForClient(line)) return true
  const { pid } = line.engine.process
  const opened = readDescriptors(host, pid).filter(({ target }) => target !== '')
  const mayFeed = ({ fd, target }: Descriptor) => {
    if (!otherLayer.test(target) && (pulls === 0 || !temporaryLayers.dockerd.test(target))) return false
    const position = chosenPlaces.test(target) ? undefined : readDescriptorState(host, pid, fd)?.position
    if (position === undefined) return true
    return position > 0 && (handed === undefined || Math.abs(position - handed) <= slackBytes)
  }
  return opened.length > 0 && !opened.some(mayFeed)
}

export function findLines(host: HostView, engines: readonly FoundEngine[], table: ProcessTable): Line[] {
  const others = new Set(engines.map(({ process }) => process.pid))
  return engines.flatMap(engine => findLinesOf(host, engine, table, others))
}

function findLinesOf(host: HostView, engine: FoundEngine, table: ProcessTable, others: ReadonlySet<number>): Line[] {
  const mayUnpack = ({ pid, name, state }: ProcessFacts) => !others.has(pid) && !strangers.test(name) && state !== 'Z'
  const children = descendantsOf(table, engine.process.pid, mayUnpack).map(entry => readChild(host, entry))
  if (children.length === 0) return []
  const untars = children.filter(({ args }) => untarNames.has(args[0] ?? '')).sort(byStart)
  const decompressors = children.filter(child => !untars.includes(child) && isDecompressor(child))
  const opened = decompressors.length + untars.length === 0 ? [] : readDescriptors(host, engine.process.pid)
  const ends = opened.filter(({ target }) => target.startsWith('pipe:['))
  const held = new Set(ends.map(({ target }) => target.slice(6, -1)))
  const filters = groupByPipe(decompressors.filter(child => isOfEngine(host, engine, child, held)))
  const writers = filters.length + untars.length === 0 ? new Set<string>() : findWriters(host, engine, ends)
  const isSeen = opened.length > 0
  const lines = filters.map(group =>
    makeLine(host, engine, group, { untar: takeUntar(untars, group), writers, isSeen }),
  )
  const rest = untars.map(untar => makeLine(host, engine, [], { untar, writers, isSeen }))
  return [...lines, ...rest]
}

/** What a build runs may be called like a decompressor, too: it has mounts of its own, and its pipes lead to others. The engine's own child may have lost both. */
function isOfEngine(
  host: HostView,
  { process: { pid } }: FoundEngine,
  { entry, input, output }: Child,
  held: ReadonlySet<string>,
): boolean {
  const mounts = host.link(`/proc/${entry.pid}/ns/mnt`)
  // A record does not tell of all.
  if (mounts !== undefined && mounts !== host.link(`/proc/${pid}/ns/mnt`)) return false
  return entry.parent === pid || [input, output].some(end => end !== undefined && held.has(end.inode))
}

function readChild(host: HostView, entry: ProcessFacts): Child {
  const { pid } = entry
  const output = pipeAt(host, pid, 1)
  const hasOutput = host.link(`/proc/${pid}/fd/1`) !== undefined
  return { entry, args: readArguments(host, pid), input: pipeAt(host, pid, 0), output, hasOutput }
}

function pipeAt(host: HostView, pid: number, fd: number): PipeEnd | undefined {
  const path = `/proc/${pid}/fd/${fd}`
  const [, inode] = /^pipe:\[(\d+)\]$/.exec(host.link(path) ?? '') ?? []
  return inode === undefined ? undefined : { inode, path }
}

/** By its name, as what it was called, or what a script was called that runs it; or by the arguments that engines give. */
function isDecompressor({ entry, args, input, output, hasOutput }: Child): boolean {
  if (input === undefined || (output === undefined && hasOutput)) return false
  const words = [entry.name, ...args.slice(0, 3)].map(word => basename(word))
  return words.some(word => decompressorNames.has(word)) || / -d( -c)?( -q)?$/.test(args.join(' '))
}

/** A script and what it started hold the same pipes. The last of the chain does the work. */
function groupByPipe(filters: readonly Child[]): Child[][] {
  const groups = new Map<string, Child[]>()
  for (const filter of filters) {
    const key = filter.input?.inode ?? String(filter.entry.pid)
    groups.set(key, [filter, ...(groups.get(key) ?? [])])
  }
  return [...groups.values()].sort(([a], [b]) => (a === undefined || b === undefined ? 0 : byStart(a, b)))
}

function byStart(a: Child, b: Child): number {
  return a.entry.startTicks - b.entry.startTicks || a.entry.pid - b.entry.pid
}

/** The engine starts the untar right after its decompressor: the next younger one belongs to it. */
function takeUntar(untars: Child[], group: readonly Child[]): Child | undefined {
  const [filter] = group
  const at = untars.findIndex(untar => filter !== undefined && byStart(untar, filter) > 0)
  return at < 0 ? untars.shift() : untars.splice(at, 1)[0]
}

/** Pipes that the engine can write to. */
function findWriters(host: HostView, { process }: FoundEngine, ends: readonly Descriptor[]): Set<string> {
  return new Set(ends.filter(end => isWriter(host, process.pid, end)).map(({ target }) => target.slice(6, -1)))
}

function isWriter(host: HostView, pid: number, { fd }: Descriptor): boolean {
  return readDescriptorState(host, pid, fd)?.isWriter ?? true
}

function makeLine(
  host: HostView,
  engine: FoundEngine,
  group: readonly Child[],
  {
    untar,
    writers,
    isSeen,
  }: { readonly untar: Child | undefined; readonly writers: ReadonlySet<string>; readonly isSeen: boolean },
): Line {
  const [filter] = group
  const named = group.flatMap(({ entry, args }) => [...args.slice(0, 3), entry.name].map(word => basename(word)))
  const program = named.find(word => decompressorNames.has(word)) ?? filter?.entry.name ?? ''
  const parts = [engine.process, ...group.map(({ entry }) => entry), ...(untar === undefined ? [] : [untar.entry])]
  return {
    key: parts.map(({ pid, startTicks }) => `${pid}@${startTicks}`).join(' '),
    engine,
    decompressor: group.map(({ entry }) => entry),
    program,
    stdin: filter?.input,
    stdout: filter?.output,
    isFed: filter?.input !== undefined && writers.has(filter.input.inode),
    untar: untar?.entry,
    untarStdin: untar?.input,
    isUntarFed: !isSeen || untar?.input === undefined || writers.has(untar.input.inode),
    untarName: untar?.args[0],
    target: untar === undefined ? undefined : targetOf(host, untar),
  }
}

/** Some are given the directory open, and its number. */
function targetOf(host: HostView, { entry, args }: Child): string | undefined {
  const target = args.findLast(word => word.startsWith('/') && word.length > 1)
  const [, fd] = /^\/proc\/self\/fd\/(\d+)$/.exec(target ?? '') ?? []
  return fd === undefined ? target : host.link(`/proc/${entry.pid}/fd/${fd}`)
}
