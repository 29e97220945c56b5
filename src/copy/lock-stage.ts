import { describeState } from '../flow/evidence.ts'
import { meterWork, StageMeter } from '../flow/stage.ts'
import type { LockHolder, LockWait } from '../places/store/types.ts'
import { readTask } from '../sys/tasks.ts'
import { probePool } from './pool-stage.ts'

type HolderFacts = Partial<Pick<ReturnType<StageMeter['sample']>, 'waits' | 'item' | 'task' | 'units' | 'bytesIn'>>

/** Somebody else who makes a layer or its blob, and who has been waited for a moment. */
export interface Holder {
  /** Undefined if it cannot be seen from here: another user's process, or one of another container. */
  readonly pid: number | undefined
  /** `pid 4711 (windlass pull debian:12, state T (stopped by a signal))`. */
  readonly description: string
}

/**
 * The wait for another process that makes the same thing, as a stage: it moves as long as that process does anything at all, since a windlass that runs
 * finds its own stalls and comes to its end. If it does not move, what it makes is made beside it.
 */
export class LockStage {
  readonly meter = new StageMeter('lock', 'lock', closer => this.#probe(closer))
  /** What is done to the disk before and after the wait: directories and a partial are made. */
  readonly opening = new StageMeter('open', 'open', probePool)
  /** For whoever takes the lock. */
  readonly wait: LockWait
  readonly #beside = new AbortController()
  readonly #bytesHere: () => number
  readonly #onHolder: (holder: Holder) => void
  #find: (() => LockHolder | undefined) | undefined
  #facts: HolderFacts = {}
  #isTold = false

  /** @param bytesHere what there is of the thing: the only sign of life of a holder that cannot be seen */
  constructor(bytesHere: () => number, onHolder: (holder: Holder) => void) {
    this.#bytesHere = bytesHere
    this.#onHolder = onHolder
    this.wait = {
      beside: this.#beside.signal,
      onHeld: find => {
        this.#find = find
        this.opening.active = false
        this.meter.active = true
      },
    }
  }

  /** Whatever takes a lock with `wait`. */
  async take<T>(work: Promise<T>): Promise<T> {
    try {
      return await meterWork(work, this.opening)
    } finally {
      this.#find = undefined
      this.#facts = {}
      this.#isTold = this.meter.active = false
    }
  }

  /** From now on nobody is waited for. */
  leave(): void {
    this.#beside.abort()
  }

  #probe(closer: boolean): HolderFacts {
    if (closer && this.#find !== undefined) this.#facts = this.#look(this.#find())
    return this.#facts
  }

  #look(holder: LockHolder | undefined): HolderFacts {
    // Another layer of this pull: who watches over that one watches over this.
    if (holder?.pid === process.pid) return { waits: 'input' }
    const task = holder && readTask(holder.pid)
    const name = holder && ['windlass', holder.purpose].filter(Boolean).join(' ')
    this.#tell({
      pid: holder?.pid,
      description: holder
        ? `pid ${holder.pid} (${name}, state ${describeState(task?.state ?? '?')})`
        : 'a process that cannot be seen from here',
    })
    return {
      item: holder ? `held by pid ${holder.pid}, ${name}` : 'held by a process that cannot be seen from here',
      task,
      units: (task?.cpuTicks ?? 0) + (task?.switches ?? 0),
      bytesIn: this.#bytesHere(),
    }
  }

  #tell(holder: Holder): void {
    if (!this.#isTold) this.#onHolder(holder)
    this.#isTold = true
  }
}
