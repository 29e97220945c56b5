/** One line of processes as stages, so that the same judgement that guards our own pulls says who holds up a foreign one. */
import { findKernelPlace } from '../flow/kernel-places.ts'
import type { KernelFacts, PipelineSample, StageFacts, Waits } from '../flow/stage.ts'
import type { HostView, PipeFill } from '../sys/host-view.ts'
import { readDescriptors, readTraffic } from '../sys/process-files.ts'
import { readProcess, readTasks, type TaskFacts, waitOfFilter } from '../sys/tasks.ts'
import type { Line } from './lines.ts'

/** What one look at a process told. */
export interface ProcessLook {
  readonly pid: number
  readonly tasks: readonly TaskFacts[]
  readonly userTicks: number
  readonly systemTicks: number
  readonly read: number
  readonly written: number
}

/** One look at a line: what `blame` takes, and what the reason is found by. */
export interface LineLook {
  readonly sample: PipelineSample
  readonly decompressor: readonly ProcessLook[]
  readonly untar: ProcessLook | undefined
  readonly engine: ProcessLook | undefined
}

/** A pipe's last page may be partly used, and takes no more then. */
const page = 4096
/** A closed output holds nothing back. */
const endless = 1 << 20

/** Looks at one line again and again. Remembers only what tells whether a sleeper in the kernel is still the same sleep. */
export class LineWatch {
  line: Line
  readonly looks: LineLook[] = []
  readonly #host: HostView
  readonly #sleeps = { feed: new SleepCount(), relay: new SleepCount(), unpack: new SleepCount() }

  constructor(host: HostView, line: Line) {
    this.#host = host
    this.line = line
  }

  /** The same processes, seen again: their pipes may have been closed meanwhile. */
  update(line: Line): void {
    this.line = line
  }

  /** @returns false if the line is no more: its processes have ended */
  look(): boolean {
    const { decompressor, untar, engine } = this.line
    const filters = decompressor.map(({ pid }) => lookAt(this.#host, pid)).filter(look => look !== undefined)
    if (filters.length < decompressor.length) return false
    const unpacker = untar === undefined ? undefined : lookAt(this.#host, untar.pid)
    if (untar !== undefined && unpacker === undefined) return false
    const owner = lookAt(this.#host, engine.process.pid)
    const sample = { timeMs: this.#host.elapsed(), stages: this.#stages(filters, unpacker, owner) }
    this.looks.push({ sample, decompressor: filters, untar: unpacker, engine: owner })
    return true
  }

  #stages(
    filters: readonly ProcessLook[],
    unpacker: ProcessLook | undefined,
    owner: ProcessLook | undefined,
  ): StageFacts[] {
    const { stdin, stdout, untarStdin, isFed } = this.line
    const into = stdin === undefined ? undefined : this.#host.pipeFill(stdin.path)
    const from = stdout === undefined ? undefined : this.#host.pipeFill(stdout.path)
    const last = untarStdin === undefined ? undefined : this.#host.pipeFill(untarStdin.path)
    const stages: StageFacts[] = []
    const [filter] = filters
    const read = sum(filters, 'read')
    const written = sum(filters, 'written')
    if (filter !== undefined) {
      const tasks = filters.flatMap(({ tasks }) => tasks)
      const isUnknown = into === undefined || (from === undefined && stdout !== undefined)
      const waits = waitOfDecompressor(tasks) ?? (isUnknown && isOccupied(tasks) ? 'itself' : undefined)
      if (isFed) stages.push(this.#feed(waits, read, into, owner))
      stages.push(this.#decompress(tasks, { waits, into, from, read, written }))
    }
    if (unpacker !== undefined) {
      if (filter !== undefined) stages.push(this.#relay(written, unpacker.read, { from, last }, owner))
      stages.push(this.#unpack(unpacker, filter === undefined, last))
    } else if (filter !== undefined) stages.push(this.#unpackInside(written, from, owner))
    return stages
  }

  /** The engine hands it the compressed bytes. Where nobody asks for them it owes none. */
  #feed(
    waits: Waits | undefined,
    read: number,
    into: PipeFill | undefined,
    owner: ProcessLook | undefined,
  ): StageFacts {
    const bytes = read + (into?.bytes ?? 0)
    const own = { bytesIn: bytes, bytesOut: bytes, item: 'the bytes of the layer' }
    const wanted: Waits = waits === 'input' ? 'input' : 'nobody'
    return { name: this.#engineName('feeds'), kind: 'source', ...own, waits: wanted, ...this.#task('feed', owner) }
  }

  #decompress(
    tasks: readonly TaskFacts[],
    facts: {
      readonly waits: Waits | undefined
      readonly into: PipeFill | undefined
      readonly from: PipeFill | undefined
      readonly read: number
      readonly written: number
    },
  ): StageFacts {
    const { waits, into, from, read, written } = facts
    const { program, decompressor, stdout, isFed } = this.line
    return {
      name: program,
      kind: 'decompress',
      item: `process ${decompressor[0]?.pid}`,
      bytesIn: read,
      bytesOut: written,
      units: 0,
      waits,
      inputBytes: into?.bytes,
      inputEnded: !isFed,
      ...roomIn(stdout === undefined ? { bytes: 0, size: endless } : from),
      task: kernelFacts(worstTask(tasks)),
    }
  }

  /** dockerd takes what the decompressor gives, and hands it to a process that unpacks. */
  #relay(
    written: number,
    read: number,
    { from, last }: { readonly from: PipeFill | undefined; readonly last: PipeFill | undefined },
    owner: ProcessLook | undefined,
  ): StageFacts {
    return {
      name: this.#engineName('passes on'),
      kind: 'process',
      bytesIn: written - (from?.bytes ?? 0),
      bytesOut: read + (last?.bytes ?? 0),
      inputBytes: from?.bytes,
      ...roomIn(last),
      ...this.#task('relay', owner),
    }
  }

  #unpack(unpacker: ProcessLook, isAlone: boolean, last: PipeFill | undefined): StageFacts {
    const { pid, tasks, read, written } = unpacker
    const waits = isAlone ? undefined : waitOfFilter(tasks)
    const entry = currentEntry(this.#host, pid, this.line.engine.process.pid)
    const own = { bytesIn: read, bytesOut: written, waits: waits === 'output' ? undefined : waits, item: entry }
    const name = `untar (process ${pid})`
    const input = { inputBytes: last?.bytes, inputEnded: !this.line.isUntarFed }
    return { name, kind: 'unpack', ...own, ...input, ...this.#task('unpack', unpacker) }
  }

  #unpackInside(written: number, from: PipeFill | undefined, owner: ProcessLook | undefined): StageFacts {
    const bytes = written - (from?.bytes ?? 0)
    const own = { bytesIn: bytes, bytesOut: 0, inputBytes: from?.bytes }
    return { name: this.#engineName('unpacks'), kind: 'unpack', ...own, ...this.#task('unpack', owner) }
  }

  #engineName(does: string): string {
    const { kind, process } = this.line.engine
    return `${kind} ${process.pid} (${does})`
  }

  #task(stage: 'feed' | 'relay' | 'unpack', look: ProcessLook | undefined): Pick<StageFacts, 'task' | 'units'> {
    if (look === undefined) return { units: 0 }
    const { task, units } = this.#sleeps[stage].count(look)
    return { task, units: stage === 'unpack' ? units : 0 }
  }
}

/**
 * The task of a process that tells most, and a count that moves as long as a sleeper in the kernel is not always in the same sleep: a slow disk
 * lets it go from one file to the next, a dead one does not.
 */
export class SleepCount {
  #tid: number | undefined
  #switches: number | undefined
  #units = 0

  count({ tasks }: ProcessLook): { readonly task: KernelFacts | undefined; readonly units: number } {
    const task = tasks.find(({ tid, state }) => state === 'D' && tid === this.#tid) ?? worstTask(tasks)
    const isSame = this.#tid === task?.tid && this.#switches === task?.switches
    if (task?.state === 'D' && !isSame) this.#units++
    this.#tid = task?.tid
    this.#switches = task?.switches
    return { units: this.#units, task: task === undefined || !tells(task) ? undefined : kernelFacts(task) }
  }
}

/** A task of many that is stopped or asleep out of reach says something of all; one that sleeps as threads do says nothing. */
function tells({ state }: TaskFacts): boolean {
  return /[DTt]/.test(state)
}

/** A running thread is at work, whatever others wait for: its input and output are its own matter. */
function waitOfDecompressor(tasks: readonly TaskFacts[]): Waits | undefined {
  const waits = waitOfFilter(tasks)
  return waits === undefined && tasks.some(({ state }) => state === 'R') ? 'itself' : waits
}

/** Calls in which nobody waits for a pipe. */
const elsewhere: ReadonlySet<string> = new Set(
  'futex nanosleep clock_nanosleep wait4 waitid pause rt_sigsuspend'.split(' '),
)

/** Where nobody tells what is in its pipes: all its threads are seen to be somewhere else, or stopped. */
function isOccupied(tasks: readonly TaskFacts[]): boolean {
  const isOne = ({ state, syscall }: TaskFacts) => /[Tt]/.test(state) || elsewhere.has(syscall ?? '')
  return tasks.length > 0 && tasks.every(isOne)
}

function roomIn(fill: PipeFill | undefined): Pick<StageFacts, 'outputRoom' | 'outputNeeded'> {
  return fill === undefined ? {} : { outputRoom: fill.size - fill.bytes, outputNeeded: page }
}

/** Looks at all threads of a process; undefined if it is gone. */
export function lookAt(host: HostView, pid: number): ProcessLook | undefined {
  const process = readProcess(pid, host)
  if (process === undefined || process.state === 'Z') return undefined
  const traffic = readTraffic(host, pid)
  return {
    pid,
    tasks: readTasks(pid, host),
    userTicks: process.userTicks,
    systemTicks: process.systemTicks,
    read: traffic?.read ?? 0,
    written: traffic?.written ?? 0,
  }
}

const order = 'TtDRS'

/** Of those that the kernel holds, one in a place that tells something: the others may only wait for it. */
function worstTask(tasks: readonly TaskFacts[]): TaskFacts | undefined {
  const isTelling = ({ state, wchan }: TaskFacts) => state === 'D' && findKernelPlace(wchan) !== undefined
  const rank = (task: TaskFacts) =>
    ((order.indexOf(task.state) + order.length + 1) % (order.length + 1)) - (isTelling(task) ? 0.5 : 0)
  return [...tasks].sort((a, b) => rank(a) - rank(b))[0]
}

function kernelFacts(task: TaskFacts | undefined): KernelFacts | undefined {
  if (task === undefined) return undefined
  const { state, wchan, syscall, cpuTicks, ioBytes } = task
  return { state, wchan, syscall, cpuTicks, ioBytes }
}

function sum(looks: readonly ProcessLook[], field: 'read' | 'written'): number {
  return looks.reduce((total, look) => total + look[field], 0)
}

/** The file that it writes: named from the root that it has put itself into. What its engine has at the same number it has inherited: a lock of the script that pulls, as flock(1) takes it. */
function currentEntry(host: HostView, pid: number, engine: number): string | undefined {
  const isFile = (target: string) => target.startsWith('/') && !target.startsWith('/dev/')
  const open = readDescriptors(host, pid).filter(({ target }) => isFile(target))
  return open.find(({ fd, target }) => host.link(`/proc/${engine}/fd/${fd}`) !== target)?.target
}
