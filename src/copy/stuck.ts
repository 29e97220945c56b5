import type { WindlassError } from '../errors.ts'
import { defaultBlameLimits, type VerdictKind } from '../flow/blame.ts'

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
export const engineHint =
  "'windlass doctor' looks into engines that stand still; pull again when it answers: what was fetched is kept"
/** Who stands still is named after this; only then begins the wait that may be chosen. */
const namedMs = defaultBlameLimits.processIdleMs
/** dockerd syncs and commits in silence, however much it has unpacked. */
export const engineMsDefault = 600_000

/** How long an engine that says nothing is waited for in all, where that was chosen. */
export function engineSilenceMs(engineMs: number | undefined): number | undefined {
  return engineMs === undefined ? undefined : namedMs + engineMs
}
/** Closing what is open would need the disk, too: it gets this long. */
const closeMs = 2_000

/**
 * Bounds the wait for a disk, or an engine, that does not answer. When it has passed, the pull fails although its own cleaning up may never end.
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
  begin(layer: number | undefined, error: WindlassError, failure: AbortController, waitMs = this.#waitMs): void {
    this.end(layer)
    const giveUp = (): void => {
      failure.abort(error)
      setTimeout(this.#giveUp, closeMs, error)
    }
    this.#timers.set(layer, setTimeout(giveUp, waitMs))
  }

  end(layer: number | undefined): void {
    clearTimeout(this.#timers.get(layer))
    this.#timers.delete(layer)
  }
}
