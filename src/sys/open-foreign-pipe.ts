/** Opens a pipe through the descriptor of another process, and nothing else that may stand there by then. */
import { closeSync, openSync, readlinkSync } from 'node:fs'

/** open(2); Node has no name for it. The thread that opens pipes does without the library that has one. */
const pathOnly = 0o10000000

/** What the path leads to is no pipe, or another one. */
export class PipeReplaced extends Error {}

/**
 * Whoever owns the process can put anything behind its descriptor at any moment, also what he may not open himself, as by O_PATH: a file of root's, a device that does something when it is opened. So
 * what is there is held first, which opens nothing, then looked at, and that very thing is opened.
 * @param inode of the only pipe that is wanted
 * @throws PipeReplaced, SystemError
 */
export function openForeignPipe(path: string, flags: number, inode?: string): number {
  const held = openSync(path, pathOnly)
  try {
    const link = `/proc/self/fd/${held}`
    const target = readlinkSync(link) // of a file it begins with a slash
    const isWanted = inode === undefined ? /^pipe:\[\d+\]$/.test(target) : target === `pipe:[${inode}]`
    if (!isWanted)
      throw new PipeReplaced(`${path} leads to ${target}${inode === undefined ? '' : `, not to pipe ${inode}`}`)
    return openSync(link, flags)
  } finally {
    closeSync(held)
  }
}
