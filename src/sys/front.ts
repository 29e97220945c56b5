/**
 * The front process: the shell of bin/windlass, which stays and waits for the program. A process with one thread in a system call that does not
 * return cannot be reaped, not even after SIGKILL, and whoever waits for it waits as long; its front can leave in its place.
 */
import { closeSync, existsSync, readFileSync } from 'node:fs'
import { diesWithParent, exitNow } from './libc.ts'
import { threadIds } from './tasks.ts'

/** The status of what SIGKILL ended. */
const killed = 137

/** From now on this process dies when its front does, as whoever kills the front means. */
export function joinFront(front: number): void {
  diesWithParent()
  if (process.ppid !== front) exitNow(killed)
}

/** True once the front has been given a signal to pass on. It opens a descriptor then: whoever shares no memory with it can see that, too. */
export function hasSignal(front: number): boolean {
  return existsSync(`/proc/${front}/fd/9`)
}

/**
 * Ends this process at once. If the kernel may hold a thread of it, the front is told, and leaves alone; and since what a held process has open
 * stays open, the standard streams are closed first: somebody may read them to their end.
 */
export function exitThroughFront(front: number | undefined, status: number): never {
  if (hasHeldThread()) {
    if (front !== undefined && process.ppid === front) process.kill(front, 'SIGUSR1')
    for (const fd of [0, 1, 2]) closeQuietly(fd)
  }
  return exitNow(status)
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {} // it was closed before
}

function hasHeldThread(): boolean {
  return threadIds(process.pid).some(tid => {
    try {
      return readFileSync(`/proc/self/task/${tid}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .startsWith('D')
    } catch {
      return false // it has ended
    }
  })
}
