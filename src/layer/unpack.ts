import { access } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { WindlassError } from '../errors.ts'
import { createRing, RingAborted, RingWriter } from '../flow/ring.ts'
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
  /** Mebibytes of heap for the thread, which holds what it must know of directories to the end: 512 if not given. */
  readonly heapMiBMax?: number
  /** Told when the thread has failed: what it waits for need not be brought any more. `write` and `end` throw why. */
  readonly onFailed?: () => void
  /** A thread that was started ahead; another one is started if it is taken already. */
  readonly spare?: SpareThread | undefined
  /** Ends the unpack at once, also while the thread sits in a system call. */
  readonly signal: AbortSignal
}

/** Starts an unpack. */
export async function openUnpack(options: UnpackOptions): Promise<Unpack> {
  options.signal.throwIfAborted()
  await startPool()
  options.signal.throwIfAborted()
  return new Unpack(options)
}

/** Every thread of libuv's pool is started first, by the main thread: a thread inherits the root of the one that starts it. */
async function startPool(): Promise<void> {
  await access('/')
}

/** A thread that loads what it needs while nobody needs it yet: that takes as long as a small layer. Disposing ends it, if nobody took it. */
export class SpareThread implements Disposable {
  #worker: Worker | undefined

  private constructor() {
    const worker = startThread(HEAP_MIB_MAX)
    worker.unref()
    worker.on('error', () => {})
    worker.once('exit', () => {
      this.#worker = undefined
    })
    this.#worker = worker
  }

  static async start(): Promise<SpareThread> {
    await startPool()
    return new SpareThread()
  }

  /** Whoever takes it must give it its order. Undefined if it is taken, or died. */
  take(): Worker | undefined {
    const worker = this.#worker
    this.#worker = undefined
    worker?.ref()
    return worker
  }

  [Symbol.dispose](): void {
    this.#worker?.postMessage(undefined)
    this.#worker = undefined
  }
}

function startThread(heapMiBMax: number): Worker {
  // The young generation is kept small, since entries die at once.
  return new Worker(threadUrl, {
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: heapMiBMax, maxYoungGenerationSizeMb: 4 },
  })
}

/**
 * Unpacks one layer in a thread of its own. Write the tar's bytes, then `end()`. Dispose ends the thread: what was unpacked so far is left in
 * the directory, which the caller owns.
 */
export class Unpack implements AsyncDisposable {
  readonly #worker: Worker
  readonly #writer: RingWriter
  readonly #beat: Beat
  readonly #answer: Promise<UnpackAnswer>
  readonly #exited: Promise<unknown>
  #settle: (answer: UnpackAnswer) => void = () => {}
  #failed: UnpackAnswer | undefined
  #bytes = 0
  #ended = false

  constructor(options: UnpackOptions) {
    const ring = createRing(RING_BYTES)
    const beat = createBeat()
    const order: UnpackOrder = {
      ring,
      beat,
      directory: options.directory,
      mode: options.mode,
      limits: options.limits ?? defaultTarLimits,
    }
    this.#writer = new RingWriter(ring)
    this.#beat = new Beat(beat)
    this.#worker = options.spare?.take() ?? startThread(options.heapMiBMax ?? HEAP_MIB_MAX)
    this.#exited = new Promise(resolve => this.#worker.once('exit', resolve))
    this.#answer = this.#listen(options)
    this.#worker.postMessage(order)
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
    // The thread notices and ends itself. It is never terminated: V8 would stop it inside a native call, which ends the whole process.
    // One in an uninterruptible system call cannot end at all: it is left behind rather than waited for.
    const patience = sleep(joinMs, false, { ref: false })
    if ((await Promise.race([this.#exited, patience])) === false) this.#worker.unref()
  }

  #listen({ signal, onFailed }: UnpackOptions): Promise<UnpackAnswer> {
    return new Promise(resolve => {
      let settled = false
      const settle = (answer: UnpackAnswer): void => {
        if (settled) return
        settled = true
        signal.removeEventListener('abort', abort)
        resolve(answer)
        if (answer.kind === 'layer') return
        this.#failed = answer
        this.#writer.abort()
        onFailed?.()
      }
      const abort = (): void => settle({ kind: 'aborted' })
      this.#settle = settle
      signal.addEventListener('abort', abort, { once: true })
      this.#worker.once('message', settle)
      this.#worker.once('error', error => settle(died(error as Error)))
      this.#worker.once('exit', () => settle(died(new Error('it ended without an answer'))))
    })
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
