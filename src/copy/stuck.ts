import type { WindlassError } from '../errors.ts'
import type { VerdictKind } from '../flow/blame.ts'

/** Nobody can kill a task that the kernel holds, and nothing else will give these back their turn. */
export const diskVerdicts: ReadonlySet<VerdictKind> = new Set([
  'disk-wait',
  'stuck-open',
  'stuck-spool',
  'stuck-entry',
  'stuck-sync',
  'stuck-commit',
])
export const stuckHint =
  'look at the disk and the filesystem of the store (dmesg, mount, fsfreeze); pull again when it answers: nothing is lost'
export const diskMsDefault = 300_000
/** Closing what is open would need the disk, too: it gets this long. */
const closeMs = 2_000

/**
 * Bounds the wait for a disk that does not answer. When it has passed, the pull fails although its own cleaning up may never end.
 */
export class Stuck {
  /** Rejects when a layer has been stuck for too long; never resolves. */
  readonly given: Promise<never>
  readonly #waitMs: number
  readonly #timers = new Map<number | undefined, NodeJS.Timeout>()
  #giveUp: (error: WindlassError) => void = () => {}

  constructor(waitMs: number) {
    this.#waitMs = waitMs
    this.given = new Promise((_, reject) => {
      this.#giveUp = reject
    })
    this.given.catch(() => {})
  }

  /** @param layer undefined for the image as a whole */
  begin(layer: number | undefined, error: WindlassError, failure: AbortController): void {
    this.end(layer)
    const giveUp = (): void => {
      failure.abort(error)
      setTimeout(this.#giveUp, closeMs, error)
    }
    this.#timers.set(layer, setTimeout(giveUp, this.#waitMs))
  }

  end(layer: number | undefined): void {
    clearTimeout(this.#timers.get(layer))
    this.#timers.delete(layer)
  }
}
