import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Makes a directory with all that is missing above it, one after the other: of a filesystem that is read-only Node's own recursion says that something is missing. Another process may make the same meanwhile.
 * It looks first: on a frozen filesystem mkdir hangs also for what is there.
 * @throws Node's error
 */
export function makePath(path: string, mode: number): void {
  if (existsSync(path)) return
  makePath(dirname(path), mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !existsSync(path)) throw error
  }
}
