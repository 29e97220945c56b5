import type { ByteLock } from '../../sys/byte-locks.ts'
import type { StoreContext } from './context.ts'
import type { LockKind } from './locks.ts'
import type { LockHolder, LockWait } from './types.ts'

/** To look through all processes of the host takes a while: who was not among them is not looked for again at once. */
const missedPauseMs = 10_000

/**
 * Takes the lock of something that is to be made, once its holder lets go. Without a lock comes back who found it made meanwhile, or was told to make it
 * beside a holder that does not go on.
 */
export async function waitForTurn(
  context: StoreContext,
  kind: LockKind,
  name: string,
  options: { readonly signal: AbortSignal; readonly isMade: () => boolean; readonly wait: LockWait },
): Promise<ByteLock | undefined> {
  const { signal, isMade, wait } = options
  let isTold = false
  const isOver = (): boolean => {
    if (!isTold) wait.onHeld?.(openFinder(context, kind, name))
    isTold = true
    return wait.beside?.aborted === true || isMade()
  }
  return await context.locks.wait(kind, name, { signal, isOver })
}

/** Looks at the sessions' processes first, and at the one that was found before first of all. */
function openFinder(context: StoreContext, kind: LockKind, name: string): () => LockHolder | undefined {
  const { locks, database } = context
  let latest: LockHolder | undefined
  let missedMs = -Infinity
  return () => {
    if (performance.now() - missedMs < missedPauseMs) return undefined
    const likely = latest === undefined ? database.listSessionPids() : [latest.pid]
    const pid = locks.findHolder(kind, name, likely)
    if (pid === undefined) missedMs = performance.now()
    if (pid !== latest?.pid) latest = pid === undefined ? undefined : { pid, purpose: database.findPurpose(pid) }
    return latest
  }
}
