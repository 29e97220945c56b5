/**
 * What of /proc the kernel tells only with a lock of the process: that of its memory, from which it also fetches pages wherever they are, or the one that exec(2) holds while the program is
 * exchanged. Whoever has the lock may hang with it, and then whoever asks hangs, too, in a call that nobody here can end. So a thread asks, and is left behind where it does not come back.
 */
import { closeSync, constants, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { Worker } from 'node:worker_threads'
import { openForeignPipe } from './open-foreign-pipe.ts'
import { parseStat } from './stat-line.ts'
import { startThread } from './thread.ts'

/** How a path is asked: what it has in it, where it leads, the names in it, or a descriptor of the pipe that it leads to, opened for reading and without waiting. */
export type Question = readonly [kind: 'text' | 'link' | 'names' | 'open', path: string]

/** Words of the shared head: what is going on, how many questions are answered, the thread's own ID, how long the questions are. */
export const [stateAt, doneAt, threadAt, lengthAt] = [0, 1, 2, 3]
export const headBytes = 16
export const states = { starting: 0, idle: 1, asked: 2, answered: 3 } as const
/** Before each answer: whether it is one (or the code of an error), and its length. */
export const answerHeadBytes = 8
/** Longer command lines are told in part. */
export const answersMax = 1024 * 1024

/** So many at a time; none of their answers is cut for those before it. */
const questionsMax = 1000
/** The first that does not answer is given so long, each after it half as long. */
const firstMs = 2000
const shortestMs = 100
/** A thread that has no processor is waited for: the one that is held up is the machine. */
const patienceMs = 20_000
const lookMs = 50
/** So many threads may be left behind. */
const stuckMax = 24

/** Beside this file, as source or compiled. */
const threadUrl = new URL(
  import.meta.url.endsWith('.ts') ? './locked-files-thread.ts' : './locked-files-thread.js',
  import.meta.url,
)

const [memory, exec, access] = ['memory', 'exec', 'access'] as const
/**
 * The locks that a file wants (fs/proc/base.c). `get_mm_cmdline` reads the memory. `do_io_accounting` and `lock_trace` take the lock of exec: before Linux 5.9 that is `cred_guard_mutex`, held for all of
 * an exec, also while the program comes from a dead disk; later ones are held while descriptors are closed (`begin_new_exec`), which a filesystem may hold up. `mm_access`, for the environment, wants both.
 * Kernels since 2026 take the lock of exec wherever they ask whether we may look (`access`): for stat, wchan and all links, too.
 */
const locksOf: Readonly<Record<string, readonly string[]>> = {
  cmdline: [memory],
  environ: [access, exec, memory],
  io: [access, exec],
  syscall: [access, exec],
  stack: [access, exec],
}
const lockedFile =
  /^\/proc\/(\d+)\/(?:task\/\d+\/)?(cmdline|environ|io|syscall|stack|stat|wchan|exe|root|cwd|fd|fd\/\d+|ns\/\w+)$/

/** Whether the kernel may take such a lock for it. */
export function isLocked(path: string): boolean {
  return lockedFile.test(path)
}

/** Whether a file wants all the locks that another one of the same process wants. */
function wantsLocksOf(path: string, other: string): boolean {
  const [locks, others] = [path, other].map(named => locksOf[lockedFile.exec(named)?.[2] ?? ''] ?? [access])
  return others?.every(lock => locks?.includes(lock)) === true
}

function processOf(path: string): string {
  return lockedFile.exec(path)?.[1] ?? ''
}

/** A thread that asks, with the memory that it shares. */
interface Asker {
  readonly worker: Worker
  readonly shared: SharedArrayBuffer
  /** What it was asked last. */
  questions: readonly Question[]
  /** It did not begin in time. Nobody waits for it any more: its file may be gone. */
  isLate: boolean
}

export class LockedFiles {
  readonly #threadUrl: URL
  readonly #startMs: number
  /** By process, those that were left behind, by what they ask, and by what else would not be told now. */
  readonly #stuck = new Map<string, Map<string, Asker>>()
  #asker: Asker | undefined

  constructor(url = threadUrl, startMs = patienceMs) {
    this.#threadUrl = url
    this.#startMs = startMs
  }

  /** Files that did not come, and would not now. */
  get silent(): ReadonlySet<string> {
    this.#forgetReturned()
    return new Set([...this.#stuck.values()].flatMap(paths => [...paths.keys()]))
  }

  /** @returns for each question its answer, or an error with the code of the kernel; `EAGAIN` for what does not answer */
  ask(questions: readonly Question[]): (string | NodeJS.ErrnoException)[] {
    this.#forgetReturned()
    const answers: (string | NodeJS.ErrnoException)[] = []
    while (answers.length < questions.length) {
      const [first] = questions.slice(answers.length, answers.length + 1)
      if (first !== undefined && this.#isHopeless(first)) answers.push(failure('EAGAIN'))
      else answers.push(...this.#askSome(this.#untilHopeless(questions, answers.length)))
    }
    return answers
  }

  /** As many as can be asked together. */
  #untilHopeless(questions: readonly Question[], from: number): readonly Question[] {
    const some = questions.slice(from, from + questionsMax)
    const end = this.#stuck.size === 0 ? -1 : some.findIndex(question => this.#isHopeless(question))
    return end < 0 ? some : some.slice(0, end)
  }

  /** Another file of that process does not come, for a lock that this one wants, too. */
  #isHopeless([, path]: Question): boolean {
    if (this.#stuck.size === 0) return false
    const paths = this.#stuck.get(processOf(path))
    const behind = [...(paths ?? [])].find(([other]) => wantsLocksOf(path, other))
    if (behind !== undefined) paths?.set(path, behind[1])
    return behind !== undefined || this.#stuckThreads >= stuckMax
  }

  /** @returns the answers to the first of these questions, one at least */
  #askSome(questions: readonly Question[]): (string | NodeJS.ErrnoException)[] {
    const asker = this.#readyAsker()
    // A machine that has no thread to spare: nobody is to be accused for that.
    if (asker === undefined) return questions.map(askHere)
    const { shared } = asker
    const words = new Int32Array(shared, 0, headBytes / 4)
    const bytes = Buffer.from(shared, headBytes)
    asker.questions = questions
    words[lengthAt] = bytes.write(JSON.stringify(questions))
    words[doneAt] = 0
    Atomics.store(words, stateAt, states.asked)
    Atomics.notify(words, stateAt)
    const isAnswered = waitWhile(words, states.asked, Math.max(shortestMs, firstMs / 2 ** this.#stuckThreads))
    const answers = readAnswers(bytes, Atomics.load(words, doneAt))
    if (!isAnswered && answers.length < questions.length)
      return [...answers, this.#leaveBehind(questions[answers.length])]
    // It came in the last moment, and has not said yet that it is done: its word would be taken for that of the next time.
    if (!isAnswered) {
      this.#asker = undefined
      asker.worker.terminate().catch(() => {})
      return answers
    }
    Atomics.store(words, stateAt, states.idle)
    return answers
  }

  #readyAsker(): Asker | undefined {
    try {
      this.#asker ??= start(this.#threadUrl)
      const asker = this.#asker
      const words = new Int32Array(asker.shared, 0, headBytes / 4)
      if (asker.isLate) return Atomics.load(words, stateAt) === states.starting ? undefined : asker
      asker.isLate = !waitWhile(words, states.starting, this.#startMs, this.#startMs)
      return asker.isLate ? undefined : asker
    } catch {
      return undefined
    }
  }

  get #stuckThreads(): number {
    return new Set([...this.#stuck.values()].flatMap(paths => [...paths.values()])).size
  }

  #leaveBehind(question: Question | undefined): Error {
    if (question !== undefined && this.#asker !== undefined) {
      const [, path] = question
      const paths = this.#stuck.get(processOf(path)) ?? new Map()
      this.#stuck.set(processOf(path), paths.set(path, this.#asker))
    }
    this.#asker = undefined
    return failure('EAGAIN')
  }

  /** A process that is let go, or ends, lets go who asked about it. */
  #forgetReturned(): void {
    for (const [pid, paths] of this.#stuck) {
      for (const [path, asker] of paths) {
        if (Atomics.load(new Int32Array(asker.shared, 0, 1), 0) === states.asked) continue
        paths.delete(path)
        retire(asker)
      }
      if (paths.size === 0) this.#stuck.delete(pid)
    }
  }
}

/** One for the whole program, however often it looks: what is left behind stays. */
export const lockedFiles = new LockedFiles()

/** No reason for the process to stay. What it opens is for others to close. */
function start(url: URL): Asker {
  const shared = new SharedArrayBuffer(headBytes + answersMax)
  const worker = startThread(url, { workerData: shared, trackUnmanagedFds: false })
  worker.on('error', () => {})
  // Nobody holds it any more.
  const words = new Int32Array(shared, 0, headBytes / 4)
  worker.on('exit', () => Atomics.compareExchange(words, stateAt, states.asked, states.idle))
  worker.unref()
  return { worker, shared, questions: [], isLate: false }
}

/** What it has opened at last nobody wants any more: one more reader of a pipe would keep its writer from hearing that the others are gone. */
function retire({ worker, shared, questions }: Asker): void {
  const words = new Int32Array(shared, 0, headBytes / 4)
  if (Atomics.exchange(words, stateAt, states.idle) === states.answered) {
    const answers = readAnswers(Buffer.from(shared, headBytes), Atomics.load(words, doneAt))
    for (const [at, answer] of answers.entries())
      if (questions[at]?.[0] === 'open' && typeof answer === 'string') closeSync(Number(answer))
  }
  worker.terminate().catch(() => {})
}

function askHere([kind, path]: Question): string | NodeJS.ErrnoException {
  try {
    if (kind === 'text') return readFileSync(path, 'utf8')
    if (kind === 'link') return readlinkSync(path)
    if (kind === 'names') return readdirSync(path).join('\n')
    return String(openForeignPipe(path, constants.O_RDONLY | constants.O_NONBLOCK))
  } catch (error) {
    return error as NodeJS.ErrnoException
  }
}

function readAnswers(bytes: Buffer, count: number): (string | NodeJS.ErrnoException)[] {
  const answers: (string | NodeJS.ErrnoException)[] = []
  for (let at = 0; answers.length < count; ) {
    const [isRefused, length] = [bytes.readInt32LE(at), bytes.readInt32LE(at + 4)]
    at += answerHeadBytes
    const text = bytes.toString('utf8', at, at + length)
    answers.push(isRefused === 0 ? text : failure(text))
    at += length
  }
  return answers
}

/** @returns false if it is still in that state, and goes on with nothing, and not because it has no processor */
function waitWhile(words: Int32Array, state: number, ms: number, mostMs = patienceMs): boolean {
  let [start, done] = [performance.now(), 0]
  for (;;) {
    Atomics.wait(words, stateAt, state, lookMs)
    // Whoever is woken may be so by what was said before: that was heard already, when it was not yet called out.
    if (Atomics.load(words, stateAt) !== state) return true
    const doneNow = Atomics.load(words, doneAt)
    if (state === states.asked && doneNow !== done) [start, done] = [performance.now(), doneNow]
    const waited = performance.now() - start
    if (waited > mostMs || (waited > ms && isAsleep(words[threadAt] ?? 0))) return false
  }
}

/** A thread that has not begun, or is ready to run, is not held up by what it asks. One that has ended is not waited for. */
function isAsleep(tid: number): boolean {
  if (tid === 0) return false
  try {
    return parseStat(readFileSync(`/proc/self/task/${tid}/stat`, 'latin1'))?.state !== 'R'
  } catch {
    return true
  }
}

function failure(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}
