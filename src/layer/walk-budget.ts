import { WindlassError } from '../errors.ts'
import { AT_FDCWD, close, cPath, fstat, O, readlinkat, tryOpenat } from '../sys/libc.ts'
import { S_IFDIR, S_IFLNK, S_IFMT } from './file-type.ts'

/** What takes longer is counted. Any number of shorter ones costs no more than the entries themselves: a file takes the kernel some 30 µs. */
const slowMs = 0.25
/** As many symlinks as the kernel follows on one walk (path_resolution(7)). */
export const linksMax = 40

/**
 * Bounds what the walks to the names of a layer cost. One name may lead through forty symlinks of two thousand parts each, which takes the kernel
 * tens of milliseconds; four million of them would take days. So what was slow is walked again, step by step, and its steps are counted.
 */
export class WalkBudget {
  readonly #stepsMax: number
  #steps = 0

  constructor(stepsMax: number) {
    this.#stepsMax = stepsMax
  }

  /**
   * Does what walks to these names (clean, from the root of the calling thread).
   * @throws WindlassError LIMIT_EXCEEDED
   */
  timed<T>(names: readonly string[], act: () => T): T {
    const begunMs = performance.now()
    const result = act()
    if (performance.now() - begunMs > slowMs) for (const name of names) this.#count(name)
    return result
  }

  #count(name: string): void {
    this.#steps += countSteps(name, this.#stepsMax - this.#steps)
    if (this.#steps <= this.#stepsMax) return
    const state = `its names lead through more than ${this.#stepsMax} directories and symlinks`
    throw new WindlassError('LIMIT_EXCEEDED', `Cannot unpack layer: ${state}`)
  }
}

/** Steps of the walk to a name, as far as it leads; no more than one beyond `stepsMax`. */
function countSteps(name: string, stepsMax: number): number {
  let parts = name.split('/').reverse()
  let [steps, links] = [0, 0]
  let fd = openRoot()
  while (fd >= 0 && steps <= stepsMax && links <= linksMax) {
    const part = parts.pop()
    if (part === undefined) break
    if (part === '' || part === '.') continue
    steps++
    const next = tryOpenat(fd, cPath(part, 'latin1'), O.PATH | O.NOFOLLOW)
    const type = next < 0 ? 0 : fstat(next).mode & S_IFMT
    if (type === S_IFLNK && parts.length > 0) {
      links++
      const target = readlinkat(next)
      parts = [...parts, ...target.split('/').reverse()]
      close(next)
      if (!target.startsWith('/')) continue
      close(fd)
      fd = openRoot()
    } else {
      close(fd)
      fd = type === S_IFDIR ? next : -1
      if (type !== S_IFDIR && next >= 0) close(next)
    }
  }
  if (fd >= 0) close(fd)
  return steps
}

function openRoot(): number {
  return tryOpenat(AT_FDCWD, cPath('/'), O.PATH | O.DIRECTORY)
}
