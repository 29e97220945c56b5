import { closeSync, constants, fstatSync, lstatSync, openSync } from 'node:fs'
import { tryFlock } from './libc.ts'

/** A directory that is somebody's as long as his process lives: locked (flock(2)) until it is disposed. */
export class DirectoryLock implements Disposable {
  readonly #fd: number

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Open on the directory until the lock is disposed. */
  get fd(): number {
    return this.#fd
  }

  /** A path to this very directory, whatever takes its name meanwhile. */
  get here(): string {
    return `/proc/self/fd/${this.#fd}`
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }
}

/** Undefined if somebody has it, or if what has this name is no directory, or none any more once it is locked. */
export function tryLockDirectory(path: string): DirectoryLock | undefined {
  let fd = -1
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
    if (tryFlock(fd) && lstatSync(path).ino === fstatSync(fd).ino) return new DirectoryLock(fd)
  } catch (error) {
    if (!/^(ENOENT|ENOTDIR|ELOOP)$/.test((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
  if (fd >= 0) closeSync(fd)
  return undefined
}
