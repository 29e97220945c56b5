/** A program under strace: stopped after each of its system calls of some kinds, so that what it has on the disk by then can be looked at. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createInterface, type Interface } from 'node:readline'
import type { Readable } from 'node:stream'
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
    for await (const { tid, step } of follow(createInterface({ input: child.stdio[3] as Readable }))) {
      program ||= tid
      await onStep(step)
      process.kill(program, 'SIGCONT')
    }
    return await result
  } finally {
    await endTraced(child, program)
  }
}

async function* follow(lines: Interface): AsyncGenerator<{ tid: number; step: Step }> {
  const unfinished = new Map<string, string>()
  let [call, number, stopped] = ['', 0, 0]
  for await (const line of lines) {
    const [, tid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (text.endsWith('<unfinished ...>')) unfinished.set(tid, text.slice(0, -'<unfinished ...>'.length))
    else if (text.startsWith('<... ')) call = (unfinished.get(tid) ?? '') + text.replace(/^<.*? resumed>/, '')
    else if (!/^(---|\+\+\+) /.test(text)) call = text
    if (text !== '--- stopped by SIGSTOP ---') continue
    // every thread stops, and strace says so for each
    if (++stopped < countThreads(tid)) continue
    stopped = 0
    yield { tid: Number(tid), step: { number: ++number, call } }
  }
}

function countThreads(tid: string): number {
  return readdirSync(`/proc/${tid}/task`).length
}

/** strace that is killed leaves what it traces, and that may be stopped. */
async function endTraced(strace: ChildProcess, program: number): Promise<void> {
  if (strace.exitCode !== null || strace.signalCode !== null) return
  const ended = once(strace, 'exit')
  if (program > 0) process.kill(program, 'SIGKILL')
  else strace.kill('SIGKILL')
  await ended
}
