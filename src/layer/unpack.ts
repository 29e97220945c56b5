import { closeSync, open } from 'node:fs'
import { access } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Worker } from 'node:worker_threads'
import { WindlassError } from '../errors.ts'
import { createRing, RingAborted, RingWriter } from '../flow/ring.ts'
import { O } from '../sys/libc.ts'
import { startThread } from '../sys/thread.ts'
import { defaultTarLimits, type TarLimits } from '../tar/entry.ts'
import type { AppliedLayer, UnpackMode } from './apply.ts'
import { Beat, createBeat } from './beat.ts'
import type { UnpackAnswer, UnpackOrder } from './unpack-messages.ts'

/** Room between decompressor and unpack thread: enough to ride out a burst of small files, and for the largest PAX header in half of it. */
const RING_BYTES = 2 * 1024 * 1024

/** Heap of an unpack thread: half a million directories of a layer fit. */
const HEAP_MIB_MAX = 512

/** How long a thread may take to leave its system call. */
const joinMs = 2_000

export interface UnpackOptions {
  /** An existing directory: the thread's root. */
  readonly directory: string
  readonly mode: UnpackMode
  readonly limits?: TarLimits
  /** Where the thread comes from; it has one of its own if absent. */
  readonly threads?: UnpackThreads | undefined
  /** Told when the thread has failed: what it waits for need not be brought any more. `write` and `end` throw why. */
  readonly onFailed?: () => void
  /** Ends the unpack at once, also while the thread sits in a system call. */
  readonly signal: AbortSignal
}

/**
 * Threads that unpack. They are kept from one layer to the next: to start one costs as much as a few thousand files. Disposing ends those that
 * rest, and the others when they are given back. As long as one has not ended, its last directory is its root, and the filesystem of that cannot be
 * unmounted: whoever disposes with `await` has waited for that, too, for two seconds at most.
 */
export class UnpackThreads implements Disposable, AsyncDisposable {
  readonly #heapMiBMax: number
  readonly #alive = new Set<Worker>()
  readonly #resting: Worker[] = []
  #isDisposed = false

  /** @param heapMiBMax of each thread, which holds what it must know of directories to the end */
  constructor(heapMiBMax: number = HEAP_MIB_MAX) {
    this.#heapMiBMax = heapMiBMax
  }

  /** Starts one ahead of its first order, unless one rests. */
  async prepare(): Promise<void> {
    await startPool()
    if (this.#resting.length === 0) this.give(this.#start())
  }

  take(): Worker {
    const worker = this.#resting.pop() ?? this.#start()
    worker.ref()
    return worker
  }

  /** Takes back one that has answered. */
  give(worker: Worker): void {
    worker.unref()
    if (this.#isDisposed) worker.postMessage(undefined)
    else this.#resting.push(worker)
  }

  #start(): Worker {
    // The young generation is kept small, since entries die at once.
    const limits = { maxOldGenerationSizeMb: this.#heapMiBMax, maxYoungGenerationSizeMb: 4 }
    const worker = startThread(threadUrl, { resourceLimits: limits })
    // One that dies while it rests is not needed; its error must not end the process.
    worker.on('error', () => {})
    this.#alive.add(worker)
    worker.once('exit', () => {
      this.#alive.delete(worker)
      const at = this.#resting.indexOf(worker)
      if (at >= 0) this.#resting.splice(at, 1)
    })
    return worker
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true
    for (const worker of this.#resting.splice(0)) worker.postMessage(undefined)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]()
    const impatience = new AbortController()
    const ends = Promise.all([...this.#alive].map(worker => new Promise(resolve => worker.once('exit', resolve))))
    await Promise.race([ends, sleep(joinMs, undefined, { signal: impatience.signal }).catch(() => {})])
    impatience.abort()
  }
}

/** Every thread of libuv's pool is started first, by the main thread: a thread inherits the root of the one that starts it. */
async function startPool(): Promise<void> {
  await access('/')
}

const openFile = promisify(open)

/**
 * Starts an unpack.
 * @throws Node's error if the directory cannot be opened
 */
export async function openUnpack(options: UnpackOptions): Promise<Unpack> {
  options.signal.throwIfAborted()
  await startPool()
  options.signal.throwIfAborted()
  return new Unpack(options, await openFile(options.directory, O.PATH | O.DIRECTORY))
}

/**
 * Unpacks one layer in a thread. Write the tar's bytes, then `end()`. Dispose takes the thread from it: what was unpacked so far is left in
 * the directory, which the caller owns.
 */
export class Unpack implements AsyncDisposable {
  readonly #threads: UnpackThreads
  readonly #ownsThreads: boolean
  readonly #worker: Worker
  readonly #writer: RingWriter
  readonly #beat: Beat
  readonly #answer: Promise<UnpackAnswer>
  /** The thread is done with the order: true if it can take another. */
  readonly #left: Promise<boolean>
  #settle: (answer: UnpackAnswer) => void = () => {}
  #failed: UnpackAnswer | undefined
  #bytes = 0
  #ended = false

  /** @param root open on the directory; closed here */
  constructor(options: UnpackOptions, root: number) {
    const ring = createRing(RING_BYTES)
    const beat = createBeat()
    const { mode, limits = defaultTarLimits } = options
    this.#writer = new RingWriter(ring)
    this.#beat = new Beat(beat)
    this.#ownsThreads = options.threads === undefined
    this.#threads = options.threads ?? new UnpackThreads()
    this.#worker = this.#threads.take()
    const { answer, left } = this.#listen(options)
    this.#answer = answer
    // Not before: a thread that is late would move into whatever has the number then.
    this.#left = left.finally(() => closeSync(root))
    this.#worker.postMessage({ ring, beat, root, mode, limits } satisfies UnpackOrder)
  }

  /** Decompressed bytes that the thread has taken. */
  get bytesUnpacked(): number {
    return this.#bytes - this.#writer.pending
  }

  /** Bytes that wait for the thread. */
  get bytesPending(): number {
    return this.#writer.pending
  }

  /** All bytes have been handed over. */
  get inputEnded(): boolean {
    return this.#ended
  }

  /** The kernel's ID of the thread; 0 as long as it has not begun. */
  get tid(): number {
    return this.#beat.tid
  }

  get entries(): number {
    return this.#beat.entries
  }

  /** The entry that the thread works on. */
  get entryName(): string {
    return this.#beat.name
  }

  /**
   * Hands over bytes of the tar; resolves when they are in the ring.
   * @throws WindlassError what the thread died of
   */
  async write(chunk: Uint8Array): Promise<void> {
    this.#bytes += chunk.length
    try {
      await this.#writer.write(chunk)
    } catch (error) {
      if (!(error instanceof RingAborted)) throw error
      throw answerError(this.#failed ?? (await this.#answer))
    }
  }

  /** The tar is complete: waits for the thread and returns what the layer was found to be. */
  async end(): Promise<AppliedLayer> {
    this.#ended = true
    this.#writer.end()
    const answer = await this.#answer
    if (answer.kind === 'layer') return answer.layer
    throw answerError(answer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#settle({ kind: 'aborted' })
    this.#writer.abort()
    // The thread notices and answers. It is never terminated: V8 would stop it inside a native call, which ends the whole process.
    // One in an uninterruptible system call cannot answer at all: it is left behind rather than waited for.
    const givenBack = this.#left.then(canGoOn => {
      if (canGoOn) this.#threads.give(this.#worker)
    })
    if (this.#ownsThreads) this.#threads[Symbol.dispose]()
    const patience = sleep(joinMs, false, { ref: false })
    if ((await Promise.race([givenBack, patience])) === false) this.#worker.unref()
    else if (this.#ownsThreads) await this.#threads[Symbol.asyncDispose]()
  }

  #listen({ signal, onFailed }: UnpackOptions): { answer: Promise<UnpackAnswer>; left: Promise<boolean> } {
    const answer = Promise.withResolvers<UnpackAnswer>()
    const left = Promise.withResolvers<boolean>()
    let settled = false
    const settle = (given: UnpackAnswer): void => {
      if (settled) return
      settled = true
      signal.removeEventListener('abort', abort)
      answer.resolve(given)
      if (given.kind === 'layer') return
      this.#failed = given
      this.#writer.abort()
      onFailed?.()
    }
    const leave = (given: UnpackAnswer, canGoOn: boolean): void => {
      this.#worker.off('message', onMessage).off('error', onError).off('exit', onExit)
      settle(given)
      left.resolve(canGoOn)
    }
    const onMessage = (given: UnpackAnswer): void => leave(given, true)
    const onError = (error: Error): void => leave(died(error), false)
    const onExit = (): void => leave(died(new Error('it ended without an answer')), false)
    const abort = (): void => settle({ kind: 'aborted' })
    this.#settle = settle
    signal.addEventListener('abort', abort, { once: true })
    this.#worker.on('message', onMessage).on('error', onError).on('exit', onExit)
    return { answer: answer.promise, left: left.promise }
  }
}

const threadUrl = new URL(
  import.meta.url.endsWith('.ts') ? './unpack-thread.ts' : './unpack-thread.js',
  import.meta.url,
)

function died(error: Error & { code?: string }): UnpackAnswer {
  if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') {
    const message = 'Cannot unpack layer: its directories and names need more memory than the unpack thread may have'
    return { kind: 'error', code: 'LIMIT_EXCEEDED', message }
  }
  return { kind: 'error', code: 'FAILED', message: `Cannot unpack layer: the unpack thread died: ${error.message}` }
}

function answerError(answer: UnpackAnswer): WindlassError {
  if (answer.kind === 'error') return new WindlassError(answer.code, answer.message)
  return new WindlassError('CANCELLED', 'Cannot unpack layer: cancelled')
}
