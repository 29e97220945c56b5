/** Waits that end when it is too late, and not only when this thread comes to look: while it is held up, answers that have come are not seen. */

/** Of a timer that comes late no more is counted than this. */
const sliceMs = 250

/** Calls `act` after so much time in which this thread was not held up, and once what has come meanwhile is seen. @returns what cancels it */
export function afterFreeTime(ms: number, act: () => void): () => void {
  let leftMs = ms
  let next: () => void = () => {}
  const goOn = (): void => {
    const slice = Math.min(sliceMs, leftMs)
    leftMs -= slice
    const timer = setTimeout(leftMs > 0 ? goOn : finish, slice)
    next = () => clearTimeout(timer)
  }
  // Timers come before what the kernel has to tell, and this after it.
  const finish = (): void => {
    const turn = setImmediate(act)
    next = () => clearImmediate(turn)
  }
  goOn()
  return () => next()
}

/** @returns whether it has settled within so much time in which this thread was not held up */
export async function settlesInFreeTime(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>()
  const cancel = afterFreeTime(ms, () => resolve(false))
  try {
    return await Promise.race([promise.then(() => true), late])
  } finally {
    cancel()
  }
}
