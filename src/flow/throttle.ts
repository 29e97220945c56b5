import { setTimeout as sleep } from 'node:timers/promises'

/** What may pass at once after a pause: enough that timers of a millisecond do not lower the rate, too little to be noticed. */
const burstMs = 20

/**
 * What one may take at a time, as time at the whole rate: at a low rate a chunk as it comes from a socket would block all others for many
 * seconds, and then come at once.
 */
const grantMs = 50
const grantBytesMin = 256

/** Lets bytes pass at a bounded rate, for all who share it together, in the order they came: a token bucket. */
export class Throttle {
  readonly #bytesPerSecond: number
  /** What is to be taken at a time, so that it flows evenly and all who share it come to their turn. */
  readonly grantBytes: number
  /** When all that has passed is paid for, by `performance.now()`. */
  #paidMs = 0

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond
    this.grantBytes = Math.max(grantBytesMin, Math.floor((bytesPerSecond * grantMs) / 1000))
  }

  /** Resolves when that many bytes may have passed. Bytes of a waiter that leaves stay counted: they have come. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const now = performance.now()
    this.#paidMs = Math.max(this.#paidMs, now - burstMs) + (bytes * 1000) / this.#bytesPerSecond
    const pauseMs = this.#paidMs - now
    if (pauseMs > 0) await sleep(pauseMs, undefined, { signal })
  }
}

/** Gives a chunk out in pieces that the throttle lets pass one by one; whole where there is none. */
export async function* passThrottled(
  chunk: Uint8Array,
  throttle: Throttle | undefined,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  const step = throttle?.grantBytes ?? chunk.length
  for (let at = 0; at < chunk.length; at += step) {
    const piece = chunk.subarray(at, at + step)
    await throttle?.take(piece.length, signal)
    yield piece
  }
}
