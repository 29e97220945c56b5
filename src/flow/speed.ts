/** The slowest that a source may be. */
export interface SpeedFloor {
  /** 0 lets every speed pass. */
  readonly bytesPerSecond: number
  /** The speed is judged over at least this much time spent waiting. */
  readonly windowMs: number
}

/** 1 KiB/s over half a minute: below that a layer takes days, and another connection can only be better. */
export const defaultSpeedFloor: SpeedFloor = { bytesPerSecond: 1024, windowMs: 30_000 }

/**
 * Measures how fast a source is while its consumer waits for it. Time in which the consumer did not ask does not count, so a slow
 * disk or a rate limit behind it never makes a source look slow.
 */
export class SpeedMeter {
  /** Of all that was measured. */
  bytes = 0
  waitedMs = 0
  readonly #startedMs = performance.now()
  readonly #floor: SpeedFloor
  #windowBytes = 0
  #windowMs = 0

  constructor(floor: SpeedFloor) {
    this.#floor = floor
  }

  /** Since it was made. */
  get elapsedMs(): number {
    return performance.now() - this.#startedMs
  }

  /** True if all of it together came at the wanted speed. */
  get isFast(): boolean {
    return this.bytes * 1000 >= this.#floor.bytesPerSecond * this.waitedMs
  }

  /**
   * Passes a source through and measures it.
   * @param tooSlow makes the error that ends it, from the speed of the last window
   */
  async *measure(
    source: AsyncIterable<Uint8Array>,
    tooSlow: (bytesPerSecond: number, windowMs: number) => Error,
  ): AsyncGenerator<Uint8Array, void, void> {
    const iterator = source[Symbol.asyncIterator]()
    try {
      while (true) {
        const askedMs = performance.now()
        const result = await iterator.next()
        if (result.done) return
        this.#count(result.value.byteLength, performance.now() - askedMs)
        yield result.value
        this.#judge(tooSlow)
      }
    } finally {
      await iterator.return?.()
    }
  }

  #count(bytes: number, waitedMs: number): void {
    this.bytes += bytes
    this.waitedMs += waitedMs
    this.#windowBytes += bytes
    this.#windowMs += waitedMs
  }

  #judge(tooSlow: (bytesPerSecond: number, windowMs: number) => Error): void {
    const windowMs = this.#windowMs
    if (windowMs < this.#floor.windowMs) return
    const bytesPerSecond = (this.#windowBytes * 1000) / windowMs
    if (bytesPerSecond < this.#floor.bytesPerSecond) throw tooSlow(Math.round(bytesPerSecond), windowMs)
    this.#windowBytes = this.#windowMs = 0
  }
}
