/** All that is known of a stuck decompressor before anything is done to it: who it is, what it has written, and how far its engine has come with that. */
import { basename } from 'node:path'
import type { HostView } from '../../sys/host-view.ts'
import {
  type Descriptor,
  type ProcessTable,
  readDescriptorState,
  readDescriptors,
  readTraffic,
} from '../../sys/process-files.ts'
import type { ProcessFacts } from '../../sys/tasks.ts'
import type { Line } from '../lines.ts'
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
  /** What that has started, and what holds the same pipes. */
  readonly others: readonly ProcessFacts[]
  /** The one that writes, with paths of /proc to its pipes. */
  readonly writer: ProcessFacts
  readonly stdin: string | undefined
  /** Undefined if it has closed it. */
  readonly stdout: string | undefined
  /** Bytes that the writer has passed to write calls: to its output, and to whatever else it has. */
  readonly written: number
  /** It has nothing to write to but its output and its complaints: `written` is what it gave. */
  readonly isExact: boolean
  /** Bytes that it has passed to read calls, also while it was loaded. */
  readonly read: number
  /** Bytes that wait in its input. */
  readonly inputWaiting: number
  /** What the engine has open to write to. */
  readonly files: readonly OpenFile[]
  /** Bytes between the decompressor and whoever unpacks. */
  readonly inFlight: number
}

/**
 * @param by who may trace it: nobody yet, or we who hold it
 * @throws Refusal if it is no subject for a rescue
 */
export function readSubject(
  host: HostView,
  line: Line,
  table: ProcessTable,
  by: 'nobody' | 'held' = 'nobody',
): Subject {
  const group = line.decompressor
  const waited = group.find(({ parent }) => parent === line.engine.process.pid)
  if (waited === undefined) throw new Refusal('RESCUE_GONE', 'the engine waits for no decompressor')
  const writer = group.find(({ pid }) => (readTraffic(host, pid)?.written ?? 0) > 0) ?? group[0] ?? waited
  const traffic = readTraffic(host, writer.pid)
  if (traffic === undefined)
    throw new Refusal('RESCUE_DENIED', `what process ${writer.pid} has written may not be seen`)
  if (by === 'nobody') checkTracers(host, group)
  const stdout = line.stdout === undefined ? undefined : `/proc/${writer.pid}/fd/1`
  if (line.stdout !== undefined) checkHolders(host, table, line.stdout.inode, group)
  const unpacker = line.untar?.pid ?? line.engine.process.pid
  return {
    line,
    waited,
    others: group.filter(({ pid }) => pid !== waited.pid),
    writer,
    stdin: line.stdin?.path,
    stdout,
    written: traffic.written,
    isExact: writesNothingElse(host, writer.pid),
    read: traffic.read,
    inputWaiting: fillOf(host, line.stdin?.path),
    files: readDescriptors(host, unpacker).flatMap(descriptor => openFile(host, unpacker, descriptor)),
    inFlight: fillOf(host, line.stdout?.path) + fillOf(host, line.untarStdin?.path),
  }
}

function fillOf(host: HostView, path: string | undefined): number {
  return path === undefined ? 0 : (host.pipeFill(path)?.bytes ?? 0)
}

function checkTracers(host: HostView, group: readonly ProcessFacts[]): void {
  for (const { pid } of group) {
    const [, tracer] = /^TracerPid:\t(\d+)$/m.exec(host.text(`/proc/${pid}/status`) ?? '') ?? []
    if (tracer !== undefined && tracer !== '0')
      throw new Refusal('RESCUE_TRACED', `process ${pid} is traced by process ${tracer}`)
  }
}

/** The engine sees the end of the stream when the last writer has closed the pipe. */
function checkHolders(host: HostView, table: ProcessTable, inode: string, group: readonly ProcessFacts[]): void {
  const own = new Set(group.map(({ pid }) => pid))
  const target = `pipe:[${inode}]`
  for (const { pid, name } of table.values()) {
    if (own.has(pid)) continue
    const ends = readDescriptors(host, pid).filter(descriptor => descriptor.target === target)
    if (ends.some(({ fd }) => readDescriptorState(host, pid, fd)?.isWriter === true))
      throw new Refusal('RESCUE_PIPE_SHARED', `process ${pid} (${name}) holds its output open, too`)
  }
}

/** They write to their output, and complain; whatever they have inherited beside that they do not use. */
const filters = new Set(['pigz', 'unpigz', 'igzip', 'gzip', 'zstd', 'xz'])

function writesNothingElse(host: HostView, pid: number): boolean {
  const isFilter = filters.has(basename((host.link(`/proc/${pid}/exe`) ?? '').replace(/ \(deleted\)$/, '')))
  const isWriter = ({ fd }: Descriptor) => readDescriptorState(host, pid, fd)?.isWriter !== false
  return isFilter || !readDescriptors(host, pid).some(descriptor => descriptor.fd > 2 && isWriter(descriptor))
}

function openFile(host: HostView, pid: number, { fd, target }: Descriptor): OpenFile[] {
  if (!target.startsWith('/') || target.startsWith('/dev/')) return []
  const state = readDescriptorState(host, pid, fd)
  if (state === undefined || !state.isWriter) return []
  return [{ path: target, link: `/proc/${pid}/fd/${fd}`, position: state.position }]
}
