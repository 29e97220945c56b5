import { setTimeout as sleep } from 'node:timers/promises'
import { isWindlassError, WindlassError } from '../errors.ts'

/** First pause, doubled each time up to the last: a restarted registry is back in seconds, an overloaded one needs air. */
const pauseMinMs = 250
const pauseMaxMs = 15_000
/** A server may ask for more; nobody waits for it that long. */
const retryAfterMaxMs = 60_000
/** Attempts in a row that bring nothing. */
const attemptsMax = 5

export interface RetryOptions {
  readonly signal: AbortSignal
  /** The first pause, if not a quarter of a second. */
  readonly pauseMs?: number | undefined
  /** Attempts in a row that bring nothing, if not five. */
  readonly attemptsMax?: number | undefined
  /** Told before each pause. */
  readonly onRetry?: ((error: WindlassError, pauseMs: number) => void) | undefined
}

/** Counts failures in a row and decides whether and when to try again. Progress starts the count anew. */
export class Patience {
  readonly #options: RetryOptions
  #failures = 0

  constructor(options: RetryOptions) {
    this.#options = options
  }

  get #attemptsMax(): number {
    return this.#options.attemptsMax ?? attemptsMax
  }

  /** The last attempt brought something. */
  progressed(): void {
    this.#failures = 0
  }

  /**
   * Waits before the next attempt.
   * @throws the error itself if it cannot be helped by another attempt, or if there were too many
   */
  async wait(error: unknown): Promise<void> {
    this.#options.signal.throwIfAborted()
    if (!isWindlassError(error) || !error.retryable || ++this.#failures >= this.#attemptsMax) throw error
    const pauseMs = this.#pauseMs(error)
    this.#options.onRetry?.(error, pauseMs)
    await sleep(pauseMs, undefined, { signal: this.#options.signal })
  }

  #pauseMs(error: WindlassError): number {
    const firstMs = this.#options.pauseMs ?? pauseMinMs
    const wantedMs = error.facts['retryAfterMs']
    // Never before it wants, and not all layers in the same instant.
    if (typeof wantedMs === 'number') return Math.min(wantedMs, retryAfterMaxMs) + firstMs * Math.random()
    const ceilingMs = Math.min(firstMs * 2 ** this.#failures, pauseMaxMs)
    return ceilingMs * (0.5 + Math.random() / 2)
  }
}

/** Repeats an attempt while its error is retryable, with jittered pauses, a bounded number of times. */
export async function retry<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const patience = new Patience(options)
  while (true) {
    try {
      return await attempt()
    } catch (error) {
      await patience.wait(error)
    }
  }
}

/** The reason of an aborted signal as an error of ours. */
export function cancelledError(doing: string): WindlassError {
  return new WindlassError('CANCELLED', `${doing}: cancelled`)
}
