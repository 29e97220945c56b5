import { setTimeout as sleep } from 'node:timers/promises'
import { readAhead } from '../flow/read-ahead.ts'
import { cancelledError } from '../flow/retry.ts'

/** An engine asks for its layers at once, a few at a time. A layer that it does not ask for is not held back: it is read from the store later on. */
const demandMs = 2000

/**
 * Where a layer's content, while it is fetched, meets the engine that asks for it: then it flows straight on, at the engine's pace. Whoever asks too
 * late, or once more, gets it from the store.
 */
export class Outlet {
  readonly #readStored: () => AsyncIterable<Uint8Array>
  readonly #stored: Promise<void>
  readonly #asked = Promise.withResolvers<void>()
  #reader: Reader | undefined
  #isTaken = false

  /**
   * @param stored fulfilled when the layer is in the store
   * @param readStored its content from there
   */
  constructor(stored: Promise<void>, readStored: () => AsyncIterable<Uint8Array>) {
    this.#stored = stored
    this.#readStored = readStored
    stored.catch(() => {}) // told to whoever reads
  }

  /**
   * Takes the content as it comes, to its end. Whether the engine takes it too makes no difference to whoever fetches it.
   * @param signal the engine is waited for no longer: it may stand still while its connection stays open
   */
  async take(content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    if (!this.#isTaken) await Promise.race([this.#asked.promise, sleep(demandMs, undefined, { ref: false })])
    this.#isTaken = true
    const reader = this.#reader
    this.#reader = undefined
    const { promise: cancelled, reject } = Promise.withResolvers<never>()
    cancelled.catch(() => {})
    const cancel = () => reject(cancelledError('Cannot hand the layer on'))
    signal.addEventListener('abort', cancel, { once: true })
    if (signal.aborted) cancel()
    try {
      // The chunk may be with the kernel still when this is cancelled: nothing more is asked for then, so that its memory is not used again.
      for await (const chunk of readAhead(content)) await Promise.race([reader?.put(chunk), cancelled])
      reader?.end()
    } catch (error) {
      reader?.fail(error)
      throw error
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }

  /** Nobody will ask for it any more. */
  release(): void {
    this.#asked.resolve()
  }

  /** For one answer to the engine. @throws what the content ends with */
  read(): AsyncIterable<Uint8Array> {
    if (this.#isTaken || this.#reader !== undefined) return this.#readLater()
    this.#reader = new Reader()
    this.#asked.resolve()
    return this.#reader.read()
  }

  async *#readLater(): AsyncGenerator<Uint8Array, void, void> {
    await this.#stored
    yield* this.#readStored()
  }
}

/** One chunk at a time from who has it to who wants it; `put` waits until the chunk was used. */
class Reader {
  #next = Promise.withResolvers<Uint8Array | undefined>()
  #used = Promise.withResolvers<void>()
  #hasLeft = false

  async put(chunk: Uint8Array): Promise<void> {
    if (this.#hasLeft) return
    const { promise } = this.#used
    this.#next.resolve(chunk)
    await promise
  }

  end(): void {
    this.#next.resolve(undefined)
  }

  fail(error: unknown): void {
    this.#next.promise.catch(() => {}) // nobody may read any more
    this.#next.reject(error)
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    try {
      for (let chunk = await this.#next.promise; chunk !== undefined; chunk = await this.#next.promise) {
        yield chunk
        const used = this.#used
        this.#next = Promise.withResolvers()
        this.#used = Promise.withResolvers()
        used.resolve()
      }
    } finally {
      this.#hasLeft = true
      this.#used.resolve()
    }
  }
}
