/**
 * The front process: the shell of bin/windlass, which stays and waits for the program. A process with one thread in a system call that does not
 * return cannot be reaped, not even after SIGKILL, and whoever waits for it waits as long; its front can leave in its place.
 */
import { closeSync, existsSync } from 'node:fs'
import { familyOf, isHeld, readProcess, readTasks } from './tasks.ts'

/** libc is loaded where it is needed: the thread that watches over the main one shall cost little. */
const loadLibc = () => import('./libc.ts')

/** The status of what SIGKILL ended. */
const killed = 137

/** From now on this process dies when its front does, as whoever kills the front means. */
export async function joinFront(front: number): Promise<void> {
  const { diesWithParent, exitNow } = await loadLibc()
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
export async function exitThroughFront(front: number | undefined, status: number): Promise<never> {
  const { exitNow } = await loadLibc()
  if (hasHeldThread()) tellFront(front)
  return exitNow(status)
}

/** As `exitThroughFront`, from beside a main thread that the kernel holds. With a front, its status counts: 5, or that of a signal. */
export async function abandonMainThread(front: number | undefined, status: number): Promise<void> {
  tellFront(front)
  if (front === undefined) await exitThroughFront(front, status)
  else process.kill(process.pid, 'SIGKILL')
}

function tellFront(front: number | undefined): void {
  endChildren()
  if (front !== undefined && process.ppid === front) process.kill(front, 'SIGUSR1')
  for (const fd of [0, 1, 2]) closeQuietly(fd)
}

/** What we started watches for the end of our descriptors, but one thread that the kernel holds keeps them all open. */
function endChildren(): void {
  const children = familyOf(process.pid).filter(pid => readProcess(pid)?.parent === process.pid)
  for (const pid of children) {
    try {
      process.kill(pid, 'SIGTERM')
    } catch {} // it has just ended
  }
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {} // it was closed before
}

function hasHeldThread(): boolean {
  return readTasks(process.pid).some(isHeld)
}
