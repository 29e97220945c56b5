import type { PullEvent } from '../../copy/events.ts'

/** A way to show progress, without a clock and without a stream: each call gives the text to be written. */
export interface View {
  handle(event: PullEvent, now: number): string
  /** Called about ten times a second. */
  tick(now: number): string
  /** Called once, at the end, whether it went well or not. */
  close(now: number): string
}
