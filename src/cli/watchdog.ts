import { startThread } from '../sys/thread.ts'
import type { LastReport } from './report/last.ts'

/** What the thread of the watchdog is given. */
export interface WatchdogOrder {
  /** Two words: the beat of the main thread, and whether all is done. */
  readonly beat: SharedArrayBuffer
  readonly front: number | undefined
  readonly tellMs: number
  readonly leaveMs: number
  readonly json: boolean
  readonly quiet: boolean
  /** A report that was asked for. */
  readonly report: LastReport | undefined
}

const everyMs = 250
const threadUrl = new URL(import.meta.url.replace(/watchdog(\.[jt]s)$/, 'watchdog-thread$1'))

/**
 * Watches the main thread from another one. Small things are done to the disk in the main thread: the store's database, its directories. A disk that
 * does not answer keeps it there, and with it every message and the answer to every signal. The watchdog names the call and its file after
 * `tellMs`, and ends the process as STALLED after `leaveMs`. It is no reason for the process to stay.
 */
export function startWatchdog(order: Omit<WatchdogOrder, 'beat'>): Disposable {
  const beat = new SharedArrayBuffer(8)
  const words = new Int32Array(beat)
  const timer = setInterval(() => Atomics.add(words, 0, 1), everyMs).unref()
  const worker = startThread(threadUrl, { workerData: { ...order, beat } satisfies WatchdogOrder })
  worker.on('error', () => {}) // without it the work goes on unwatched
  worker.unref()
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer)
      Atomics.store(words, 1, 1)
      Atomics.notify(words, 1)
    },
  }
}
