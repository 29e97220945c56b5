import { constants as osConstants } from 'node:os'
import { AT_FDCWD, close, cPath, fstat, lastErrno, O, readlinkat, tryOpenat } from '../sys/libc.ts'
import { S_IFDIR, S_IFLNK, S_IFMT } from './file-type.ts'
import { linksMax } from './walk-budget.ts'

/**
 * Where a name leads from the root of the calling thread, without symlinks, also where something on the way is missing: a symlink may lead to a
 * directory that comes later, or that only a layer below has. Nothing leads above the root. Undefined for a circle, and for a way through something
 * that is no directory, or back out of what is missing.
 */
export function resolveMissing(name: string): string | undefined {
  const walk = new Walk()
  try {
    const todo = name.split('/').reverse()
    for (let links = 0, part = todo.pop(); part !== undefined; part = todo.pop()) {
      const target = walk.step(part)
      if (target === undefined) continue
      if (target === 'blocked' || ++links > linksMax) return undefined
      if (target.startsWith('/')) walk.restart()
      todo.push(...target.split('/').reverse())
    }
    return walk.path
  } finally {
    walk.close()
  }
}

/** Goes from one directory to the next by its descriptor; by path, names of two thousand parts would cost millions of steps. */
class Walk {
  #way: string[] = []
  /** How many of them are there. */
  #there = 0
  #fd = openRoot()

  get path(): string {
    return this.#way.join('/')
  }

  /** @returns where a symlink leads, which was not followed; `blocked` by what is no directory */
  step(part: string): string | undefined {
    if (part === '' || part === '.') return undefined
    const isMissing = this.#there < this.#way.length
    if (part === '..') return isMissing ? 'blocked' : this.#leave()
    if (isMissing) return void this.#way.push(part)
    const next = tryOpenat(this.#fd, cPath(part, 'latin1'), O.PATH | O.NOFOLLOW)
    if (next < 0 && lastErrno() !== osConstants.errno.ENOENT) return 'blocked'
    const type = next < 0 ? 0 : fstat(next).mode & S_IFMT
    if (type === S_IFLNK) return takeTarget(next)
    if (next >= 0 && type !== S_IFDIR) {
      close(next)
      return 'blocked'
    }
    this.#way.push(part)
    if (next >= 0) this.#enter(next)
    return undefined
  }

  restart(): void {
    this.#way = []
    this.#enter(openRoot())
    this.#there = 0
  }

  close(): void {
    if (this.#fd >= 0) close(this.#fd)
    this.#fd = -1
  }

  #leave(): undefined {
    if (this.#way.pop() === undefined) return
    const there = this.#there
    this.#enter(tryOpenat(this.#fd, cPath('..'), O.PATH | O.DIRECTORY))
    this.#there = there - 1
  }

  #enter(fd: number): void {
    this.close()
    this.#fd = fd
    this.#there++
  }
}

function openRoot(): number {
  return tryOpenat(AT_FDCWD, cPath('/'), O.PATH | O.DIRECTORY)
}

function takeTarget(symlink: number): string {
  try {
    return readlinkat(symlink)
  } finally {
    close(symlink)
  }
}
