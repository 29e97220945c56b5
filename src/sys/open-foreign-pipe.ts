/** Opens a pipe or file through the descriptor of another process, and nothing else that may stand there by then. */
import { closeSync, constants, fstatSync, openSync, readlinkSync } from 'node:fs'

/** O_PATH of open(2), on all architectures that Node runs on: opens nothing, waits for no FIFO, rewinds no tape. Node has no name for it. The thread that opens pipes does without the library that has one. */
export const pathOnly = 0o10000000

/** What the path leads to is not what is wanted, or another one. */
export class Replaced extends Error {}

/**
 * Whoever owns the process can put anything behind its descriptor at any moment, also what he may not open himself, as by O_PATH: a file of root's, a device that does something when it is opened. So
 * what is there is held first, which opens nothing, then looked at, and that very thing is opened.
 * @param inode of the only pipe that is wanted
 * @throws Replaced, SystemError
 */
export function openForeignPipe(path: string, flags: number, inode?: string): number {
  return openHeld(path, flags, (target, held) => {
    const isWanted = inode === undefined ? /^pipe:\[\d+\]$/.test(target) : target === `pipe:[${inode}]`
    return isWanted && fstatSync(held).isFIFO()
  })
}

/** The same of a regular file, for reading, as long as it is the one with this name. @throws Replaced, SystemError */
export function openForeignFile(path: string, name: string): number {
  return openHeld(path, constants.O_RDONLY, (target, held) => target === name && fstatSync(held).isFile())
}

function openHeld(path: string, flags: number, isWanted: (target: string, held: number) => boolean): number {
  const held = openSync(path, pathOnly)
  try {
    const link = `/proc/self/fd/${held}`
    const target = readlinkSync(link) // of a file it begins with a slash
    if (!isWanted(target, held)) throw new Replaced(`${path} leads to ${target} by now`)
    return openSync(link, flags)
  } finally {
    closeSync(held)
  }
}
