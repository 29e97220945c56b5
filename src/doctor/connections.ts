/** What comes on the connections that an engine has made, as the kernel counts it: what a file that is written to in large pieces does not tell. */
import type { HostView } from '../sys/host-view.ts'
import { type ProcessTable, readDescriptors } from '../sys/process-files.ts'
import { stdoutMax } from '../sys/tool.ts'
import type { FoundEngine } from './engines.ts'
import { findWriters } from './writers.ts'

export interface Connection {
  readonly socket: string
  /** How long ago something came on it. */
  readonly idleMs: number
  /** All that has come on it; undefined in a record. */
  readonly bytes: number | undefined
}

/** Two lines for each connection: its own end and its socket in the first, its counters in the second (tcp_info, ss(8)). */
const portOf = /^(?:[A-Z-]+\s+)?\d+\s+\d+\s+\S*:(\d+)\s/
const socketOf = /\bino:(\d+)\b/
const receivedOf = /\blastrcv:(\d+)\b/
const bytesOf = /\bbytes_received:(\d+)\b/

/**
 * @returns each connection that the engine, or who may write into it, has made; undefined where not all of them can be known: there is no `ss`, it says more than is read of
 *   it, one of them has another network or shows no descriptors, or no connection is found
 */
export async function readConnections(
  host: HostView,
  engine: FoundEngine,
  table: ProcessTable,
): Promise<Connection[] | undefined> {
  const writers = await findWriters(host, engine, table)
  // A record tells of those with known names alone.
  if (!writers.isWhole && host.network !== undefined) return undefined
  const pids = [engine.process.pid, ...writers.pids]
  const own = host.link('/proc/self/ns/net')
  if (pids.some(pid => ![own, undefined].includes(host.link(`/proc/${pid}/ns/net`)))) return undefined
  const established = await readLines(host, 'established')
  const listening = await readLines(host, 'listening')
  const sockets = readSockets(host, pids)
  if (established === undefined || listening === undefined || sockets === undefined) return undefined
  const isOwn = (line: string) => sockets.has(socketOf.exec(line)?.[1] ?? '')
  const ports = new Set(listening.filter(isOwn).map(line => portOf.exec(line)?.[1]))
  // What was accepted brings no layer.
  const isMade = (line: string) => isOwn(line) && !ports.has(portOf.exec(line)?.[1] ?? '')
  const found = established.flatMap((line, at) => (isMade(line) ? parseConnection(line, established[at + 1]) : []))
  return found.length === 0 ? undefined : found
}

function parseConnection(line: string, next = ''): Connection {
  const counters = /^\s/.test(next) ? next : line
  const bytes = bytesOf.exec(counters)?.[1]
  return {
    socket: socketOf.exec(line)?.[1] ?? '',
    // What came just now is not counted.
    idleMs: Number(receivedOf.exec(counters)?.[1] ?? 0),
    bytes: bytes === undefined ? undefined : Number(bytes),
  }
}

async function readLines(host: HostView, state: 'established' | 'listening'): Promise<string[] | undefined> {
  const told = await host.tell('ss', ['-tneiH', 'state', state])
  return told === undefined || told.length >= stdoutMax ? undefined : told.split('\n')
}

function readSockets(host: HostView, pids: readonly number[]): Set<string> | undefined {
  const opened = pids.map(pid => readDescriptors(host, pid))
  if (opened.some(descriptors => descriptors.length === 0)) return undefined
  return new Set(opened.flat().flatMap(({ target }) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []))
}
