/** How often a service may try: whatever is wrong with a host, it must not become a storm. */
import type { HostView } from '../../sys/host-view.ts'

/** The same process is not tried again before. */
const againMs = 10 * 60_000
const triesMax = 3
const hourMs = 60 * 60_000
const perHourMax = 30
/** More are forgotten, the oldest first: processes that ended long ago. */
const rememberedMax = 1000

export class RescueLimits {
  readonly #clock: Pick<HostView, 'elapsed'>
  readonly #byProcess = new Map<string, number[]>()
  #all: number[] = []

  /** @param clock one that nobody sets: with the host's, a step back would forbid every try until it is made up for */
  constructor(clock: Pick<HostView, 'elapsed'>) {
    this.#clock = clock
  }

  /** @param key of the processes; it tells those from others that get their numbers */
  mayTry(key: string): boolean {
    const now = this.#clock.elapsed()
    const times = this.#byProcess.get(key) ?? []
    this.#all = this.#all.filter(time => now - time < hourMs)
    const isRested = now - (times.at(-1) ?? Number.NEGATIVE_INFINITY) >= againMs
    return isRested && times.length < triesMax && this.#all.length < perHourMax
  }

  tried(key: string): void {
    const now = this.#clock.elapsed()
    this.#byProcess.set(key, [...(this.#byProcess.get(key) ?? []), now])
    this.#all.push(now)
    const [oldest] = this.#byProcess.keys()
    if (this.#byProcess.size > rememberedMax && oldest !== undefined) this.#byProcess.delete(oldest)
  }
}
