/** How often a service may try: whatever is wrong with a host, it must not become a storm. */
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { readUptimeUs } from '../../doctor/cures/journal.ts'
import type { HostView } from '../../sys/host-view.ts'
import { makePath } from '../../sys/make-path.ts'
import { replaceFile } from './replace-file.ts'

/** The same process is not tried again before. */
const againMs = 10 * 60_000
const triesMax = 3
export const hourMs = 60 * 60_000
const perHourMax = 30
/** More are forgotten, the oldest first: processes that ended long ago. */
const rememberedMax = 1000

/** In milliseconds, as of a host; the same for all processes of a boot. */
export const sinceBoot = { elapsed: () => readUptimeUs() / 1000 }

export class RescueLimits {
  readonly #clock: Pick<HostView, 'elapsed'>
  readonly #path: string | undefined
  readonly #byProcess: Map<string, number[]>
  #all: number[]

  /**
   * @param clock one that nobody sets: with the host's, a step back would forbid every try until it is made up for
   * @param path of a file that goes when the host is restarted: a try that ends this process, and systemd starts it again, counts too
   */
  constructor(clock: Pick<HostView, 'elapsed'>, path?: string) {
    this.#clock = clock
    this.#path = path
    this.#byProcess = new Map(path === undefined ? [] : readTries(path))
    this.#all = [...this.#byProcess.values()].flat().toSorted((a, b) => a - b)
  }

  /** @param key of the processes; it tells those from others that get their numbers */
  mayTry(key: string): boolean {
    return this.whyNot(key) === undefined
  }

  /** Why it is not to be tried now. */
  whyNot(key: string): string | undefined {
    const now = this.#clock.elapsed()
    const times = this.#byProcess.get(key) ?? []
    this.#all = this.#all.filter(time => now - time < hourMs)
    if (times.length >= triesMax) return `it was tried ${triesMax} times`
    const isRested = now - (times.at(-1) ?? Number.NEGATIVE_INFINITY) >= againMs
    if (!isRested) return `it was tried less than ${againMs / 60_000} minutes ago`
    return this.#all.length < perHourMax ? undefined : `${perHourMax} were tried within an hour`
  }

  /** The last try does not count: what stood in its way is gone. */
  forgive(key: string): void {
    const times = this.#byProcess.get(key)
    const last = times?.at(-1)
    if (times === undefined || last === undefined) return
    this.#byProcess.set(key, times.slice(0, -1))
    // One that is more than an hour old is not counted any more.
    const at = this.#all.lastIndexOf(last)
    if (at >= 0) this.#all.splice(at, 1)
    this.#write()
  }

  tried(key: string): void {
    const now = this.#clock.elapsed()
    this.#byProcess.set(key, [...(this.#byProcess.get(key) ?? []), now])
    this.#all.push(now)
    const [oldest] = this.#byProcess.keys()
    if (this.#byProcess.size > rememberedMax && oldest !== undefined) this.#byProcess.delete(oldest)
    this.#write()
  }

  #write(): void {
    if (this.#path !== undefined) writeTries(this.#path, [...this.#byProcess])
  }
}

type Tries = readonly (readonly [string, number[]])[]

/** What is not there, or is no such list, says of no try. */
function readTries(path: string): Tries {
  try {
    const found: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return Array.isArray(found) ? found.filter(isTry) : []
  } catch {
    return []
  }
}

function isTry(one: unknown): one is Tries[number] {
  if (!Array.isArray(one) || one.length !== 2) return false
  const [key, times] = one as unknown[]
  return typeof key === 'string' && Array.isArray(times) && times.every(time => typeof time === 'number')
}

/** Where it cannot be written, the tries of this process count alone. */
function writeTries(path: string, tries: Tries): void {
  try {
    makePath(dirname(path), 0o700)
    replaceFile(path, JSON.stringify(tries), 0o600)
  } catch {}
}
