/** What comes on the connections that an engine has made, as the kernel counts it: what a file that is written to in large pieces does not tell. */
import type { HostView } from '../sys/host-view.ts'
import { type ProcessTable, readDescriptors } from '../sys/process-files.ts'
import { stdoutMax } from '../sys/tool.ts'
import type { FoundEngine } from './engines.ts'
import { findWriters, isKnownWriter } from './writers.ts'

export interface Connection {
  readonly socket: string
  /** How long ago something came on it, or, where nothing did, it was made. */
  readonly idleMs: number
  /** How long ago something was sent on it, or, where nothing was, it was made. */
  readonly sentMs: number
  /** All that has come on it; undefined where the kernel does not tell. */
  readonly bytes: number | undefined
  /** Bytes that have come, and that nobody has read yet; fewer than `unreadMin` are none. */
  readonly unread: number
  /** At its other end. */
  readonly remotePort: string
  readonly holder: Holder
  /** Of the engine, or of who is known by its name to write into it; those of others may be for anything. */
  readonly isOwn: boolean
  /** For how long it is kept for the next request. */
  readonly keptMs: number
}

/** The process that has made it. */
interface Holder {
  readonly pid: number
  readonly name: string
  /** As the kernel writes it. */
  readonly state: string
}

export interface Connections {
  readonly all: readonly Connection[]
  /** False where others may be there that are not seen. */
  readonly isWhole: boolean
}

/** IdleConnTimeout of containerd and its clients. */
const keptMs = 30_000
/** Of buildkit, whose way to registries dockerd has, too. */
const keptLongMs = 120_000
const longKeepers = ['buildkitd', 'dockerd']
/** Of containers/image; its earlier versions keep none. */
const keptByPodmanMs = 90_000
const podmanAndKin = ['podman', 'buildah', 'skopeo', 'crio']

/** What the engine keeps for the next request is closed a while after that, or said to be. */
const closedMs = 30_000

/** What has sent so much, and more than has come, asks for no layer: it is a push, a log, or tells somebody what its program does. */
const sentBytesMin = 64 * 1024

/** Who only writes, over TLS, leaves what it is sent at the beginning unread for good; who has stopped to read a layer leaves more. */
const unreadMin = 4096

/** Two lines for each connection: its own end and its socket in the first, its counters in the second (tcp_info, ss(8)). */
const portOf = /^(?:[A-Z-]+\s+)?\d+\s+\d+\s+\S*:(\d+)\s/
const remotePortOf = /^(?:[A-Z-]+\s+)?\d+\s+\d+\s+\S*:\d+\s+\S*:(\d+)\s/
const unreadOf = /^(?:[A-Z-]+\s+)?(\d+)\s/
const socketOf = /\bino:(\d+)\b/
const receivedOf = /\blastrcv:(\d+)\b/
const sentOf = /\blastsnd:(\d+)\b/
const bytesOf = /\bbytes_received:(\d+)\b/
const sentBytesOf = /\bbytes_(?:sent|acked):(\d+)\b/
/** Where it counts bytes it leaves out what is 0. */
const areCounted = /\bbytes_/
/** How often it had to be sent again, and was, without an answer. */
const backoffOf = /\bbackoff:[1-9]/

/**
 * @returns the connections that the engine, and who may write into it, have made, but for those on which more is sent than comes, as far as they are seen: who is in another network, or shows no descriptors, may have others. Undefined where
 *   nothing tells: there is no `ss`, or it says more than is read of it
 */
export async function readConnections(
  host: HostView,
  engine: FoundEngine,
  table: ProcessTable,
): Promise<Connections | undefined> {
  const writers = await findWriters(host, engine, table)
  const owners = readOwners(host, engine, table, writers.pids)
  const established = await readLines(host, 'established')
  const listening = await readLines(host, 'listening')
  if (established === undefined || listening === undefined) return undefined
  const ownerOf = (line: string) => owners.bySocket.get(socketOf.exec(line)?.[1] ?? '')
  const ports = new Set(listening.filter(ownerOf).map(line => portOf.exec(line)?.[1]))
  // What was accepted brings no layer.
  const made = (line: string) => (ports.has(portOf.exec(line)?.[1] ?? '') ? undefined : ownerOf(line))
  const all = established.flatMap((line, at) => {
    const owner = made(line)
    return owner === undefined ? [] : parseConnection(line, established[at + 1], owner)
  })
  // A record tells of those with known names alone.
  const isWhole = owners.isWhole && (writers.isWhole || host.network === undefined)
  return { all, isWhole }
}

/** Nothing has come on it yet, so that it was made as long ago. */
const firstMs = 5000

/** What comes on it, or has come, is not read, since whoever has it does not: it says nothing of who sends. */
export function isUnread({ unread, holder }: Connection): boolean {
  return unread > 0 || isStopped(holder)
}

export function isStopped({ state }: Holder): boolean {
  return state === 'T'
}

/** For how long nothing has happened on it. */
export function quietMsOf({ idleMs, sentMs }: Connection): number {
  return Math.min(idleMs, sentMs)
}

/**
 * Whether who made it waits for an answer, or the rest of one: nothing has happened on it for longer than any is kept. What is sent without an end (a log) is no question: the first is sent as soon as
 * the connection is made, and the next before it is closed.
 */
export function isWaitedOn(connection: Connection): boolean {
  const { idleMs, sentMs, keptMs, isOwn, bytes } = connection
  const leftMs = keptMs + closedMs
  return (
    isOwn &&
    !isUnread(connection) &&
    quietMsOf(connection) >= leftMs &&
    idleMs - sentMs < (bytes === 0 ? firstMs : leftMs)
  )
}

type Owner = Pick<Connection, 'isOwn' | 'keptMs' | 'holder'>

function parseConnection(line: string, next = '', owner: Owner): Connection[] {
  const counters = /^\s/.test(next) ? next : line
  const numberOf = (pattern: RegExp) => {
    const text = pattern.exec(counters)?.[1]
    return text === undefined ? undefined : Number(text)
  }
  const bytes = numberOf(bytesOf) ?? (areCounted.test(counters) ? 0 : undefined)
  const sentBytes = numberOf(sentBytesOf) ?? 0
  if (sentBytes >= sentBytesMin && sentBytes > (bytes ?? 0)) return []
  // What came or was sent just now is not counted.
  const idleMs = numberOf(receivedOf) ?? 0
  const sentMs = numberOf(sentOf) ?? 0
  const socket = socketOf.exec(line)?.[1] ?? ''
  const remotePort = remotePortOf.exec(line)?.[1] ?? ''
  const inQueue = Number(unreadOf.exec(line)?.[1] ?? 0)
  const unread = inQueue < unreadMin ? 0 : inQueue
  // What is sent again is nothing new: the question was sent before, on a connection that was kept for as long at most.
  const askedMs = backoffOf.test(counters) ? idleMs - (bytes === 0 ? 0 : owner.keptMs) : 0
  return [{ socket, idleMs, sentMs: Math.max(sentMs, askedMs), bytes, unread, remotePort, ...owner }]
}

async function readLines(host: HostView, state: 'established' | 'listening'): Promise<string[] | undefined> {
  const told = await host.tell('ss', ['-tneiH', 'state', state])
  // In a record that is what there is where there was no `ss`, too.
  const isMissing = told === undefined || (told === '' && state === 'established' && host.network === undefined)
  return isMissing || told.length >= stdoutMax ? undefined : told.split('\n')
}

/** Who holds which socket. */
function readOwners(
  host: HostView,
  engine: FoundEngine,
  table: ProcessTable,
  writers: readonly number[],
): { readonly bySocket: ReadonlyMap<string, Owner>; readonly isWhole: boolean } {
  const own = host.link('/proc/self/ns/net')
  const bySocket = new Map<string, Owner>()
  let isWhole = true
  const nameOf = (pid: number) => (pid === engine.process.pid ? engine.kind : (table.get(pid)?.name ?? ''))
  for (const pid of [engine.process.pid, ...writers]) {
    const name = nameOf(pid)
    const isOwn = pid === engine.process.pid || isKnownWriter(name)
    const holder = { pid, name, state: table.get(pid)?.state ?? '' }
    const opened = readDescriptors(host, pid)
    if (opened.length === 0 || ![own, undefined].includes(host.link(`/proc/${pid}/ns/net`))) isWhole = false
    const owner = { isOwn, keptMs: keptMsOf(name), holder }
    for (const { target } of opened) {
      const [, socket] = /^socket:\[(\d+)\]$/.exec(target) ?? []
      if (socket !== undefined && bySocket.get(socket)?.isOwn !== true) bySocket.set(socket, owner)
    }
  }
  return { bySocket, isWhole }
}

function keptMsOf(name: string): number {
  if (longKeepers.includes(name)) return keptLongMs
  return podmanAndKin.includes(name) ? keptByPodmanMs : keptMs
}
