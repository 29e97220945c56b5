/** Child processes that are fed through real pipes, watched through /proc, and killed with all their offspring. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, readdirSync, readFileSync } from 'node:fs'
import { openPipe, PipeReader, PipeWriter } from './pipes.ts'

/** Nothing is inherited: a PIGZ, GZIP, LD_PRELOAD or locale of ours must not change what the program does. */
const environment = { PATH: '/usr/bin:/bin', LC_ALL: 'C' }
/** What is kept of a program's complaints; the rest is read and thrown away, so that a flood cannot block it. */
const stderrMax = 64 * 1024
/** A killed process is gone in milliseconds, unless it sits in the kernel (state D), where nobody can end it: then it is left behind. */
const joinMs = 2000
/** Threads that are looked at for evidence. */
const tasksMax = 64

/** How a process ended. `error` is there if it could not be started at all. */
export interface ProcessEnd {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly error?: NodeJS.ErrnoException
}

/** One thread, as the kernel sees it. */
export interface TaskFacts {
  readonly tid: number
  /** State letter of proc(5): R, S, D, T, Z. */
  readonly state: string
  /** The kernel function in which it waits; empty where it runs or the kernel does not tell. */
  readonly wchan: string
}

/** What can be said of a process and its two pipes at one moment. What /proc does not tell is absent. */
export interface ProcessFacts {
  readonly pid: number
  readonly state?: string
  readonly wchan?: string
  /** Clock ticks (1/100 s) of CPU time in user mode and in the kernel, of all threads. */
  readonly userTicks?: number
  readonly systemTicks?: number
  readonly tasks: readonly TaskFacts[]
  /** What it was given, and what was read from it, in bytes. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** Bytes that wait in its two pipes. */
  readonly stdinFill: number
  readonly stdoutFill: number
}

/**
 * A program that runs with pipes as stdin and stdout, in a session and process group of its own, with a clean environment. Disposing it kills the
 * whole group with SIGKILL and waits a bounded time; nothing ever waits for grandchildren that hold a pipe.
 */
export class PipedProcess implements AsyncDisposable {
  readonly stdin: PipeWriter
  readonly stdout: PipeReader
  /** Resolves when the program itself has ended, or could not be started. Never rejects. */
  readonly ended: Promise<ProcessEnd>
  readonly #child: ChildProcess
  #end: ProcessEnd | undefined
  #stderr = ''

  /** @param file absolute path; the arguments follow its name */
  constructor(file: string, args: readonly string[]) {
    const input = openPipe()
    let output: ReturnType<typeof openPipe> | undefined
    try {
      output = openPipe()
      const stdio = [input.readEnd, output.writeEnd, 'pipe'] as const
      this.#child = spawn(file, args, { cwd: '/', env: environment, detached: true, stdio: [...stdio] })
    } catch (error) {
      closeSync(input.writeEnd)
      if (output !== undefined) closeSync(output.readEnd)
      throw error
    } finally {
      closeSync(input.readEnd)
      if (output !== undefined) closeSync(output.writeEnd)
    }
    this.stdin = new PipeWriter(input.writeEnd)
    this.stdout = new PipeReader(output.readEnd)
    this.ended = new Promise(resolve => this.#watch(resolve))
  }

  /** 0 if it could not be started. */
  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** How it ended, if it has. */
  get end(): ProcessEnd | undefined {
    return this.#end
  }

  /** The beginning of what it wrote to stderr. */
  get stderr(): string {
    return this.#stderr
  }

  facts(): ProcessFacts {
    const { pid } = this
    return {
      pid,
      ...(pid > 0 ? readProcess(pid) : {}),
      tasks: pid > 0 ? readTasks(pid) : [],
      bytesIn: this.stdin.bytes,
      bytesOut: this.stdout.bytes,
      stdinFill: this.stdin.fill,
      stdoutFill: this.stdout.fill,
    }
  }

  /** Every file that it has mapped: itself, its libraries, its interpreter. */
  mappedFiles(): string[] {
    const maps = tryRead(`/proc/${this.pid}/maps`) ?? ''
    const paths = [...maps.matchAll(/^\S+ \S+ \S+ \S+ \d+ +(\/.*)$/gm)].map(([, path]) => path ?? '')
    return [...new Set(paths)]
  }

  /** Kills the whole group. Also after the program's end: its offspring may live on. */
  kill(): void {
    if (this.pid === 0) return
    try {
      process.kill(-this.pid, 'SIGKILL')
    } catch {} // nobody is left
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#end === undefined) this.kill()
    this.stdin[Symbol.dispose]()
    this.stdout[Symbol.dispose]()
    this.#child.stderr?.destroy()
    if (await within(this.ended, joinMs)) return
    this.#child.unref()
  }

  #watch(resolve: (end: ProcessEnd) => void): void {
    const finish = (end: ProcessEnd) => {
      if (this.#end !== undefined) return
      this.#end = end
      this.kill() // while the group still bears this number for sure
      resolve(end)
    }
    const { stderr } = this.#child
    this.#child.on('exit', (status, signal) => finish({ status, signal }))
    this.#child.on('error', error => {
      if (this.#child.pid === undefined) finish({ status: null, signal: null, error })
    })
    stderr?.on('error', () => {})
    stderr?.on('data', (data: Buffer) => {
      this.#stderr += data.toString('latin1', 0, stderrMax - this.#stderr.length)
    })
  }
}

/** True if the promise settles in that time. */
export async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(resolve, ms, false)
  try {
    return await Promise.race([promise.then(() => true), late])
  } finally {
    clearTimeout(timer)
  }
}

function readProcess(pid: number): { state: string; userTicks: number; systemTicks: number; wchan: string } | object {
  const fields = statFields(tryRead(`/proc/${pid}/stat`))
  if (fields === undefined) return {}
  const [state = ''] = fields
  return { state, userTicks: Number(fields[11]), systemTicks: Number(fields[12]), wchan: readWchan(`/proc/${pid}`) }
}

function readTasks(pid: number): TaskFacts[] {
  try {
    const tids = readdirSync(`/proc/${pid}/task`).slice(0, tasksMax)
    return tids.flatMap(tid => {
      const [state] = statFields(tryRead(`/proc/${pid}/task/${tid}/stat`)) ?? []
      return state === undefined ? [] : { tid: Number(tid), state, wchan: readWchan(`/proc/${pid}/task/${tid}`) }
    })
  } catch {
    return []
  }
}

/** The fields of proc(5)'s stat from the third (state) on: the second is the name, in which anything may stand. */
function statFields(text: string | undefined): string[] | undefined {
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')
}

function readWchan(directory: string): string {
  const wchan = tryRead(`${directory}/wchan`)
  return wchan === undefined || wchan === '0' ? '' : wchan
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
