import { isHeld, readTasks, type TaskFacts } from '../sys/tasks.ts'

/** The threads of libuv's pool, and those of them that the kernel holds: syncs, renames and writes of the partial are done there. */
function readPool(): { readonly size: number; readonly held: readonly TaskFacts[] } {
  const threads = readTasks(process.pid).filter(({ name }) => name.startsWith('libuv-worker'))
  return { size: threads.length, held: threads.filter(isHeld) }
}

export function probePool(closer: boolean) {
  return closer ? { task: readPool().held[0] } : {}
}

/** Decompression in process is done in the pool, too: when the disk holds all its threads, nobody is left to do it. */
export function probeInProcess(closer: boolean) {
  const { size, held } = closer ? readPool() : { size: 0, held: [] }
  if (size === 0 || held.length < size) return {}
  return { item: `in process, behind ${size} threads that all wait for the disk`, task: held[0] }
}
