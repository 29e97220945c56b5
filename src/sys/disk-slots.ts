/**
 * Who may ask disks, so that a dead one takes neither all threads nor the answers of others: a question that hangs keeps its thread, and libuv has a fixed number of them for all
 * that this process asks.
 */

/** What asks one disk, or about one process, at a time: as many as may hang with it. The last place is for the question by which a disk is called silent. */
const scopeMax = 3
/** For whatever else this process asks of the kernel meanwhile. */
const reserve = 2

interface Scope {
  running: number
  hanging: number
}

export class DiskSlots {
  /** Paths of late questions that are still out, each with its thread. */
  readonly out = new Set<string>()
  readonly #max: number
  readonly #all: Scope = { running: 0, hanging: 0 }
  readonly #scopes = new Map<string, Scope>()
  #waiting: (() => void)[] = []

  /** @param threads of libuv's pool */
  constructor(threads: number) {
    this.#max = Math.max(1, threads - reserve)
  }

  /** @returns undefined if all that may ask there hang: nothing more is to be asked */
  async take(name: string, isLast = false): Promise<DiskSlot | undefined> {
    const max = isLast ? scopeMax : scopeMax - 1
    for (;;) {
      const scope = this.#scopes.get(name) ?? { running: 0, hanging: 0 }
      if (scope.running < max && this.#all.running < this.#max) return this.#open(name, scope)
      if (scope.hanging >= max || this.#all.hanging >= this.#max) return undefined
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
  }

  #open(name: string, scope: Scope): DiskSlot {
    const scopes = [scope, this.#all]
    this.#scopes.set(name, scope)
    const count = (what: keyof Scope, by: number) => {
      for (const scope of scopes) scope[what] += by
    }
    count('running', 1)
    let hangs = false
    const wake = () => {
      for (const resolve of this.#waiting.splice(0)) resolve()
    }
    return {
      hang: () => {
        hangs = true
        count('hanging', 1)
        wake()
      },
      release: () => {
        count('running', -1)
        if (hangs) count('hanging', -1)
        if (scope.running === 0) this.#scopes.delete(name)
        wake()
      },
    }
  }
}

/** What libuv starts if nobody says otherwise. */
const poolThreads = 4
let own: DiskSlots | undefined

/** Those of this process, however often it looks: what hangs in its pool stays there. Whoever asks first says how many threads libuv has. */
export function ownDiskSlots(threads = poolThreads): DiskSlots {
  own ??= new DiskSlots(threads)
  return own
}

/** The right to ask one question. */
export interface DiskSlot {
  /** It is no longer waited for, and has not come back. */
  hang(): void
  /** It has come back, perhaps late. */
  release(): void
}
