/** What engines say of their pulls themselves: counts of what they do for all, and every goroutine only where a pull stands still. */
import type { HostView } from '../sys/host-view.ts'
import { describeEngine, type FoundEngine } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'
import { countAll, countPullGoroutines, type PullGoroutines, readAnyGoroutines, readGoroutines } from './goroutines.ts'
import { tellUnanswered } from './unanswered.ts'

/** How an engine stands, as its processes and files show it. */
export interface EngineWork {
  /** A pipeline, or a download. */
  readonly isWorking: boolean
  /** Something of that was seen to move. */
  readonly isMoving: boolean
  /** A file of it does not grow: it is downloaded to, or unpacked. */
  readonly isUnclear?: boolean
}

export class DumpWatch {
  readonly #host: HostView
  readonly #startMs: number
  /** By engine, first the counts, later the whole. */
  readonly #dumps = new Map<FoundEngine, string>()
  #asked: Promise<unknown> | undefined

  constructor(host: HostView) {
    this.#host = host
    this.#startMs = host.elapsed()
  }

  /** Asks all once; they answer while others are looked at. */
  ask(engines: readonly FoundEngine[]): void {
    const note = async (engine: FoundEngine) => {
      const counts = await readAnyGoroutines(this.#host, engine)
      if (counts !== undefined) this.#dumps.set(engine, counts)
    }
    this.#asked ??= Promise.all(engines.map(note))
  }

  /** An engine says that pulls of it wait for what no process shows: whether they do so for long has to be seen. */
  async isWaiting(): Promise<boolean> {
    await this.#asked
    return [...this.#dumps.values()].map(countPullGoroutines).some(({ poisoned, asking }) => poisoned + asking > 0)
  }

  /**
   * Asks for all goroutines of those that have a pull which does not move, or, beside others that do, one that waited for an answer at first and still does; of those with a file
   * that may be a download or not, once more for how many do what.
   */
  async complete(workOf: (engine: FoundEngine) => EngineWork): Promise<void> {
    await this.#asked
    const answers = [...this.#dumps].map(async ([engine, counts]) => {
      const now = await this.#askAgain(engine, counts, workOf(engine))
      if (now !== undefined) this.#dumps.set(engine, now)
    })
    await Promise.all(answers)
  }

  async #askAgain(engine: FoundEngine, counts: string, work: EngineWork): Promise<string | undefined> {
    const first = countPullGoroutines(counts)
    const whole = isStill(first, work) ? await readGoroutines(this.#host, engine, counts) : undefined
    if (whole !== undefined || (work.isUnclear !== true && first.unanswered === 0)) return whole
    const last = await readAnyGoroutines(this.#host, engine)
    if (last === undefined || first.unanswered === 0 || countPullGoroutines(last).unanswered === 0) return last
    return (await readGoroutines(this.#host, engine, last)) ?? last
  }

  /** By process. */
  get texts(): ReadonlyMap<number, string> {
    return new Map([...this.#dumps].map(([engine, dump]) => [engine.process.pid, dump]))
  }

  countsOf(engine: FoundEngine): PullGoroutines | undefined {
    const dump = this.#dumps.get(engine)
    return dump === undefined ? undefined : countPullGoroutines(dump)
  }

  /** Whether what it says is of every goroutine: counts may lack the outer frames of each. */
  isWhole(engine: FoundEngine): boolean {
    return countAll(this.#dumps.get(engine) ?? '') === 0
  }

  /** Pulls that the engine itself knows of, and that no process, pipe or file carries out. */
  judge(workOf: (engine: FoundEngine) => EngineWork): Finding[] {
    const seenMs = this.#host.elapsed() - this.#startMs
    return [...this.#dumps].flatMap(([engine, dump]) => judgeDump(engine, dump, workOf(engine), seenMs))
  }
}

function isStill({ pulls, poisoned, asking }: PullGoroutines, { isMoving, isWorking }: EngineWork): boolean {
  return poisoned + asking > 0 || ((pulls > 0 || isWorking) && !isMoving)
}

function judgeDump(engine: FoundEngine, dump: string, { isWorking }: EngineWork, seenMs: number): Finding[] {
  const counts = countPullGoroutines(dump)
  const isDetailed = countAll(dump) === 0
  const requests = describeRequests(counts, isDetailed)
  const { pulls, pullMinutes, unanswered, unansweredMinutes } = counts
  const found = [
    ...(counts.poisoned > 0 ? [tellPoisoned(engine, counts, { isWorking, isDetailed, requests, seenMs })] : []),
    ...(counts.askingMinutes > 0 ? [tellAsking(engine, counts, requests)] : []),
    ...(unansweredMinutes > 0 ? [tellUnanswered(engine, { unanswered, unansweredMinutes }, [requests])] : []),
  ]
  if (found.length > 0) return found
  // It is between two steps, or containerd does all for it.
  if (pulls === 0 || isWorking) return []
  return [makeFinding('PULL_WAITS', describeEngine(engine), { evidence: [requests], facts: { pulls, pullMinutes } })]
}

function describeRequests({ pulls, pullMinutes, unpacking, downloading }: PullGoroutines, isDetailed: boolean): string {
  const age = isDetailed ? `, the oldest for ${pullMinutes} minutes` : ''
  return `it has ${pulls} requests for pulls${age}; ${unpacking} layers are being unpacked, ${downloading} downloaded`
}

interface PoisonedFacts {
  readonly isWorking: boolean
  readonly isDetailed: boolean
  readonly requests: string
  readonly seenMs: number
}

/** A transfer that was cancelled a moment ago may yet end by itself: only one that has been waited for as long as a minute is called stuck. */
function tellPoisoned(engine: FoundEngine, counts: PullGoroutines, facts: PoisonedFacts): Finding {
  const { isWorking, isDetailed, requests, seenMs } = facts
  const { pulls, pullMinutes, unpacking, downloading, poisoned, poisonedMinutes } = counts
  const seen = `it was so in the ${(seenMs / 1000).toFixed(1)} s in which it was looked at`
  const age = !isDetailed
    ? `it has too many goroutines to ask for how long: ${seen}`
    : poisonedMinutes === 0
      ? `for less than a minute, as far as the engine can tell (it counts from a collection of garbage on): ${seen}`
      : `for ${poisonedMinutes} minutes at least`
  const evidence = [
    `${poisoned} of its goroutines wait for an earlier transfer of the same layer that has not ended (transferManager.Transfer)`,
    age,
    requests,
    isWorking
      ? 'they are freed when what is reported beside this comes to its end'
      : 'no decompressor, untar or download of it is left',
  ]
  const severity = isWorking || poisonedMinutes === 0 ? 'note' : 'problem'
  return makeFinding('TRANSFER_POISONED', describeEngine(engine), {
    evidence,
    facts: { pulls, pullMinutes, unpacking, downloading, poisoned, poisonedMinutes, seenMs: Math.round(seenMs) },
    severity,
  })
}

/** A containerd answers within milliseconds. */
function tellAsking(engine: FoundEngine, { asking, askingMinutes, mute }: PullGoroutines, requests: string): Finding {
  const evidence = [
    `${asking} of its pulls wait for an answer of containerd, the oldest for ${askingMinutes} minutes`,
    ...(mute > 0
      ? [
          `${mute} of its connections there have nobody left who writes: a write has failed, and nothing that it asks there gets an answer`,
        ]
      : []),
    requests,
  ]
  const facts = { enginePid: engine.process.pid, asking, askingMinutes, mute }
  return makeFinding('CONTAINERD_SILENT', describeEngine(engine), { evidence, facts })
}
