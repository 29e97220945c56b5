/** The pulls of the engines of a host, looked at for some seconds: which go on, which stand still, and who is to blame. */
import { type BlameLimits, blame, countedMs, defaultBlameLimits, type Verdict } from '../flow/blame.ts'
import type { PipelineSample } from '../flow/stage.ts'
import type { HostView } from '../sys/host-view.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { catalogue } from './catalogue.ts'
import { findFrozenGroup } from './control-groups.ts'
import { type Download, findDownloads, silentMs } from './downloads.ts'
import { type FoundEngine, isGone } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'
import { countPullGoroutines, type PullGoroutines, readGoroutines } from './goroutines.ts'
import { findLines, type Line } from './lines.ts'
import { type Reason, reasonOf } from './reason.ts'
import { type LineLook, LineWatch, lookAt, SleepCount } from './sample.ts'
import { hideInWords } from './secrets.ts'

/**
 * Who looks at a foreign pull wants an answer in seconds, and does nothing on it by itself. What is healthy moves, and is not touched by any of
 * these, however slow it is.
 */
const doctorLimits: BlameLimits = {
  ...defaultBlameLimits,
  sourceIdleMs: 5000,
  sourceBytesPerSecondMin: 0,
  decompressorIdleMs: 4000,
  decompressorBytesPerSecondMin: 256,
  decompressorWindowMs: 6000,
  diskIdleMs: 5000,
  processIdleMs: 4000,
  unexplainedMs: 5500,
}

const periodMs = 250
/** What goes on shows within that time; what does not is looked at longer. */
const shortMs = 1500
const longMs = 7000
/** On a host so busy that the watcher itself is held up, that time is longer: but not without an end. */
const wallMs = 14_000
/** What a command that waits writes to its terminal and to itself meanwhile is less. */
const idleBytes = 4096
/** Whatever moves so much in that time is not held up, and need not be looked at longer. */
const briskBytes = 65_536

export interface PullsOptions {
  readonly signal: AbortSignal
  readonly limits?: BlameLimits
}

export interface PullsResult {
  readonly findings: readonly Finding[]
  /** Also those that have ended meanwhile. */
  readonly lines: readonly LineWatch[]
  readonly dumps: ReadonlyMap<number, string>
}

/** Looks at all pulls of these engines, for 1.5 s if all goes on and up to 7 s if something stands still. */
export async function examinePulls(
  host: HostView,
  all: readonly FoundEngine[],
  { signal, limits = doctorLimits }: PullsOptions,
): Promise<PullsResult> {
  // Without rights everything would look as if it stood still.
  const engines = all.filter(({ isOpen }) => isOpen)
  const watches = new Map<string, LineWatch>()
  const downloads = new DownloadWatch(host, engines)
  const owners = engines.map(engine => new EngineWatch(host, engine))
  const clock = new WatchClock(host, limits)
  let open: LineWatch[] = []
  let dumps: Promise<ReadonlyMap<number, string>> | undefined
  for (;;) {
    open = lookAtLines(host, engines, watches)
    await downloads.look()
    for (const owner of owners) owner.look()
    const ms = clock.tick()
    const isOpen = downloads.isWaiting || owners.some(owner => owner.isAsleep && !owner.isDecided(limits))
    if (owners.length > 0 && owners.every(owner => owner.isStopped)) break
    if (
      ms >= longMs ||
      clock.wallMs >= wallMs ||
      (ms >= shortMs && !isOpen && open.every(watch => isDecided(watch, limits)))
    )
      break
    // A silent engine takes its time, and is not waited for after all else.
    if (ms >= shortMs) dumps ??= readDumps(host, running(engines, owners))
    if (!(await host.pause(periodMs, signal))) break
  }
  const ended = [...watches.values()].filter(watch => !open.includes(watch))
  dumps ??= readDumps(host, running(engines, owners))
  const judged = open.map(watch => ({ watch, finding: judgeLine(host, watch, limits) }))
  const starved = judged.filter(({ watch, finding }) => isFedByDownload(watch, finding, downloads))
  const findings = [
    ...judged.map(one => (starved.includes(one) ? { ...one.finding, ...waiting } : one.finding)),
    ...downloads.judge(judged.filter(one => !starved.includes(one)).map(({ watch }) => watch)),
    ...owners.flatMap(owner => owner.judge(limits) ?? owner.judgeCommand(open, downloads)),
    ...judgeDumps(engines, await dumps, open, downloads),
  ]
  const isEmpty = findings.length === 0 && ended.length === 0
  const hidden = all.filter(engine => !engine.isOpen && !isGone(host, engine))
  if (hidden.length > 0) findings.push(makeFinding('PULLS_HIDDEN', hidden.map(describeEngine).join(', ')))
  else if (isEmpty) findings.push(makeFinding('NO_PULL', ''))
  else if (findings.length === 0) findings.push(makeFinding('PULL_MOVES', describeEngine(ended[0]?.line.engine)))
  return { findings, lines: [...watches.values()], dumps: await dumps }
}

/** Time in which something could be seen, as the judgement counts it too: while the watcher was held up, perhaps all was. */
class WatchClock {
  readonly #host: HostView
  readonly #limits: BlameLimits
  readonly #start: number
  #last: number
  #ms = 0

  constructor(host: HostView, limits: BlameLimits) {
    this.#host = host
    this.#limits = limits
    this.#start = host.elapsed()
    this.#last = this.#start
  }

  get wallMs(): number {
    return this.#last - this.#start
  }

  tick(): number {
    const now = this.#host.elapsed()
    this.#ms += countedMs(now - this.#last, this.#limits)
    this.#last = now
    return this.#ms
  }
}

function running(engines: readonly FoundEngine[], owners: readonly EngineWatch[]): FoundEngine[] {
  return engines.filter((_, at) => owners[at]?.isStopped !== true)
}

/** @returns the lines that are there now */
function lookAtLines(host: HostView, engines: readonly FoundEngine[], watches: Map<string, LineWatch>): LineWatch[] {
  const lines = findLines(host, engines, readProcessTable(host))
  return lines.flatMap(line => {
    const watch = watches.get(line.key) ?? new LineWatch(host, line)
    watches.set(line.key, watch)
    watch.update(line)
    return watch.look() ? [watch] : []
  })
}

/** Enough was seen of it: it moves, and well, or it is judged. */
function isDecided(watch: LineWatch, limits: BlameLimits): boolean {
  const { looks } = watch
  const isBrisk = total(looks.at(-1)) - total(looks[0]) >= briskBytes && total(looks.at(-5)) !== total(looks.at(-1))
  return isBrisk || blame(samplesOf(watch), limits) !== undefined
}

function samplesOf({ looks }: LineWatch) {
  return looks.map(({ sample }) => sample)
}

function total(look: LineLook | undefined): number {
  return (look?.sample.stages ?? []).reduce((sum, { bytesIn, bytesOut, units }) => sum + bytesIn + bytesOut + units, 0)
}

function hasMoved(looks: readonly LineLook[]): boolean {
  return total(looks[0]) !== total(looks.at(-1))
}

function judgeLine(host: HostView, watch: LineWatch, limits: BlameLimits): Finding {
  const { line, looks } = watch
  const subject = describeLine(line)
  const verdict = blame(samplesOf(watch), limits)
  const evidence = progressOf(line, looks)
  if (verdict === undefined) {
    const code = hasMoved(looks) ? 'PULL_MOVES' : 'PULL_WAITS'
    return makeFinding(code, subject, { evidence, facts: factsOf(line) })
  }
  const isOutputClosed = line.decompressor.length > 0 && line.stdout === undefined
  const reason = frozenReason(host, line) ?? reasonOf(verdict, looks, isOutputClosed)
  return accuse(verdict, reason, line, evidence)
}

/** Who decompresses while he downloads hands on what comes, and keeps it in a file, too: that file tells since when nothing has come. */
const streaming: ReadonlySet<FoundEngine['kind']> = new Set(['podman', 'buildah', 'skopeo', 'crio'])
const waiting = { code: 'PULL_WAITS', severity: catalogue.PULL_WAITS.severity, confidence: 'certain' } as const

function isFedByDownload(watch: LineWatch, { code }: Finding, downloads: DownloadWatch): boolean {
  return code === 'ENGINE_DOES_NOT_FEED' && streaming.has(watch.line.engine.kind) && downloads.feeds(watch)
}

/** Whoever of a line is in a frozen group: none of it goes on. */
function frozenReason(host: HostView, { decompressor, untar, engine }: Line): Reason | undefined {
  const processes = [...decompressor, ...(untar === undefined ? [] : [untar]), engine.process]
  const group = processes.map(({ pid }) => findFrozenGroup(host, pid)).find(group => group !== undefined)
  return group === undefined ? undefined : { code: 'CGROUP_FROZEN', evidence: [`the control group ${group} is frozen`] }
}

function accuse(verdict: Verdict, reason: Reason | undefined, line: Line, progress: readonly string[]): Finding {
  const code = reason?.code ?? 'NO_PROCESSOR'
  return makeFinding(code, describeLine(line), {
    confidence: verdict.confidence,
    evidence: [...verdict.evidence, ...(reason?.evidence ?? []), ...progress],
    facts: { ...verdict.facts, ...factsOf(line), sinceMs: verdict.sinceMs },
  })
}

function describeLine({ engine, decompressor, program, untar }: Line): string {
  const [filter] = decompressor
  const parts = [filter === undefined ? undefined : `${program} ${filter.pid}`, untar && `untar ${untar.pid}`]
  return [describeEngine(engine), ...parts].filter(part => part !== undefined).join(' → ')
}

function describeEngine(engine: FoundEngine | undefined): string {
  return engine === undefined ? '' : `${engine.kind} ${engine.process.pid}`
}

function factsOf({ engine, decompressor, program, untar, target }: Line): Record<string, string | number | boolean> {
  const facts = { engine: engine.kind, enginePid: engine.process.pid, program, decompressorPid: decompressor[0]?.pid }
  const known = Object.entries({ ...facts, untarPid: untar?.pid, target })
  return Object.fromEntries(known.filter((fact): fact is [string, string | number] => fact[1] !== undefined))
}

/** What the processes have done altogether, which tells a pull that never got going from one that just paused. */
function progressOf({ decompressor, program }: Line, looks: readonly LineLook[]): string[] {
  const stages = looks.at(-1)?.sample.stages ?? []
  const stage = stages.find(({ kind }) => kind === 'decompress')
  if (stage === undefined || decompressor.length === 0) return []
  const { bytesIn, bytesOut } = stage
  const number = (value: number) => value.toLocaleString('en-US')
  return [`${program} has taken ${number(bytesIn)} bytes and given ${number(bytesOut)} since it was started`]
}

/** Downloads, by the growth of their files. */
class DownloadWatch {
  readonly #host: HostView
  readonly #engines: readonly FoundEngine[]
  readonly #first = new Map<string, number>()
  #latest: Download[] = []

  constructor(host: HostView, engines: readonly FoundEngine[]) {
    this.#host = host
    this.#engines = engines
  }

  async look(): Promise<void> {
    this.#latest = (await Promise.all(this.#engines.map(engine => findDownloads(this.#host, engine)))).flat()
    for (const download of this.#latest) {
      if (!this.#first.has(download.path)) this.#first.set(download.path, download.bytes)
    }
  }

  /** Some have not moved since they were first seen, and are not yet silent for so long that they are called so. */
  get isWaiting(): boolean {
    return this.#latest.some(download => download.idleMs < silentMs && !this.#hasGrown(download))
  }

  has(engine: FoundEngine): boolean {
    return this.#latest.some(download => download.engine === engine)
  }

  feeds(watch: LineWatch): boolean {
    return this.#latest.some(download => isBeingRead(download, [watch]))
  }

  judge(open: readonly LineWatch[]): Finding[] {
    return this.#latest.filter(download => !isBeingRead(download, open)).map(download => this.#judgeOne(download))
  }

  #judgeOne(download: Download): Finding {
    const { engine, path, bytes, total, reference, idleMs } = download
    const number = (value: number) => value.toLocaleString('en-US')
    const size = total === undefined ? `${number(bytes)} bytes` : `${number(bytes)} of ${number(total)} bytes`
    const evidence = [
      `${path} has ${size}; the last were written ${(idleMs / 1000).toFixed(1)} s ago`,
      ...(reference === undefined ? [] : [`the engine calls it ${reference}`]),
    ]
    const facts = { engine: engine.kind, enginePid: engine.process.pid, path, bytes, idleMs: Math.round(idleMs) }
    const details = { evidence, facts, confidence: total === undefined ? 'likely' : 'certain' } as const
    const code = idleMs >= silentMs ? 'DOWNLOAD_SILENT' : this.#hasGrown(download) ? 'PULL_MOVES' : 'PULL_WAITS'
    return makeFinding(code, `${describeEngine(engine)} ← registry`, details)
  }

  #hasGrown({ path, bytes, idleMs }: Download): boolean {
    return (this.#first.get(path) ?? bytes) !== bytes || idleMs < 500
  }
}

/** The whole file was handed to a decompressor: it stands at its end, too, but does not wait for the network. */
function isBeingRead({ engine, bytes }: Download, open: readonly LineWatch[]): boolean {
  return open.some(({ line, looks }) => {
    const stage = looks.at(-1)?.sample.stages.find(({ kind }) => kind === 'decompress')
    return (
      line.engine === engine && stage !== undefined && stage.bytesIn + (stage.inputBytes ?? 0) >= bytes && bytes > 0
    )
  })
}

/** The engine itself: its state, and threads of it that the kernel does not let go. */
class EngineWatch {
  readonly #host: HostView
  readonly #engine: FoundEngine
  readonly #samples: PipelineSample[] = []
  readonly #sleep = new SleepCount()
  #state = ''
  #firstBytes: number | undefined
  #bytes = 0

  constructor(host: HostView, engine: FoundEngine) {
    this.#host = host
    this.#engine = engine
  }

  look(): void {
    const look = lookAt(this.#host, this.#engine.process.pid)
    if (look === undefined) return
    this.#state = look.tasks.find(({ tid, pid }) => tid === pid)?.state ?? ''
    this.#bytes = look.read + look.written
    this.#firstBytes ??= this.#bytes
    const { task, units } = this.#sleep.count(look)
    const isAsleep = task?.state === 'D'
    const stage = { name: describeEngine(this.#engine), kind: 'sync', bytesIn: 0, bytesOut: 0, units } as const
    const waits = isAsleep ? 'itself' : 'nobody'
    this.#samples.push({ timeMs: this.#host.elapsed(), stages: [{ ...stage, waits, ...(isAsleep && { task }) }] })
  }

  /** A thread of it sleeps out of reach now. */
  get isAsleep(): boolean {
    return this.#samples.at(-1)?.stages[0]?.waits === 'itself'
  }

  isDecided(limits: BlameLimits): boolean {
    return blame(this.#samples, limits) !== undefined
  }

  /** By a signal or a tracer: it answers nobody. */
  get isStopped(): boolean {
    return this.#state === 'T' || this.#state === 't'
  }

  /** @returns undefined where nothing is to be said of it */
  judge(limits: BlameLimits): Finding[] | undefined {
    const subject = describeEngine(this.#engine)
    if (this.isStopped)
      return [makeFinding('ENGINE_STOPPED', subject, { evidence: [`its process is in state ${this.#state}`] })]
    const verdict = blame(this.#samples, limits)
    const reason = verdict === undefined ? undefined : reasonOf(verdict, [], false)
    if (verdict?.kind !== 'disk-wait' || reason === undefined) return undefined
    const { evidence, confidence, facts } = verdict
    return [makeFinding(reason.code, subject, { evidence, confidence, facts })]
  }

  /** A command that pulls by itself is a pull also while it has nothing to show: it asks a registry, or waits for its answer. */
  judgeCommand(open: readonly LineWatch[], downloads: DownloadWatch): Finding[] {
    const { kind, args, process } = this.#engine
    const isSeen = downloads.has(this.#engine) || open.some(({ line }) => line.engine === this.#engine)
    if (!streaming.has(kind) || !args.includes('pull') || isSeen || this.#samples.length === 0) return []
    const bytes = this.#bytes - (this.#firstBytes ?? 0)
    const ms = this.#host.elapsed() - (this.#samples[0]?.timeMs ?? 0)
    const evidence = [
      `${hideInWords(args).slice(0, 8).join(' ')}: no download and no decompressor of it is to be seen`,
      `in ${(ms / 1000).toFixed(1)} s it read and wrote ${bytes.toLocaleString('en-US')} bytes, sockets among them`,
    ]
    const facts = { engine: kind, enginePid: process.pid, bytes }
    return [
      makeFinding(bytes > idleBytes ? 'PULL_MOVES' : 'PULL_WAITS', describeEngine(this.#engine), { evidence, facts }),
    ]
  }
}

async function readDumps(host: HostView, engines: readonly FoundEngine[]): Promise<ReadonlyMap<number, string>> {
  const dumps = await Promise.all(
    engines.map(async engine => [engine.process.pid, await readGoroutines(host, engine)] as const),
  )
  return new Map(dumps.filter((dump): dump is [number, string] => dump[1] !== undefined))
}

/** Pulls that the engine itself knows of, and that no process, pipe or file carries out. */
function judgeDumps(
  engines: readonly FoundEngine[],
  dumps: ReadonlyMap<number, string>,
  open: readonly LineWatch[],
  downloads: DownloadWatch,
): Finding[] {
  return engines.flatMap(engine => {
    const dump = dumps.get(engine.process.pid)
    if (dump === undefined) return []
    const counts = countPullGoroutines(dump)
    const { pulls, pullMinutes, unpacking, downloading, poisoned } = counts
    const isWorking = open.some(({ line }) => line.engine === engine) || downloads.has(engine)
    const requests = `it has ${pulls} requests for pulls, the oldest for ${pullMinutes} minutes; ${unpacking} layers are being unpacked, ${downloading} downloaded`
    if (poisoned === 0 && counts.askingMinutes > 0) return [tellAsking(engine, counts, requests)]
    // It waits for an answer of a registry, or is between two steps.
    if (poisoned === 0)
      return pulls > 0 && !isWorking
        ? [makeFinding('PULL_WAITS', describeEngine(engine), { evidence: [requests] })]
        : []
    const evidence = [
      `${poisoned} of its goroutines wait for an earlier transfer of the same layer that has not ended (transferManager.Transfer)`,
      requests,
      isWorking
        ? 'they are freed when what is reported beside this comes to its end'
        : 'no decompressor, untar or download of it is left',
    ]
    const facts = { pulls, pullMinutes, unpacking, downloading, poisoned }
    const severity = isWorking ? 'note' : 'problem'
    return [makeFinding('TRANSFER_POISONED', describeEngine(engine), { evidence, facts, severity })]
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
