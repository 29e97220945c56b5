/**
 * The files of /proc that lie in a process's own memory: its command line and environment. The kernel takes a lock of that memory to read them, and fetches pages from
 * wherever they are; both may take for ever, in a call that nobody can end. So a thread reads them, and is left behind where it does not come back.
 */
import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { parseStat } from './tasks.ts'

/** Words of the shared head: what is going on, how long the text is, the thread's own ID. */
export const [stateAt, lengthAt, threadAt] = [0, 1, 2]
export const headBytes = 16
export const states = { starting: 0, idle: 1, asked: 2, answered: 3, refused: 4 } as const
/** Longer command lines are told in part. */
export const memoryTextMax = 1024 * 1024

/** The first that does not answer is given so long, each after it half as long. */
const firstMs = 2000
const shortestMs = 100
/** A thread that has no processor is waited for: the one that is held up is the machine. */
const patienceMs = 20_000
const lookMs = 50
/** So many threads may be left behind. */
const stuckMax = 8

/** Beside this file, as source or compiled. */
const threadUrl = new URL(
  import.meta.url.endsWith('.ts') ? './memory-text-thread.ts' : './memory-text-thread.js',
  import.meta.url,
)

/** A thread that reads, with the memory that it shares. */
interface Reader {
  readonly worker: Worker
  readonly shared: SharedArrayBuffer
}

class MemoryReader {
  /** Those that were left behind, by what they read. */
  readonly #stuck = new Map<string, Reader>()
  #reader: Reader | undefined

  /** Files that did not come, and would not now. */
  get silent(): ReadonlySet<string> {
    this.#forgetReturned()
    return new Set(this.#stuck.keys())
  }

  /** @throws Error with the code of the kernel, as readFileSync does; `EAGAIN` for what does not answer */
  read(path: string): string {
    this.#forgetReturned()
    if (this.#stuck.has(path) || this.#stuck.size >= stuckMax) throw failure('EAGAIN')
    this.#reader ??= start()
    const { shared } = this.#reader
    const words = new Int32Array(shared, 0, headBytes / 4)
    if (!wait(words, states.starting, patienceMs)) throw this.#giveUp(path, this.#reader)
    const bytes = Buffer.from(shared, headBytes)
    words[lengthAt] = bytes.write(path)
    Atomics.store(words, stateAt, states.asked)
    Atomics.notify(words, stateAt)
    const ms = Math.max(shortestMs, firstMs / 2 ** this.#stuck.size)
    if (!wait(words, states.asked, ms)) throw this.#giveUp(path, this.#reader)
    const text = bytes.toString('utf8', 0, words[lengthAt])
    const isRefused = Atomics.exchange(words, stateAt, states.idle) === states.refused
    if (isRefused) throw failure(text)
    return text
  }

  #giveUp(path: string, reader: Reader): Error {
    this.#reader = undefined
    this.#stuck.set(path, reader)
    return failure('EAGAIN')
  }

  /** A process that is let go, or ends, lets go who read its memory. */
  #forgetReturned(): void {
    for (const [path, { worker, shared }] of this.#stuck) {
      const state = Atomics.load(new Int32Array(shared, 0, 1), 0)
      if (state === states.asked || state === states.starting) continue
      this.#stuck.delete(path)
      worker.terminate().catch(() => {})
    }
  }
}

/** One for the whole program, however often it looks: what is left behind stays. */
export const memoryReader = new MemoryReader()

/** No reason for the process to stay. */
function start(): Reader {
  const shared = new SharedArrayBuffer(headBytes + memoryTextMax)
  const worker = new Worker(threadUrl, { workerData: shared, env: {} })
  worker.on('error', () => {})
  worker.unref()
  return { worker, shared }
}

/** @returns false if it is still in that state, and not because it has no processor */
function wait(words: Int32Array, state: number, ms: number): boolean {
  const start = performance.now()
  for (;;) {
    if (Atomics.wait(words, stateAt, state, lookMs) !== 'timed-out') return true
    const waited = performance.now() - start
    if (waited > patienceMs || (waited > ms && isAsleep(words[threadAt] ?? 0))) return false
  }
}

/** A thread that has not begun, or is ready to run, is not held up by what it reads. */
function isAsleep(tid: number): boolean {
  if (tid === 0) return false
  return parseStat(readFileSync(`/proc/self/task/${tid}/stat`, 'latin1'))?.state !== 'R'
}

function failure(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}
