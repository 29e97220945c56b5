import { WindlassError } from '../errors.ts'
import { magicLength } from './detect.ts'

export interface InputOptions {
  readonly signal: AbortSignal
  readonly onInput?: ((bytes: number) => void) | undefined
}

/**
 * A source of bytes that can be peeked at and cancelled while it waits. Disposing it tells the source to stop and
 * does not wait for it: a silent source must not hold up whoever gives up on it.
 */
export class Input implements Disposable {
  /** Bytes taken from the source. */
  bytes = 0
  readonly signal: AbortSignal
  readonly #iterator: AsyncIterator<Uint8Array>
  readonly #onInput: ((bytes: number) => void) | undefined
  #peeked: Uint8Array | undefined
  #ended = false
  // One slot instead of Promise.race: races against a promise that lives as long as the stream pile up on it.
  #rejectWait: ((reason: unknown) => void) | undefined
  readonly #verb: string

  /** @param verb what is done to the stream, for messages */
  constructor(source: AsyncIterable<Uint8Array>, options: InputOptions, verb = 'decompress') {
    this.#verb = verb
    this.signal = options.signal
    this.#onInput = options.onInput
    this.#iterator = source[Symbol.asyncIterator]()
    this.signal.addEventListener('abort', this.#abort)
  }

  /** The next bytes, never an empty chunk; undefined at the end. They are the source's: copy what is to be kept. */
  async next(): Promise<Uint8Array | undefined> {
    const peeked = this.#peeked
    this.#peeked = undefined
    return peeked ?? this.#take()
  }

  /** The first bytes, for a look at the magic number: fewer than `magicLength` only if the stream is shorter. */
  async peek(): Promise<Uint8Array> {
    let head = (await this.next()) ?? new Uint8Array(0)
    while (head.length < magicLength) {
      const begun = Buffer.from(head) // a copy: the source may use its buffer again
      const more = await this.#take()
      if (more === undefined) break
      head = Buffer.concat([begun, more])
    }
    if (head.length > 0) this.#peeked = head
    return head
  }

  /** What an operation that the signal ended throws. */
  cancelled(): WindlassError {
    const { reason } = this.signal
    if (reason instanceof WindlassError) return reason
    return new WindlassError('CANCELLED', `Cannot ${this.#verb} the stream: cancelled`, { cause: reason })
  }

  [Symbol.dispose](): void {
    this.signal.removeEventListener('abort', this.#abort)
    if (this.#ended) return
    this.#ended = true
    this.#iterator.return?.().catch(() => {})
  }

  async #take(): Promise<Uint8Array | undefined> {
    while (!this.#ended) {
      const result = await this.#wait()
      if (result.done === true) this.#ended = true
      else if (result.value.length > 0) {
        this.bytes += result.value.length
        this.#onInput?.(result.value.length)
        return result.value
      }
    }
    return undefined
  }

  #wait(): Promise<IteratorResult<Uint8Array>> {
    return new Promise((resolve, reject) => {
      if (this.signal.aborted) return reject(this.cancelled())
      this.#rejectWait = reject
      this.#iterator.next().then(resolve, (error: unknown) => {
        this.#ended = true
        reject(error)
      })
    })
  }

  readonly #abort = (): void => this.#rejectWait?.(this.cancelled())
}
