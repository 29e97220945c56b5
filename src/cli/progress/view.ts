import type { PullEvent } from '../../copy/events.ts'

/** A way to show progress, without a clock and without a stream: each call gives the text to be written. */
export interface View {
  handle(event: PullEvent, now: number): string
  /** Called about ten times a second. */
  tick(now: number): string
  /** Takes what is drawn off the screen, for something else to be written there; the next call draws it again below. */
  clear(): string
  /** Called once, at the end, whether it went well or not. */
  close(now: number): string
}
