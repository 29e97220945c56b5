/** Child processes that are fed through real pipes, watched through /proc, and killed with all their offspring. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, readFileSync } from 'node:fs'
import { type Kept, keep, markName } from './keeper.ts'
import { openPipe, PipeReader, PipeWriter } from './pipes.ts'
import { familyOf, readProgram, readTasks, type TaskFacts } from './tasks.ts'

/** Where a program finds others. */
export const programPath: readonly string[] = ['/usr/bin', '/bin']
/** Nothing is inherited: a PIGZ, GZIP, LD_PRELOAD or locale of ours must not change what the program does. */
const environment = { PATH: programPath.join(':'), LC_ALL: 'C' }
/** What is kept of a program's complaints; the rest is read and thrown away, so that a flood cannot block it. */
const stderrMax = 64 * 1024
/** A killed process is gone in milliseconds, unless it sits in the kernel (state D), where nobody can end it: then it is left behind. */
const joinMs = 2000
/** How long after its end a program's last words are waited for: they are in the pipe already. */
const lastWordsMs = 500

/** How a process ended. `error` is there if it could not be started at all. */
export interface ProcessEnd {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly error?: NodeJS.ErrnoException
}

/** What can be said of a program and its two pipes at one moment. */
export interface PipedFacts {
  readonly pid: number
  /** As `readProgram` tells; undefined if it has ended and is waited for. */
  readonly program: TaskFacts | undefined
  /** All threads, also of what it started. */
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
 * whole group with SIGKILL and waits a bounded time; nothing ever waits for grandchildren that hold a pipe. What left the group is killed soon after,
 * and all of it dies with this process, even if that is killed.
 */
export class PipedProcess implements AsyncDisposable {
  readonly stdin: PipeWriter
  readonly stdout: PipeReader
  /** Resolves when the program itself has ended, or could not be started. Never rejects. */
  readonly ended: Promise<ProcessEnd>
  readonly #child: ChildProcess
  readonly #kept: Kept
  #end: ProcessEnd | undefined
  #stderr = ''

  /** @param file absolute path; the arguments follow its name */
  constructor(file: string, args: readonly string[]) {
    const input = openPipe()
    this.#kept = keep()
    const env = { ...environment, [markName]: this.#kept.mark }
    let output: ReturnType<typeof openPipe> | undefined
    try {
      output = openPipe()
      const stdio = [input.readEnd, output.writeEnd, 'pipe'] as const
      this.#child = spawn(file, args, { cwd: '/', env, detached: true, stdio: [...stdio] })
    } catch (error) {
      this.#kept.end()
      closeSync(input.writeEnd)
      if (output !== undefined) closeSync(output.readEnd)
      throw error
    } finally {
      closeSync(input.readEnd)
      if (output !== undefined) closeSync(output.writeEnd)
    }
    if (this.pid > 0) this.#kept.started(this.pid)
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

  facts(): PipedFacts {
    const { pid } = this
    return {
      pid,
      program: pid > 0 ? readProgram(pid) : undefined,
      tasks: pid > 0 ? familyOf(pid).flatMap(member => readTasks(member)) : [],
      bytesIn: this.stdin.bytes,
      bytesOut: this.stdout.bytes,
      stdinFill: this.stdin.fill,
      stdoutFill: this.stdout.fill,
    }
  }

  /** Every file that it has mapped, and what it started has: itself, its libraries, its interpreter. */
  mappedFiles(): string[] {
    const maps = this.pid > 0 ? familyOf(this.pid).map(readMaps).join('') : ''
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
    this.#kept.end()
    this.#child.unref()
  }

  #watch(resolve: (end: ProcessEnd) => void): void {
    const { stderr } = this.#child
    const finish = (end: ProcessEnd) => {
      if (this.#end !== undefined) return
      this.#end = end
      this.kill() // while the group still bears this number for sure
      this.#kept.end()
      // What it said last may still be in the pipe; with the group gone nobody else holds that open for long.
      const said = stderr === null || stderr.closed ? Promise.resolve() : once(stderr, 'close')
      void within(
        said.catch(() => {}),
        lastWordsMs,
      ).then(() => resolve(end))
    }
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

function readMaps(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'latin1')
  } catch {
    return ''
  }
}
