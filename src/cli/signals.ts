import { writeSync } from 'node:fs'
import { constants as osConstants } from 'node:os'
import { WindlassError } from '../errors.ts'

/** After a signal, what is open gets this long to close itself; a disk that hangs must not hold the user. */
const leaveMs = 3000

export interface SignalWatch {
  /** Aborts on the first signal. */
  readonly signal: AbortSignal
  /** 128 and the signal's number, once there was one. */
  status(): number | undefined
}

/**
 * The first signal cancels the run; a second one ends it on the spot, and so does a run that does not come to its end. Hangups that whoever
 * started it had ignored (nohup) stay so: Node resets that on its start, but the launcher has seen it. With a front, which passes signals on, the
 * same signal may come twice, from a terminal and from the front: then the front minds the second.
 */
export function watchSignals(process: NodeJS.Process, front?: number): SignalWatch {
  const controller = new AbortController()
  let status: number | undefined
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const isIgnored = name === 'SIGHUP' && process.env['WINDLASS_IGNORE_HUP'] === '1'
    process.on(name, () => {
      if (isIgnored) return
      if (status !== undefined) {
        if (front === undefined) void leave(status, front)
        return
      }
      status = 128 + osConstants.signals[name]
      setTimeout(leave, leaveMs, status, front).unref()
      controller.abort(new WindlassError('CANCELLED', `Cannot go on: stopped by ${name}`))
    })
  }
  return { signal: controller.signal, status: () => status }
}

/** Loaded only now: a run without a signal needs no libc for its end. */
async function leave(status: number, front: number | undefined): Promise<void> {
  tell('windlass: stopped; what did not answer is left behind\n')
  const { exitThroughFront } = await import('../sys/front.ts')
  await exitThroughFront(front, status)
}

function tell(text: string): void {
  try {
    writeSync(2, text)
  } catch {} // nobody reads any more
}
