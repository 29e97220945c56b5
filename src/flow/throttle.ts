import { setTimeout as sleep } from 'node:timers/promises'

/** What may pass at once after a pause: enough that timers of a millisecond do not lower the rate, too little to be noticed. */
const burstMs = 20

/** Lets bytes pass at a bounded rate, for all who share it together, in the order they came: a token bucket. */
export class Throttle {
  readonly #bytesPerSecond: number
  /** When all that has passed is paid for, by `performance.now()`. */
  #paidMs = 0

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Resolves when that many bytes may have passed. Bytes of a waiter that leaves stay counted: they have come. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const now = performance.now()
    this.#paidMs = Math.max(this.#paidMs, now - burstMs) + (bytes * 1000) / this.#bytesPerSecond
    const pauseMs = this.#paidMs - now
    if (pauseMs > 0) await sleep(pauseMs, undefined, { signal })
  }
}
