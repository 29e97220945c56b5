/**
 * A process of somebody else that is held still: stopped, and all its threads traced. From the moment that its first thread is traced its number cannot be given to another
 * process. When the holder dies, the kernel lets go of the threads and the process stays stopped, as SIGSTOP left it.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { findKernelEntry, type Machine } from './exit-registers.ts'
import { PTRACE, ptrace, readRegisters, type SystemError, waitTraced, writeRegisters } from './libc.ts'
import { readProcess, threadIds } from './tasks.ts'

/** Why a process cannot be held, or made to leave. */
export type HoldProblem = 'gone' | 'another' | 'denied' | 'in-kernel' | 'architecture'

export class HoldFailure extends Error {
  readonly problem: HoldProblem
  constructor(problem: HoldProblem, message: string, cause?: unknown) {
    super(message, { cause })
    this.problem = problem
  }
}

/** A thread obeys SIGSTOP within milliseconds unless the kernel holds it. */
const stopMs = 5000
/** A thread that exits is gone at once, unless the kernel holds it. */
const leaveMs = 10_000
/** NT_PRSTATUS: the general registers. */
const generalRegisters = 1
const vdsoMax = 1 << 20
/** PTRACE_EVENT_STOP: a traced thread stands because its process was stopped. */
const eventStop = 128

export class HeldProcess implements Disposable {
  readonly pid: number
  /** Somebody had stopped it before: when it is let go, it stays so. */
  readonly wasStopped: boolean
  readonly #threads = new Set<number>()
  readonly #standing = new Set<number>()
  #isOver = false
  #wasToldToStop = false
  #staysStopped = false

  private constructor(pid: number, wasStopped: boolean) {
    this.pid = pid
    this.wasStopped = wasStopped
  }

  /**
   * @param startTicks what `readProcess` said of the process that is meant
   * @param isLeftStopped it was stopped by a holder that died: nobody else wants it so
   * @throws HoldFailure nothing is changed then
   */
  static async hold(pid: number, startTicks: number, isLeftStopped = false): Promise<HeldProcess> {
    const before = readProcess(pid)
    const held = new HeldProcess(pid, !isLeftStopped && /[Tt]/.test(before?.state ?? ''))
    try {
      held.#seize(pid)
      const now = readProcess(pid)
      if (now?.startTicks !== startTicks)
        throw new HoldFailure('another', `process ${pid} is another one than the one that was looked at`)
      held.#wasToldToStop = true
      process.kill(pid, 'SIGSTOP')
      await held.#allStopped()
      return held
    } catch (error) {
      held[Symbol.dispose]()
      await letGoInTime(held.#threads)
      throw error
    }
  }

  /** It stays stopped when it is let go: what was done to it cannot be taken back. */
  stayStopped(): void {
    this.#staysStopped = true
  }

  /**
   * Makes sure that it can be made to leave. Changes nothing.
   * @throws HoldFailure `architecture` if it is no program of that machine, or nothing in it enters the kernel
   */
  prepareExit(machine: Machine): PreparedExit {
    const tid = [...this.#threads].find(thread => readProcess(thread)?.state !== 'Z') ?? this.pid
    const registers = Buffer.alloc(1024)
    const size = readRegisters(tid, generalRegisters, registers)
    if (size !== machine.registersSize)
      throw new HoldFailure(
        'architecture',
        `process ${this.pid} has ${size} bytes of registers, not ${machine.registersSize}`,
      )
    const address = findEntryOf(this.pid, machine)
    machine.setExit(registers, address, 0)
    return { tid, registers: registers.subarray(0, size) }
  }

  /** Makes it leave with status 0, by one thread alone; no other of its threads runs again. @returns whether it has ended in time */
  async leave({ tid, registers }: PreparedExit): Promise<boolean> {
    writeRegisters(tid, generalRegisters, registers)
    this.#staysStopped = true
    ptrace(PTRACE.CONT, tid)
    return await this.#reaped(tid)
  }

  /** Ends it with SIGKILL. @returns whether it has ended in time */
  async kill(): Promise<boolean> {
    this.#staysStopped = true
    process.kill(this.pid, 'SIGKILL')
    return await this.#reaped(undefined)
  }

  /** Lets go: it goes on as it was before, if it still is there. */
  [Symbol.dispose](): void {
    if (this.#isOver) return
    this.#isOver = true
    for (const tid of this.#threads) letGo(tid, this.#standing.has(tid))
    if (this.#wasToldToStop && !this.wasStopped && !this.#staysStopped) quietly(() => process.kill(this.pid, 'SIGCONT'))
  }

  #seize(tid: number): void {
    if (this.#threads.has(tid)) return
    if (lingering.has(tid))
      throw new HoldFailure('in-kernel', `the kernel holds thread ${tid} of process ${this.pid} since an earlier try`)
    try {
      ptrace(PTRACE.SEIZE, tid)
    } catch (error) {
      const { code } = error as SystemError
      if (code === 'ESRCH') throw new HoldFailure('gone', `process ${this.pid} has ended`, error)
      throw new HoldFailure('denied', `process ${this.pid} may not be traced: ${code}`, error)
    }
    this.#threads.add(tid)
  }

  /** Threads may start others until the last of them stands. */
  async #allStopped(): Promise<void> {
    const deadline = performance.now() + stopMs
    for (;;) {
      const tids = threadIds(this.pid)
      for (const tid of tids) this.#seizeIfThere(tid)
      if (tids.map(tid => this.#stands(tid)).every(stands => stands) && tids.length > 0) return
      if (readProcess(this.pid) === undefined) throw new HoldFailure('gone', `process ${this.pid} has ended`)
      if (performance.now() > deadline)
        throw new HoldFailure('in-kernel', `process ${this.pid} does not stop: the kernel holds a thread of it`)
      await sleep(2)
    }
  }

  #seizeIfThere(tid: number): void {
    try {
      this.#seize(tid)
    } catch (error) {
      if ((error as HoldFailure).problem !== 'gone' || tid === this.pid) throw error
    }
  }

  /**
   * SIGSTOP is shown to the tracer first, by one of the threads; passed on, it stops them all, and each reports that. So do other signals that come meanwhile:
   * they are the process's own matter.
   */
  #stands(tid: number): boolean {
    const status = waitTraced(tid)
    if (status === 'gone' || (status !== undefined && !isStop(status))) this.#threads.delete(tid)
    else if (status !== undefined && status >> 16 === eventStop) this.#standing.add(tid)
    else if (status !== undefined) quietly(() => ptrace(PTRACE.CONT, tid, (status >> 8) & 0xff))
    return this.#standing.has(tid) || !this.#threads.has(tid)
  }

  /** The parent hears of the end when the tracer has. @param only the thread that runs: what it reports on its way is passed over */
  async #reaped(only: number | undefined): Promise<boolean> {
    const deadline = performance.now() + leaveMs
    while (this.#threads.size > 0) {
      for (const tid of this.#threads) {
        const status = waitTraced(tid)
        if (status === 'gone' || (status !== undefined && !isStop(status))) this.#threads.delete(tid)
        else if (status !== undefined && tid === only) quietly(() => ptrace(PTRACE.CONT, tid))
      }
      if (performance.now() > deadline) return false
      if (this.#threads.size > 0) await sleep(2)
    }
    this.#isOver = true
    return true
  }
}

export interface PreparedExit {
  readonly tid: number
  readonly registers: Buffer
}

/** The kernel maps the same small library into every program; in it stands the instruction that we need. Nothing of the program is written to. */
function findEntryOf(pid: number, machine: Machine): bigint {
  const line = readFileSync(`/proc/${pid}/maps`, 'latin1')
    .split('\n')
    .find(line => line.endsWith('[vdso]'))
  const [, from = '0', to = '0'] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line ?? '') ?? []
  const start = BigInt(`0x${from}`)
  const code = Buffer.alloc(Math.min(Number(BigInt(`0x${to}`) - start), vdsoMax))
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  try {
    readSync(memory, code, 0, code.length, start)
  } finally {
    closeSync(memory)
  }
  const at = findKernelEntry(machine, code)
  if (at < 0) throw new HoldFailure('architecture', `process ${pid} has no place from which the kernel can be entered`)
  return start + BigInt(at)
}

/**
 * Threads that are to be let go and do not stand yet: the kernel lets a tracer go of one that stands alone, and freezes one that is traced, and that nobody waits for, at its next signal.
 * Should we die before they report, the kernel lets go of them.
 */
const lingering = new Set<number>()
let lingerTimer: NodeJS.Timeout | undefined
const lingerMs = 10
/** For all but those that the kernel holds this is long. */
const letGoMs = 2000

/** @param isStanding it has reported that it stands */
function letGo(tid: number, isStanding: boolean): void {
  if (hasBeenLetGo(tid, isStanding)) return
  quietly(() => ptrace(PTRACE.INTERRUPT, tid))
  lingering.add(tid)
  lingerTimer ??= setInterval(letGoOfLingering, lingerMs).unref()
}

function letGoOfLingering(): void {
  for (const tid of lingering) if (hasBeenLetGo(tid, false)) lingering.delete(tid)
  if (lingering.size > 0) return
  clearInterval(lingerTimer)
  lingerTimer = undefined
}

/** What it was about to be told is its own matter: a signal that has come meanwhile is passed on. */
function hasBeenLetGo(tid: number, isStanding: boolean): boolean {
  const status = waitTraced(tid)
  if (status === 'gone' || (status !== undefined && !isStop(status))) return true
  if (status === undefined && !isStanding) return false
  const signal = status === undefined || status >> 16 === eventStop ? 0 : (status >> 8) & 0xff
  try {
    ptrace(PTRACE.DETACH, tid, signal)
    return true
  } catch {
    return false // it is being ended, or goes from one stop to the next
  }
}

async function letGoInTime(tids: Iterable<number>): Promise<void> {
  const deadline = performance.now() + letGoMs
  const all = [...tids]
  while (all.some(tid => lingering.has(tid)) && performance.now() < deadline) await sleep(lingerMs)
}

/** WIFSTOPPED of wait(2). */
function isStop(status: number): boolean {
  return (status & 0xff) === 0x7f
}

function quietly(work: () => void): void {
  try {
    work()
  } catch {} // it has ended meanwhile
}
