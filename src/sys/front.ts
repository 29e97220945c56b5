/**
 * The front process: the shell of bin/windlass, which stays and waits for the program. A process with one thread in a system call that does not
 * return cannot be reaped, not even after SIGKILL, and whoever waits for it waits as long; its front can leave in its place.
 */
import { readFileSync } from 'node:fs'
import { diesWithParent, exitNow } from './libc.ts'
import { threadIds } from './tasks.ts'

/** The status of what SIGKILL ended. */
const killed = 137

/** From now on this process dies when its front does, as whoever kills the front means. */
export function joinFront(front: number): void {
  diesWithParent()
  if (process.ppid !== front) exitNow(killed)
}

/** Ends this process at once, and tells the front if the kernel may hold a thread of it: then the front leaves alone. */
export function exitThroughFront(front: number | undefined, status: number): never {
  if (front !== undefined && process.ppid === front && hasHeldThread()) process.kill(front, 'SIGUSR1')
  return exitNow(status)
}

function hasHeldThread(): boolean {
  return threadIds(process.pid).some(tid => {
    try {
      return readFileSync(`/proc/self/task/${tid}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .startsWith('D')
    } catch {
      return false
    }
  })
}
