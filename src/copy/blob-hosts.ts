import { type ErrorCode, isWindlassError, type WindlassError } from '../errors.ts'
import { Patience, type RetryOptions } from '../flow/retry.ts'
import type { Source } from '../places/place.ts'

/** What another host may do better. Whatever else fails, fails here: the disk, the user's signal. */
const hostFaults: ReadonlySet<ErrorCode> = new Set([
  'NETWORK',
  'TLS',
  'STALLED',
  'RATE_LIMITED',
  'PROTOCOL',
  'DENIED',
  'NOT_FOUND',
  'CORRUPT',
  'DIGEST_MISMATCH',
  'LIMIT_EXCEEDED',
])

/** True if it is a host that failed, and not this machine, nor the user who cancelled. */
export function isHostFault(error: unknown): error is WindlassError {
  return isWindlassError(error) && hostFaults.has(error.code)
}

/** With another host to turn to, one repetition shows whether it was a hiccup. */
const attemptsBeforeNext = 2
/** A host that breaks off so often within so long, however much it brings in between, is worse than one that does not. */
const breaksBeforeNext = 3
const breaksWindowMs = 5 * 60_000

/**
 * The hosts that serve a repository, in the order in which they are asked: mirrors, then the origin. Shared by all layers of a pull, so that
 * a mirror that failed one of them is not tried by the next. The origin is always tried.
 */
export class BlobHosts {
  readonly #sources: readonly Source[]
  readonly #down = new Set<Source>()
  /** They break off again and again, but bring something: better than none. */
  readonly #flaky = new Set<Source>()

  constructor(origin: Source, mirrors: readonly Source[] = []) {
    this.#sources = [...mirrors, origin]
  }

  get origin(): Source {
    return this.#sources.at(-1) as Source
  }

  get hasMirrors(): boolean {
    return this.#sources.length > 1
  }

  /** The origin alone, for what a mirror got wrong. */
  withoutMirrors(): BlobHosts {
    return new BlobHosts(this.origin)
  }

  /** The host to begin with. */
  first(): Source {
    return this.#sources.find(source => !this.hasFailed(source)) ?? this.origin
  }

  /** True for what somebody has given up, for whichever blob. */
  hasFailed(source: Source): boolean {
    return this.#down.has(source) || this.#flaky.has(source)
  }

  /** Nobody shall begin with it any more. */
  leave(source: Source, state: 'down' | 'flaky'): void {
    if (state === 'flaky') this.#flaky.add(source)
    else if (source !== this.origin) this.#down.add(source)
  }

  /** The host to turn to after one, leaving out those that were of no use: the ones behind it first, then those that are flaky. */
  after(source: Source, useless: ReadonlySet<Source>): Source | undefined {
    const at = this.#sources.indexOf(source)
    const others = [...this.#sources.slice(at + 1), ...this.#sources.slice(0, at)]
    const usable = others.filter(other => !useless.has(other) && !this.#down.has(other))
    return usable.find(other => !this.#flaky.has(other)) ?? usable[0]
  }
}

/** One blob's or document's way through the hosts: which one to ask now, and when. */
export class Route {
  readonly #hosts: BlobHosts
  readonly #options: RetryOptions
  readonly #useless = new Set<Source>()
  #patience: Patience
  #breaksMs: number[] = []
  #originError: WindlassError | undefined
  /** The host to ask now. */
  source: Source

  constructor(hosts: BlobHosts, options: RetryOptions) {
    this.#hosts = hosts
    this.#options = options
    this.source = hosts.first()
    this.#patience = this.#newPatience()
  }

  /**
   * Waits until the same host may be asked again, or turns to the next one.
   * @param hasProgressed the attempt brought the blob on
   * @throws the error itself, or that of the origin, if nobody is left; the error if it is not the host's fault
   */
  async failed(error: unknown, hasProgressed = false): Promise<void> {
    this.#options.signal.throwIfAborted()
    if (!isHostFault(error)) throw error
    if (hasProgressed) this.#patience.progressed()
    if (error.retryable && this.#shouldLeave(error)) return this.#leave(error, hasProgressed ? 'flaky' : 'down')
    try {
      await this.#patience.wait(error)
    } catch (final) {
      if (!isHostFault(final)) throw final
      this.#useless.add(this.source)
      // That it lacks one blob says nothing about the others.
      this.#leave(final, final.code === 'NOT_FOUND' ? undefined : 'down')
    }
  }

  /** Where another host can be asked instead: one that breaks off too often, that others have left, or that wants a pause. */
  #shouldLeave(error: WindlassError): boolean {
    const nowMs = performance.now()
    this.#breaksMs = [...this.#breaksMs.filter(ms => nowMs - ms < breaksWindowMs), nowMs]
    const next = this.#next
    if (next === undefined) return false
    if (error.facts['retryAfterMs'] !== undefined) return true
    return (
      this.#breaksMs.length >= breaksBeforeNext || (this.#hosts.hasFailed(this.source) && !this.#hosts.hasFailed(next))
    )
  }

  #leave(error: WindlassError, state: 'down' | 'flaky' | undefined): void {
    if (state === 'down') this.#useless.add(this.source)
    if (state !== undefined) this.#hosts.leave(this.source, state)
    if (this.source === this.#hosts.origin) this.#originError = error
    const next = this.#next
    if (next === undefined) throw this.#originError ?? error
    this.#options.onRetry?.(error, 0)
    this.source = next
    this.#breaksMs = []
    this.#patience = this.#newPatience()
  }

  get #next(): Source | undefined {
    return this.#hosts.after(this.source, this.#useless)
  }

  #newPatience(): Patience {
    const isLast = this.#next === undefined
    return new Patience(isLast ? this.#options : { ...this.#options, attemptsMax: attemptsBeforeNext })
  }
}

/**
 * Asks the hosts one after the other, each as often as it is worth it, until one answers.
 * @throws WindlassError of the origin if nobody does
 */
export async function askHosts<T>(
  hosts: BlobHosts,
  options: RetryOptions,
  ask: (source: Source) => Promise<T>,
): Promise<T> {
  const route = new Route(hosts, options)
  while (true) {
    try {
      return await ask(route.source)
    } catch (error) {
      await route.failed(error)
    }
  }
}
