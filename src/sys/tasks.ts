/**
 * What the kernel says of processes and their tasks: the one reader of /proc. It answers also for a task that cannot be reached in any other way.
 * Nothing is read here that takes the lock of a process's memory, as cmdline, environ and maps do: whoever hangs while it holds that would hold us up. A process that hangs in exec(2) may hold up
 * all but `status`, also one that we have started: what may wait for others is asked within bounds (`locked-files.ts`).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { isLocked, lockedFiles } from './locked-files.ts'
import { parseStat } from './stat-line.ts'
import { callsWithFd, nameSyscall } from './syscalls.ts'

/** A process as a whole. None of this needs any rights. */
export interface ProcessFacts {
  readonly pid: number
  readonly parent: number
  /** Process group and session. */
  readonly group: number
  readonly session: number
  /** The command's name, at most 15 bytes, and whatever the program called itself. */
  readonly name: string
  /** Of its main thread, as in `TaskFacts`. */
  readonly state: string
  readonly threads: number
  /** Of all its threads, also those that have ended, in ticks of 10 ms (USER_HZ is 100 for every program on Linux). */
  readonly userTicks: number
  readonly systemTicks: number
  /** Since the boot; with the number it makes a process unmistakable. */
  readonly startTicks: number
}

/**
 * Where a task waits for the answer of a filesystem that a program serves (fs/fuse/dev.c). A signal reaches it, and it waits on: once the program has
 * taken the request, not even a kill ends the wait.
 */
const servedWait = 'request_wait_answer'

/** True for a task that the kernel holds: state D, or one that would be held if it were killed. */
export function isHeld({ state, wchan }: Pick<TaskFacts, 'state' | 'wchan'>): boolean {
  return state === 'D' || wchan === servedWait
}

/** A field is undefined where the kernel or our rights do not give it: `wchan`, `syscall` and `ioBytes` need those of a tracer. */
export interface TaskFacts {
  readonly pid: number
  readonly tid: number
  /** The command's name, at most 15 bytes. */
  readonly name: string
  /** The letter of proc_pid_stat(5): R running, S asleep, D asleep out of reach of signals, T stopped, t traced, Z dead. */
  readonly state: string
  /** The kernel function it sleeps in. */
  readonly wchan: string | undefined
  /** The system call it is in: its name, or its number where it is none that matters here; `running` outside of one. */
  readonly syscall: string | undefined
  /** First argument of the system call as a file descriptor, for calls that take one first. */
  readonly fd: number | undefined
  /** User and system time, in ticks of 10 ms (USER_HZ is 100 for every program on Linux). */
  readonly cpuTicks: number
  /** Bytes passed to read and write calls. */
  readonly ioBytes: number | undefined
  /** Times that it gave up the processor, by itself or not. */
  readonly switches: number | undefined
  /** The task is there, but something of it is kept from us: an undefined field is then unknown, and not nothing. */
  readonly isWithheld: boolean
}

/** More threads tell nothing new. */
const tasksMax = 512

/** /proc, here and now or as it was on another host. */
export interface ProcView {
  /** As Node names it: system calls have other numbers on each. */
  readonly arch: string
  /** Undefined if it cannot be read. */
  text(path: string): string | undefined
  /** Each of many: at once where that costs less. */
  texts?(paths: readonly string[]): (string | undefined)[]
  /** Names in a directory; empty if it cannot be read. */
  names(path: string): readonly string[]
  /** Files that did not come: the kernel waits for a lock of these processes. */
  readonly silent?: ReadonlySet<string>
}

const ownFile = `/proc/${process.pid}/`

/** Facts are evidence: neither not to get them, for whatever reason, nor to wait for them may end what they are about. */
const here: ProcView = {
  arch: process.arch,
  text: path => readHere([path])[0],
  texts: readHere,
  names: path => attempt(() => readdirSync(path)) ?? [],
  get silent() {
    return lockedFiles.silent
  },
}

/** We ourselves become no other program: nobody holds up what is asked about us. */
function readHere(paths: readonly string[]): (string | undefined)[] {
  const isOther = (path: string) => isLocked(path) && !path.startsWith(ownFile)
  const asked = paths.filter(isOther)
  const answers = asked.length === 0 ? [] : lockedFiles.ask(asked.map(path => ['text', path]))
  const told = new Map(asked.map((path, at) => [path, answers[at]]))
  return paths.map(path => {
    const answer = told.get(path) ?? attempt(() => readFileSync(path, 'utf8'))
    return typeof answer === 'string' ? answer : undefined
  })
}

/**
 * Reads a process. Waits for it for moments at most.
 * @returns undefined if there is no such process (any more)
 */
export function readProcess(pid: number, proc: ProcView = here): ProcessFacts | undefined {
  return parseProcess(pid, proc.text(`/proc/${pid}/stat`)) ?? readHeldProcess(pid, proc)
}

/** The same of many. */
export function readProcesses(pids: readonly number[], proc: ProcView): ProcessFacts[] {
  const stats = readAll(
    pids.map(pid => `/proc/${pid}/stat`),
    proc,
  )
  return pids
    .map((pid, at) => parseProcess(pid, stats[at]) ?? readHeldProcess(pid, proc))
    .filter(found => found !== undefined)
}

function parseProcess(pid: number, text: string | undefined): ProcessFacts | undefined {
  const stat = parseStat(text)
  if (stat === undefined) return undefined
  const { name, state, field } = stat
  return {
    pid,
    parent: field(4),
    group: field(5),
    session: field(6),
    name,
    state,
    threads: field(20),
    userTicks: field(14),
    systemTicks: field(15),
    startTicks: field(22),
  }
}

/** `status` wants no lock (proc_pid_status(5)): what does not answer is there, and what it has used and since when it is there, is not known. */
function readHeldProcess(pid: number, proc: ProcView): ProcessFacts | undefined {
  if (proc.silent?.has(`/proc/${pid}/stat`) !== true) return undefined
  const status = proc.text(`/proc/${pid}/status`)
  const [, name] = /^Name:\t(.*)$/m.exec(status ?? '') ?? []
  if (name === undefined) return undefined
  const field = (title: string) => new RegExp(`^${title}:\\t(\\w+)`, 'm').exec(status ?? '')?.[1]
  const number = (title: string) => Number(field(title) ?? 0)
  return {
    pid,
    parent: number('PPid'),
    group: number('NSpgid'),
    session: number('NSsid'),
    name,
    state: field('State') ?? '?',
    threads: number('Threads'),
    userTicks: 0,
    systemTicks: 0,
    startTicks: 0,
  }
}

function readAll(paths: readonly string[], proc: ProcView): (string | undefined)[] {
  return proc.texts?.(paths) ?? paths.map(path => proc.text(path))
}

/**
 * Reads one task; the main thread of the process if no thread is named. Waits for the task for moments at most.
 * @returns undefined if there is no such task (any more)
 */
export function readTask(pid: number, tid: number = pid, proc: ProcView = here): TaskFacts | undefined {
  return readSomeTasks(pid, [tid], proc)[0]
}

const taskFiles = ['stat', 'syscall', 'io', 'wchan', 'status'] as const

function readSomeTasks(pid: number, tids: readonly number[], proc: ProcView): TaskFacts[] {
  const paths = tids.flatMap(tid => taskFiles.map(file => `/proc/${pid}/task/${tid}/${file}`))
  const texts = readAll(paths, proc)
  return tids.flatMap((tid, at) => {
    const own = texts.slice(at * taskFiles.length, (at + 1) * taskFiles.length)
    return parseTask(pid, tid, own, proc) ?? []
  })
}

function parseTask(
  pid: number,
  tid: number,
  [statText, syscall, io, wchan, status]: readonly (string | undefined)[],
  proc: ProcView,
): TaskFacts | undefined {
  const stat = parseStat(statText)
  if (stat === undefined) return undefined
  const { name, state, field } = stat
  const isWithheld = syscall === undefined || io === undefined
  if (isWithheld && proc.text(`/proc/${pid}/task/${tid}/stat`) === undefined) return undefined // gone meanwhile
  return {
    pid,
    tid,
    name,
    state,
    cpuTicks: field(14) + field(15),
    wchan: parseWchan(wchan),
    ...parseSyscall(syscall, proc.arch),
    ioBytes: sumOfLines(io, /^[rw]char: (\d+)$/gm),
    switches: sumOfLines(status, /^(?:non)?voluntary_ctxt_switches:\t(\d+)$/gm),
    isWithheld,
  }
}

/** The threads of a process; empty if it is gone. */
export function threadIds(pid: number, proc: ProcView = here): number[] {
  return proc.names(`/proc/${pid}/task`).map(Number)
}

/** Every thread of a process that could be read, of very many the first ones. */
export function readTasks(pid: number, proc: ProcView = here): TaskFacts[] {
  return readSomeTasks(pid, threadIds(pid, proc).slice(0, tasksMax), proc)
}

/** Whether a process was sent a signal that it has not taken yet, or that it died of (until it is reaped): `ShdPnd` of proc_pid_status(5). */
export function hasPending(pid: number, signal: number, proc: ProcView = here): boolean {
  const [, mask = '0'] = /^ShdPnd:\t(\w+)$/m.exec(proc.text(`/proc/${pid}/status`) ?? '') ?? []
  return (BigInt(`0x${mask}`) >> BigInt(signal - 1)) % 2n === 1n
}

/** A wrapper and what it starts; more is no decompressor. */
const familyMax = 64

/** The process and all that descends from it, parents first, as far as the kernel lists children (CONFIG_PROC_CHILDREN). */
export function familyOf(pid: number): number[] {
  const family = [pid]
  for (const member of family) {
    if (family.length >= familyMax) break
    const lists = threadIds(member).map(tid => here.text(`/proc/${member}/task/${tid}/children`) ?? '')
    family.push(...lists.join(' ').split(' ').filter(Boolean).map(Number))
  }
  return family.slice(0, familyMax)
}

/**
 * A program as one task: that of its threads, and of the processes that it started, which tells most (the one that the kernel holds, that was
 * stopped, that runs), with the processor time of all.
 */
export function readProgram(pid: number): TaskFacts | undefined {
  const family = familyOf(pid)
  const tasks = family.flatMap(member => readTasks(member))
  const processes = family.map(member => readProcess(member)).filter(member => member !== undefined)
  const telling = ['D', 'T', 't', 'R'].map(wanted => tasks.find(({ state }) => state === wanted))
  const task = telling.find(found => found !== undefined) ?? tasks.find(({ pid }) => pid === family.at(-1))
  const cpuTicks = processes.reduce((sum, { userTicks, systemTicks }) => sum + userTicks + systemTicks, 0)
  return task && { ...task, cpuTicks }
}

/**
 * What a thread of ours that reads a ring in shared memory waits for: asleep in futex it waits for the ring, in any other call for that
 * call's own end.
 */
export function waitOfRingReader({ state, syscall }: TaskFacts): 'input' | 'itself' | undefined {
  if (state === 'D' || state === 'R') return 'itself'
  if (syscall === undefined) return undefined
  return syscall === 'futex' ? 'input' : 'itself'
}

/**
 * What a program between two pipes waits for, from all its threads: one that sleeps in a write to its output says `output`; one that
 * sleeps in a read of its input says `input`, if no other thread is at work. Undefined where that does not tell: all asleep on each
 * other (which may be a deadlock), or no right to see.
 */
export function waitOfFilter(tasks: readonly TaskFacts[]): 'input' | 'output' | undefined {
  if (tasks.some(({ state }) => state === 'T' || state === 't')) return undefined
  if (tasks.some(task => isAsleepIn(task, 'write', 1))) return 'output'
  if (tasks.some(({ state }) => state === 'R' || state === 'D')) return undefined
  return tasks.some(task => isAsleepIn(task, 'read', 0)) ? 'input' : undefined
}

function isAsleepIn({ state, syscall, fd }: TaskFacts, name: string, wanted: number): boolean {
  return state === 'S' && syscall === name && fd === wanted
}

// A task that does not sleep, or a reader without rights, reads "0".
function parseWchan(text: string | undefined): string | undefined {
  const name = text?.trim()
  return name === undefined || name === '' || name === '0' ? undefined : name
}

function parseSyscall(text: string | undefined, arch: string): Pick<TaskFacts, 'syscall' | 'fd'> {
  const [number, first] = text?.trim().split(' ') ?? []
  if (number === undefined || number === '') return { syscall: undefined, fd: undefined }
  // -1: blocked, but not in a system call (a page fault)
  if (number === 'running' || number === '-1') return { syscall: number === '-1' ? 'none' : number, fd: undefined }
  const syscall = nameSyscall(number, arch)
  return { syscall, fd: callsWithFd.has(syscall) ? Number(first) : undefined }
}

function sumOfLines(text: string | undefined, pattern: RegExp): number | undefined {
  const found = [...(text?.matchAll(pattern) ?? [])]
  return found.length === 0 ? undefined : found.reduce((sum, [, value]) => sum + Number(value), 0)
}

function attempt<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch {
    return undefined
  }
}
