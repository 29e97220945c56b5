import type { Worker } from 'node:worker_threads'
import { type ErrorCode, WindlassError } from '../errors.ts'
import { createRing, RingAborted, RingWriter } from '../flow/ring.ts'
import { startThread } from '../sys/thread.ts'
import type { Input } from './input.ts'

/** Compressed bytes that may wait for the thread. */
const ringSize = 1024 * 1024
/** Chunks of 256 KiB that may wait for the consumer. */
const chunksAhead = 4
/** What the main thread gives to the decoding thread. */
export interface ThreadTask {
  readonly kind: 'xz' | 'bzip2'
  readonly ring: ReturnType<typeof createRing>
  /** One word: how many chunks the thread may still send. It sleeps on it. */
  readonly credit: SharedArrayBuffer
}

/** What the decoding thread sends: bytes, and then the end or a failure. */
export type ThreadMessage =
  | { readonly type: 'data'; readonly chunk: Uint8Array }
  | { readonly type: 'end' }
  | { readonly type: 'failure'; readonly code: ErrorCode; readonly message: string }

const threadUrl = new URL(
  import.meta.url.endsWith('.ts') ? './decode-thread.ts' : './decode-thread.js',
  import.meta.url,
)

/**
 * Decompresses xz (WebAssembly) or bzip2 (JavaScript) in a thread of its own: both work synchronously and would stop
 * the event loop, and the xz decoder lets only one stream at a time run in a thread. Several streams one after the
 * other are one.
 * @throws WindlassError CORRUPT, UNSUPPORTED, LIMIT_EXCEEDED (an xz dictionary above 64 MiB), or what the input throws
 */
export async function* threadStream(kind: 'xz' | 'bzip2', input: Input): AsyncGenerator<Uint8Array, void, void> {
  const decoder = new ThreadDecoder(kind, input)
  const cancel = () => decoder.cancel(input.cancelled())
  input.signal.addEventListener('abort', cancel)
  try {
    for (let chunk = await decoder.next(); chunk !== undefined; chunk = await decoder.next()) yield chunk
  } finally {
    input.signal.removeEventListener('abort', cancel)
    decoder.close()
  }
}

class ThreadDecoder {
  readonly #kind: string
  readonly #input: Input
  readonly #writer: RingWriter
  readonly #credit: Int32Array
  readonly #worker: Worker
  readonly #chunks: Uint8Array[] = []
  #ended = false
  #failure: unknown
  #wake: (() => void) | undefined

  constructor(kind: 'xz' | 'bzip2', input: Input) {
    this.#kind = kind
    this.#input = input
    const ring = createRing(ringSize)
    const credit = new SharedArrayBuffer(4)
    this.#credit = new Int32Array(credit)
    this.#credit[0] = chunksAhead
    this.#writer = new RingWriter(ring)
    this.#worker = startThread(threadUrl, { workerData: { kind, ring, credit } satisfies ThreadTask })
    this.#worker.on('message', (message: ThreadMessage) => this.#receive(message))
    this.#worker.on('error', error =>
      this.fail(new WindlassError('FAILED', this.#say('its thread failed'), { cause: error })),
    )
    this.#worker.on('exit', () => this.fail(new WindlassError('FAILED', this.#say('its thread ended too early'))))
    this.#feed().catch((error: unknown) => this.fail(error))
  }

  async next(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0 && !this.#ended && this.#failure === undefined) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    const chunk = this.#chunks.shift()
    if (chunk === undefined && this.#failure !== undefined) throw this.#failure
    if (chunk !== undefined) this.#giveCredit()
    return chunk
  }

  /** Ends everything with this error, also what is decoded and not yet read. */
  cancel(error: unknown): void {
    this.#chunks.length = 0
    this.#failure = error
    this.close()
    this.#wake?.()
  }

  /** Ends with this error after the chunks that are decoded already, unless it has ended before. */
  fail(error: unknown): void {
    if (this.#ended || this.#failure !== undefined) return
    this.#failure = error
    this.close()
    this.#wake?.()
  }

  /** Frees the thread at once, whatever it does. */
  close(): void {
    this.#writer.abort()
    this.#worker.terminate().catch(() => {})
  }

  async #feed(): Promise<void> {
    for (let data = await this.#input.next(); data !== undefined; data = await this.#input.next()) {
      try {
        await this.#writer.write(data)
      } catch (error) {
        if (error instanceof RingAborted) return
        throw error
      }
    }
    if (this.#input.bytes === 0) throw new WindlassError('CORRUPT', this.#say('it ends early at byte 0'))
    this.#writer.end()
  }

  #receive(message: ThreadMessage): void {
    if (message.type === 'failure') {
      this.fail(new WindlassError(message.code, this.#say(message.message)))
      return
    }
    if (message.type === 'data') this.#chunks.push(message.chunk)
    else this.#ended = true
    this.#wake?.()
  }

  #giveCredit(): void {
    Atomics.add(this.#credit, 0, 1)
    Atomics.notify(this.#credit, 0)
  }

  #say(what: string): string {
    return `Cannot decompress ${this.#kind} stream: ${what}`
  }
}
