/** What a probe finds out. It stands by itself: a pull reads what an earlier probe found, and loads nothing of what probes. */

/** What the probe concludes, the worst first. */
export const verdicts = ['wrong-bytes', 'hangs', 'dies', 'missing-error', 'unavailable', 'slow', 'certified'] as const
export type Verdict = (typeof verdicts)[number]

/** What was wrong with one shape. */
export interface Problem {
  readonly shape: string
  readonly verdict: Verdict
  readonly message: string
  /** Whether pigz with one thread (`-p 1`) gets the same shape right: then its threads are to blame, not its data path. */
  readonly isRightWithOneThread?: boolean
}

/** What the probe found out about one program. */
export interface Probe {
  readonly verdict: Verdict
  readonly problems: readonly Problem[]
  /** Its speed divided by the speed in process, on the same data; absent where it was not worth measuring. */
  readonly speedRatio?: number
  /** Bytes per second that it gave out. */
  readonly speed?: number
  /** The first line of `--version`. */
  readonly version: string
  readonly tookMs: number
}
