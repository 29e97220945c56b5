import { type BlameLimits, blame, defaultBlameLimits, type Verdict } from './blame.ts'
import type { PipelineSample } from './stage.ts'

/** Often enough to see a stage that is free between two waits; a sample costs microseconds. */
const everyMsDefault = 250
/** All samples of this time are kept: twice the longest window of `blame`. */
const fineMs = 60_000
/** Beyond it one per second, below the gap that `blame` leaves out, */
const coarseMs = 1_000
/** and nothing beyond ten minutes: 840 samples at most. */
const keptMs = 600_000
/** After this without movement samples are taken with what is dear to read. */
const closerMs = 1_000
/** Who was too slow must become twice as fast as wanted, or a rate around the limit would flicker. */
const recoveryFactor = 2

export interface WatchOptions {
  /** Ends the watch. */
  readonly signal: AbortSignal
  readonly everyMs?: number
  readonly limits?: BlameLimits
  /** Told once of each stage and kind, until things move again. */
  readonly onVerdict: (verdict: Verdict) => void
  /** Nobody is to blame any more; with the last verdict. */
  readonly onRecovered?: (verdict: Verdict) => void
}

/**
 * Samples a pipeline over and over, and tells who holds it up. It does not keep the process alive. Dispose or abort ends it.
 * @param pipeline takes a sample; `closer` says that something seems to stand still, so that dear facts are worth their price
 */
export function watch(pipeline: (closer: boolean) => PipelineSample, options: WatchOptions): Disposable {
  const { signal, everyMs = everyMsDefault } = options
  const watcher = new Watcher(pipeline, options)
  const timer = setInterval(() => watcher.look(), everyMs)
  timer.unref()
  const stop = (): void => {
    clearInterval(timer)
    signal.removeEventListener('abort', stop)
  }
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop, { once: true })
  return { [Symbol.dispose]: stop }
}

class Watcher {
  readonly #pipeline: (closer: boolean) => PipelineSample
  readonly #options: WatchOptions
  readonly #history = new SampleHistory()
  readonly #told = new Set<string>()
  #verdict: Verdict | undefined
  #latest: PipelineSample | undefined
  #isClose = false
  #stillSinceMs: number | undefined

  constructor(pipeline: (closer: boolean) => PipelineSample, options: WatchOptions) {
    this.#pipeline = pipeline
    this.#options = options
  }

  look(): void {
    const sample = this.#pipeline(this.#isClose)
    this.#isClose = this.#standsStill(sample)
    this.#latest = sample
    this.#history.push(sample)
    const verdict = blame(this.#history.samples, this.#limits())
    const before = this.#verdict
    this.#verdict = verdict
    if (verdict !== undefined) return this.#tell(verdict)
    this.#told.clear()
    if (before !== undefined) this.#options.onRecovered?.(before)
  }

  /** True if some stage, perhaps one among others that move, has not moved for a while. */
  #standsStill(sample: PipelineSample): boolean {
    const before = this.#latest
    const isStill =
      before === undefined ||
      sample.stages.some((stage, at) => {
        const then = before.stages[at]
        const isSame = then !== undefined && then.bytesIn === stage.bytesIn && then.bytesOut === stage.bytesOut
        return isSame && then.units === stage.units && stage.waits !== 'nobody'
      })
    this.#stillSinceMs = isStill ? (this.#stillSinceMs ?? sample.timeMs) : undefined
    return this.#stillSinceMs !== undefined && sample.timeMs - this.#stillSinceMs >= closerMs
  }

  #limits(): BlameLimits {
    const limits = this.#options.limits ?? defaultBlameLimits
    const kind = this.#verdict?.kind
    if (kind !== 'trickling-source' && kind !== 'dribbling-decompressor') return limits
    return {
      ...limits,
      sourceBytesPerSecondMin: limits.sourceBytesPerSecondMin * recoveryFactor,
      decompressorBytesPerSecondMin: limits.decompressorBytesPerSecondMin * recoveryFactor,
    }
  }

  #tell(verdict: Verdict): void {
    const key = `${verdict.kind} ${verdict.stage}`
    if (this.#told.has(key)) return
    this.#told.add(key)
    this.#options.onVerdict(verdict)
  }
}

/** The latest samples, in bounded number: fine where `blame` looks at rates, coarse where it only measures how long. */
export class SampleHistory {
  readonly #coarse: PipelineSample[] = []
  readonly #fine: PipelineSample[] = []

  /** From old to new. */
  get samples(): readonly PipelineSample[] {
    return [...this.#coarse, ...this.#fine]
  }

  push(sample: PipelineSample): void {
    this.#fine.push(sample)
    while (ageMs(this.#fine, sample) > fineMs) this.#age(this.#fine.shift())
    while (ageMs(this.#coarse, sample) > keptMs) this.#coarse.shift()
  }

  #age(sample: PipelineSample | undefined): void {
    const latest = this.#coarse.at(-1)
    if (sample !== undefined && sample.timeMs - (latest?.timeMs ?? -Infinity) >= coarseMs) this.#coarse.push(sample)
  }
}

function ageMs([oldest]: readonly PipelineSample[], { timeMs }: PipelineSample): number {
  return timeMs - (oldest?.timeMs ?? timeMs)
}
