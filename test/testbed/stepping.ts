/** A program under strace: stopped after each of its system calls of some kinds, so that what it has on the disk by then can be looked at. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readTask, readTasks } from '../../src/sys/tasks.ts'
import { type CommandResult, collectResult } from './command.ts'

export interface SteppingOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Names of system calls, as strace knows them. */
  readonly calls: readonly string[]
}

/** One stop; the program goes on when the next one is asked for. */
export interface Step {
  readonly number: number
  /** The call that was just made, as strace shows it. */
  readonly call: string
}

/** strace gave up what it traced, and says which of its own calls failed; nothing follows for the program. */
export class TracerFailure extends Error {
  override readonly name = 'TracerFailure'
}

/** Runs a program to its end, and calls `onStep` at each stop. If that fails, the program is killed. */
export async function stepThrough(
  command: readonly string[],
  { env, calls }: SteppingOptions,
  onStep: (step: Step) => Promise<void>,
): Promise<CommandResult> {
  const set = calls.join(',')
  const tracing = ['-f', '-y', '-qq', '-s', '0', '-o', '|cat >&3', '-e', `trace=${set}`]
  const child = spawn('strace', [...tracing, '-e', `inject=${set}:signal=SIGSTOP`, ...command], {
    env,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const result = collectResult(child)
  let program = 0
  try {
    for await (const { tid, step } of follow(child)) {
      program ||= tid
      await onStep(step)
      process.kill(tid, 'SIGCONT')
    }
    return refuseTracerFailure(await result)
  } finally {
    await endTraced(child, program)
  }
}

function refuseTracerFailure(result: CommandResult): CommandResult {
  // About once in ten thousand stops of several threads, strace 6.1 wants a thread to listen that is not in a group stop.
  const failure = /^strace: ptrace\(.*/m.exec(result.stderr)?.[0]
  if (result.status === 1 && failure !== undefined) throw new TracerFailure(failure)
  return result
}

/** Calls `body`, which begins from nothing, and once more each time that strace itself fails, which is told: three times in all. */
export async function againAfterTracerFailure<T>(
  t: Pick<TestContext, 'diagnostic'>,
  body: () => Promise<T>,
): Promise<T> {
  for (let left = 2; ; left--) {
    try {
      return await body()
    } catch (error) {
      if (left === 0 || !(error instanceof TracerFailure)) throw error
      t.diagnostic(`from the beginning again: ${error.message}`)
    }
  }
}

async function* follow(strace: ChildProcess): AsyncGenerator<{ tid: number; step: Step }> {
  const unfinished = new Map<string, string>()
  let [call, number, isGoingOn] = ['', 0, true]
  for await (const line of createInterface({ input: strace.stdio[3] as Readable })) {
    const [, tid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (text.endsWith('<unfinished ...>')) unfinished.set(tid, text.slice(0, -'<unfinished ...>'.length))
    else if (text.startsWith('<... ')) call = (unfinished.get(tid) ?? '') + text.replace(/^<.*? resumed>/, '')
    else if (!/^(---|\+\+\+) /.test(text)) call = text
    if (text.startsWith('--- SIGCONT ')) isGoingOn = true
    // Every thread stops, and strace says so for each.
    if (!isGoingOn || text !== '--- stopped by SIGSTOP ---') continue
    if (!(await haveStopped(Number(strace.pid), Number(tid)))) continue
    isGoingOn = false
    yield { tid: Number(tid), step: { number: ++number, call } }
  }
}

/**
 * Waits until all threads of a program have stopped and strace knows of each: two looks at which nothing was otherwise, since a thread that has just stopped
 * has yet to wake strace. A program that is told to go on before that makes strace fail in one of its own calls.
 * @returns false if the program has ended
 */
async function haveStopped(strace: number, program: number): Promise<boolean> {
  for (let before = -1; ; ) {
    const seen = lookAt(strace, program)
    if (seen === undefined) return false
    if (seen >= 0 && seen === before) return true
    before = seen
    await sleep(1)
  }
}

/** @returns how often strace has waited so far, -1 unless it waits and all threads have stopped; nothing if the program has ended */
function lookAt(strace: number, program: number): number | undefined {
  const threads = readTasks(program)
  if (threads.length === 0) return undefined
  const tracer = readTask(strace)
  return tracer?.state === 'S' && threads.every(({ state }) => state === 't') ? tracer.switches : -1
}

/** strace that is killed leaves what it traces, and that may be stopped. */
async function endTraced(strace: ChildProcess, program: number): Promise<void> {
  if (strace.exitCode !== null || strace.signalCode !== null) return
  const ended = once(strace, 'exit')
  if (program > 0) process.kill(program, 'SIGKILL')
  else strace.kill('SIGKILL')
  await ended
}
