/** What services have left of their tries: of a store that is gone, and of an earlier boot where /run is kept over one. */
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { HostView } from '../../sys/host-view.ts'
import { readProcess } from '../../sys/tasks.ts'
import { hourMs } from './rescue-limits.ts'

const triesPrefix = 'tries-'

/** Of one store, and one boot. */
export function triesName(hash: string): string {
  return `${triesPrefix}${hash.slice(0, 16)}`
}

/** Removes those that say nothing any more: an hour has passed since the last try, and none of the processes that were tried is there. */
export function sweepTries(directory: string, host: HostView): void {
  try {
    for (const name of readdirSync(directory)) {
      const path = join(directory, name)
      if (name.startsWith(triesPrefix) && isOver(path, host)) rmSync(path, { force: true })
    }
  } catch {} // it is not there yet, or not ours
}

function isOver(path: string, host: HostView): boolean {
  const facts = statSync(path)
  if (!facts.isFile() || host.now() - facts.mtimeMs < hourMs) return false
  return !hasAnyThere(readFileSync(path, 'utf8'), host)
}

/** @param keys of decompressors: of each process its number, and when it started */
export function hasAnyThere(keys: string, host: HostView): boolean {
  return [...keys.matchAll(/(\d+)@(\d+)/g)].some(
    ([, pid, startTicks]) => readProcess(Number(pid), host)?.startTicks === Number(startTicks),
  )
}
