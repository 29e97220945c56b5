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

/** How fast something came over a time spent waiting. */
export interface OverallPace {
  readonly bytesPerSecond: number
  readonly waitedMs: number
}

/** A source that breaks off is judged over so many windows, so that one bad moment counts little. */
const overallWindows = 10

/**
 * How fast something comes on the whole: all attempts, their failures and the pauses between them. Only time in which the consumer holds what
 * came does not count. A source that brings a piece and falls silent, again and again, is fast in each attempt and yet too slow.
 */
export class OverallSpeed {
  readonly #floor: SpeedFloor
  #sinceMs = performance.now()
  #heldMs = 0
  #bytes = 0

  constructor(floor: SpeedFloor) {
    this.#floor = floor
  }

  /** Bytes that came; until the end they are the consumer's business. */
  hold(bytes: number): { end: () => void } {
    const fromMs = performance.now()
    this.#bytes += bytes
    return {
      end: () => {
        this.#heldMs += performance.now() - fromMs
      },
    }
  }

  /**
   * Judges what came since it last was found fast enough, once that is long enough ago.
   * @throws what `tooSlow` makes
   */
  judge(tooSlow: (pace: OverallPace) => unknown): void {
    const waitedMs = performance.now() - this.#sinceMs - this.#heldMs
    if (waitedMs < this.#floor.windowMs * overallWindows) return
    const bytesPerSecond = (this.#bytes * 1000) / waitedMs
    if (bytesPerSecond < this.#floor.bytesPerSecond) {
      throw tooSlow({ bytesPerSecond: Math.round(bytesPerSecond), waitedMs })
    }
    this.#sinceMs = performance.now()
    this.#heldMs = this.#bytes = 0
  }
}
