/**
 * All processes of a host, and of one process what it was called with and what it holds open, as /proc shows them at one moment. Unlike what `tasks.ts` reads,
 * the command line and the environment take a lock of the process's memory, and descriptors take their time: ask only about processes that matter.
 */
import type { HostView } from './host-view.ts'
import { type ProcessFacts, readProcesses } from './tasks.ts'

export type ProcessTable = ReadonlyMap<number, ProcessFacts>

/** What a descriptor is open on. */
export interface Descriptor {
  readonly fd: number
  /** A path, or `pipe:[123]` and its like. */
  readonly target: string
}

/** A host has at most this many; a daemon with more is looked at in part. */
const descriptorsMax = 20_000

/** Every process that can be seen. */
export function readProcessTable(host: HostView): ProcessTable {
  const names = host.names('/proc').filter(name => /^\d+$/.test(name))
  return new Map(readProcesses(names.map(Number), host).map(entry => [entry.pid, entry]))
}

/**
 * All that descends from a process, parents first. Anybody may have made a chain of as many as a host takes.
 * @param isWanted what is not goes with all that it has started
 */
export function descendantsOf(
  table: ProcessTable,
  pid: number,
  isWanted: (entry: ProcessFacts) => boolean = () => true,
): ProcessFacts[] {
  const children = Map.groupBy(table.values(), ({ parent }) => parent)
  // A table may have been read while it changed, or be a stranger's: then it has circles.
  const found = new Map<number, ProcessFacts>()
  const left = [...(children.get(pid) ?? [])].reverse()
  for (let entry = left.pop(); entry !== undefined; entry = left.pop()) {
    if (entry.pid === pid || found.has(entry.pid) || !isWanted(entry)) continue
    found.set(entry.pid, entry)
    for (const child of (children.get(entry.pid) ?? []).toReversed()) left.push(child)
  }
  return [...found.values()]
}

/** What a process descends from, the nearest first; so many at the most. */
export function ancestorsOf(
  table: ProcessTable,
  { parent }: Pick<ProcessFacts, 'parent'>,
  max: number,
): ProcessFacts[] {
  const found: ProcessFacts[] = []
  let entry = table.get(parent)
  while (entry !== undefined && found.length < max) {
    found.push(entry)
    entry = table.get(entry.parent)
  }
  return found
}

/** Finds the nearest ancestor of that kind, in a chain of any length once for all that are asked for. */
export function nearestOf(
  table: ProcessTable,
  isIt: (entry: ProcessFacts) => boolean,
): (entry: Pick<ProcessFacts, 'parent'>) => ProcessFacts | undefined {
  const known = new Map<number, ProcessFacts | undefined>()
  return ({ parent }) => {
    const passed: number[] = []
    let entry = table.get(parent)
    while (entry !== undefined && !known.has(entry.pid) && !isIt(entry)) {
      // Who is met again is in a circle.
      known.set(entry.pid, undefined)
      passed.push(entry.pid)
      entry = table.get(entry.parent)
    }
    const found = entry !== undefined && known.has(entry.pid) ? known.get(entry.pid) : entry
    for (const pid of passed) known.set(pid, found)
    return found
  }
}

/** The words of its command line; empty for a kernel thread, and where it cannot be seen. */
export function readArguments(host: HostView, pid: number): string[] {
  const text = host.text(`/proc/${pid}/cmdline`)
  return text === undefined || text === '' ? [] : text.replace(/\0$/, '').split('\0')
}

/** The value of the first of these options, `--name value` or `--name=value`; undefined if there is none. */
export function optionOf(args: readonly string[], names: readonly string[]): string | undefined {
  for (const [at, arg] of args.entries()) {
    const name = names.find(name => arg === name || arg.startsWith(`${name}=`))
    if (name !== undefined) return arg === name ? args[at + 1] : arg.slice(name.length + 1)
  }
  return undefined
}

/** Whose it is; undefined if it is gone, or cannot be seen. */
export function readUids(
  host: HostView,
  pid: number,
): { readonly real: number; readonly effective: number } | undefined {
  const [, real, effective] = /^Uid:\s+(\d+)\s+(\d+)/m.exec(host.text(`/proc/${pid}/status`) ?? '') ?? []
  return real === undefined ? undefined : { real: Number(real), effective: Number(effective) }
}

/** The environment that it was started with. */
export function readEnvironment(host: HostView, pid: number): ReadonlyMap<string, string> | undefined {
  const text = host.text(`/proc/${pid}/environ`)
  if (text === undefined) return undefined
  const pairs = text.split('\0').map(line => /^([^=]+)=(.*)$/s.exec(line))
  return new Map(pairs.filter(pair => pair !== null).map(([, name = '', value = '']) => [name, value]))
}

export function readDescriptors(host: HostView, pid: number): Descriptor[] {
  const names = host.names(`/proc/${pid}/fd`).slice(0, descriptorsMax)
  const paths = names.map(name => `/proc/${pid}/fd/${name}`)
  const targets = host.links?.(paths) ?? paths.map(path => host.link(path))
  return names.map((name, at) => ({ fd: Number(name), target: targets[at] ?? '' }))
}

/** Position and access mode of a descriptor, and the ID of the mount that its file is in. */
export function readDescriptorState(
  host: HostView,
  pid: number,
  fd: number,
):
  | {
      readonly position: number
      readonly isWriter: boolean
      readonly isReader: boolean
      readonly mount: string | undefined
    }
  | undefined {
  const text = host.text(`/proc/${pid}/fdinfo/${fd}`)
  const [, position] = /^pos:\s+(\d+)/m.exec(text ?? '') ?? []
  const [, flags] = /^flags:\s+([0-7]+)/m.exec(text ?? '') ?? []
  if (position === undefined || flags === undefined) return undefined
  const mode = Number.parseInt(flags, 8) & 3
  const [, mount] = /^mnt_id:\s+(\d+)/m.exec(text ?? '') ?? []
  return { position: Number(position), isWriter: mode !== 0, isReader: mode !== 1, mount }
}

/** Bytes that a process passed to read and write calls since it began. */
export function readTraffic(
  host: HostView,
  pid: number,
): { readonly read: number; readonly written: number } | undefined {
  const text = host.text(`/proc/${pid}/io`)
  const [, read] = /^rchar: (\d+)$/m.exec(text ?? '') ?? []
  const [, written] = /^wchar: (\d+)$/m.exec(text ?? '') ?? []
  return read === undefined || written === undefined ? undefined : { read: Number(read), written: Number(written) }
}
