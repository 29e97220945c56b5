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
])

/** True if it is a host that failed, and not this machine, nor the user who cancelled. */
export function isHostFault(error: unknown): error is WindlassError {
  return isWindlassError(error) && hostFaults.has(error.code)
}

/** With another host to turn to, one repetition shows whether it was a hiccup. */
const attemptsBeforeNext = 2

/**
 * The hosts that serve the blobs of a repository, in the order in which they are asked: mirrors, then the origin. Shared by all layers of a
 * pull, so that a mirror that failed one of them is not tried by the next. The origin is always tried.
 */
export class BlobHosts {
  readonly #sources: readonly Source[]
  readonly #failed = new Set<Source>()

  constructor(origin: Source, mirrors: readonly Source[] = []) {
    this.#sources = [...mirrors, origin]
  }

  get hasMirrors(): boolean {
    return this.#sources.length > 1
  }

  /** The origin alone, for what a mirror got wrong. */
  withoutMirrors(): BlobHosts {
    return new BlobHosts(this.#origin)
  }

  /** The host to begin with. */
  first(): Source {
    return this.#sources.find(source => !this.#failed.has(source)) ?? this.#origin
  }

  /** True if there is a host to turn to after this one. */
  hasAfter(source: Source): boolean {
    return source !== this.#origin
  }

  /** The host after one that failed, or undefined after the origin. That it lacks one blob says nothing about the others. */
  next(source: Source, error: WindlassError): Source | undefined {
    if (source === this.#origin) return undefined
    if (error.code !== 'NOT_FOUND') this.#failed.add(source)
    const later = this.#sources.slice(this.#sources.indexOf(source) + 1)
    return later.find(candidate => !this.#failed.has(candidate)) ?? this.#origin
  }

  get #origin(): Source {
    return this.#sources.at(-1) as Source
  }
}

/** One blob's way through the hosts: which one to ask now, and when. */
export class Route {
  readonly #hosts: BlobHosts
  readonly #options: RetryOptions
  #patience: Patience
  /** The host to ask now. */
  source: Source

  constructor(hosts: BlobHosts, options: RetryOptions) {
    this.#hosts = hosts
    this.#options = options
    this.source = hosts.first()
    this.#patience = this.#newPatience()
  }

  /** The last attempt brought the blob on. */
  progressed(): void {
    this.#patience.progressed()
  }

  /**
   * Waits until the same host may be asked again, or turns to the next one.
   * @throws the error itself if nobody is left, or if it is not the host's fault
   */
  async failed(error: unknown): Promise<void> {
    const { signal, onRetry } = this.#options
    signal.throwIfAborted()
    try {
      // Whoever names a time to come back is busy until then, and the next host may not be.
      if (isWindlassError(error) && error.facts['retryAfterMs'] !== undefined && this.#hasNext) throw error
      await this.#patience.wait(error)
    } catch (final) {
      if (!isHostFault(final)) throw final
      const next = this.#hosts.next(this.source, final)
      if (next === undefined) throw final
      onRetry?.(final, 0)
      this.source = next
      this.#patience = this.#newPatience()
    }
  }

  get #hasNext(): boolean {
    return this.#hosts.hasAfter(this.source)
  }

  #newPatience(): Patience {
    return new Patience(this.#hasNext ? { ...this.#options, attemptsMax: attemptsBeforeNext } : this.#options)
  }
}
