/** An engine as a whole: whether it is stopped, or held by the kernel, and what it moves. */
import { type BlameLimits, blame } from '../flow/blame.ts'
import type { PipelineSample } from '../flow/stage.ts'
import type { HostView } from '../sys/host-view.ts'
import { ticksPerSecond } from '../sys/process-age.ts'
import { catalogue, type FindingCode } from './catalogue.ts'
import { asksAnother, surroundingsOf } from './clients.ts'
import { DiskWatch } from './disk-watch.ts'
import type { DownloadWatch } from './download-watch.ts'
import { describeEngine, type FoundEngine, isStreaming } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'
import { mayBeSlow, reasonOf } from './reason.ts'
import { type LineWatch, lookAt, type ProcessLook, SleepCount } from './sample.ts'
import { hideInWords } from './secrets.ts'
import { findUnanswered } from './unanswered.ts'

/** What a command that waits writes to its terminal and to itself meanwhile is less. */
const idleBytes = 4096
/** What a daemon that is asked how it is, each second, reads and writes is less, and so is the processor time that it takes, as a share of one. */
const idleBytesPerSecond = 256 * 1024
const idleShare = 0.1

/** A tracer stops whom it follows for moments at each of its calls: only who was found stopped in so many looks, and has not run between them, is. */
const stoppedLooksMin = 3

/** The engine itself: its state, and threads of it that the kernel does not let go. */
export class EngineWatch {
  readonly disk: DiskWatch
  readonly #host: HostView
  readonly #engine: FoundEngine
  readonly #samples: PipelineSample[] = []
  readonly #sleep = new SleepCount()
  #state = ''
  #stoppedLooks = 0
  #switches: number | undefined
  #firstBytes: number | undefined
  #ticks = 0
  #firstTicks: number | undefined
  #bytes = 0

  constructor(host: HostView, engine: FoundEngine) {
    this.#host = host
    this.#engine = engine
    this.disk = new DiskWatch(host, engine)
  }

  /** It is the command that pulls. */
  get isPull(): boolean {
    return isStreaming(this.#engine) && this.#engine.args.includes('pull')
  }

  look(): void {
    this.disk.look()
    const look = lookAt(this.#host, this.#engine.process.pid)
    if (look === undefined) return
    this.#noteState(look)
    this.#bytes = look.read + look.written
    this.#firstBytes ??= this.#bytes
    this.#ticks = look.userTicks + look.systemTicks
    this.#firstTicks ??= this.#ticks
    const { task, units } = this.#sleep.count(look)
    const isAsleep = task?.state === 'D'
    const stage = { name: describeEngine(this.#engine), kind: 'sync', bytesIn: 0, bytesOut: 0, units } as const
    const waits = isAsleep ? 'itself' : 'nobody'
    this.#samples.push({ timeMs: this.#host.elapsed(), stages: [{ ...stage, waits, ...(isAsleep && { task }) }] })
  }

  #noteState({ tasks }: ProcessLook): void {
    const { state = '', switches } = tasks.find(({ tid, pid }) => tid === pid) ?? {}
    const isSame = this.#state === state && this.#switches === switches
    this.#stoppedLooks = !/[Tt]/.test(state) ? 0 : isSame ? this.#stoppedLooks + 1 : 1
    this.#state = state
    this.#switches = switches
  }

  /** A thread of it sleeps out of reach now. */
  get isAsleep(): boolean {
    return this.#samples.at(-1)?.stages[0]?.waits === 'itself'
  }

  isDecided(limits: BlameLimits): boolean {
    const verdict = blame(this.#samples, limits)
    return verdict !== undefined && !mayBeSlow(verdict)
  }

  /** By a signal or a tracer: it answers nobody. */
  get isStopped(): boolean {
    return this.#stoppedLooks >= stoppedLooksMin
  }

  /**
   * @param isPulling whether a pull of it is to be seen
   * @returns undefined where nothing is to be said of it
   */
  judge(limits: BlameLimits, isPulling: boolean): Finding[] | undefined {
    const subject = describeEngine(this.#engine)
    const facts = { engine: this.#engine.kind, enginePid: this.#engine.process.pid }
    if (this.isStopped)
      return [makeFinding('ENGINE_STOPPED', subject, { evidence: [`its process is in state ${this.#state}`], facts })]
    const verdict = blame(this.#samples, limits)
    if (verdict?.kind !== 'disk-wait') return undefined
    const reason = reasonOf(verdict, [], { isOutputClosed: false, disk: this.disk.over(verdict.sinceMs) })
    if (reason === undefined) return undefined
    const evidence = [...verdict.evidence, ...reason.evidence, ...(isPulling ? [] : ['no pull of it is to be seen'])]
    const details = {
      evidence,
      confidence: reason.confidence ?? verdict.confidence,
      facts: { ...verdict.facts, ...facts },
    }
    const usual = reason.severity ?? catalogue[reason.code].severity
    if (isPulling) return [makeFinding(reason.code, subject, { ...details, severity: usual })]
    // Where nobody pulls, nobody waits: what may only be slow is then the engine's own business.
    if (usual === 'note') return undefined
    return [makeFinding(reason.code, subject, { ...details, severity: mayBeSlow(verdict) ? 'note' : 'warning' })]
  }

  /** Bytes that it has read and written while it was looked at. */
  get #moved(): number {
    return this.#bytes - (this.#firstBytes ?? 0)
  }

  /** It has done less while it was looked at than who unpacks in his own process: others may ask it how it is. */
  get isIdle(): boolean {
    const seconds = (this.#host.elapsed() - (this.#samples[0]?.timeMs ?? 0)) / 1000
    const ticks = this.#ticks - (this.#firstTicks ?? 0)
    return (
      this.#moved <= Math.max(idleBytes, idleBytesPerSecond * seconds) && ticks <= ticksPerSecond * idleShare * seconds
    )
  }

  /** A command that pulls by itself is a pull also while it has nothing to show: it asks a registry, or waits for its answer. */
  async judgeCommand(open: readonly LineWatch[], downloads: DownloadWatch): Promise<Finding[]> {
    const engine = this.#engine
    const { kind, args, process } = engine
    const isSeen = downloads.has(engine) || open.some(({ line }) => line.engine === engine)
    if (!this.isPull || isSeen || this.#samples.length === 0) return []
    const bytes = this.#moved
    const ms = this.#host.elapsed() - (this.#samples[0]?.timeMs ?? 0)
    const evidence = [
      `${hideInWords(args).slice(0, 8).join(' ')}: no download and no decompressor of it is to be seen`,
      `in ${(ms / 1000).toFixed(1)} s it read and wrote ${bytes.toLocaleString('en-US')} bytes, sockets among them`,
    ]
    const facts = { engine: kind, enginePid: process.pid, bytes }
    const tell = (code: FindingCode) => [makeFinding(code, describeEngine(engine), { evidence, facts })]
    if (bytes > idleBytes) return tell('PULL_MOVES')
    const around = surroundingsOf(this.#host, process.pid, engine.environment)
    // A podman may be told to have another one pull: then it waits for that one, and not for a registry.
    const isOfOther = kind === 'podman' && (await asksAnother(args, around))
    const unanswered = isOfOther
      ? undefined
      : await findUnanswered(this.#host, engine, { isCommand: true, ageMs: Infinity, evidence })
    return unanswered === undefined ? tell('PULL_WAITS') : [unanswered]
  }
}
