/** The pulls of the engines of a host, looked at for some seconds: which go on, which stand still, and who is to blame. */
import { type BlameLimits, blame, countedMs, defaultBlameLimits, type Verdict } from '../flow/blame.ts'
import type { StageFacts } from '../flow/stage.ts'
import type { HostView } from '../sys/host-view.ts'
import { secondsSince } from '../sys/process-age.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { catalogue } from './catalogue.ts'
import { findClientPulls } from './clients.ts'
import { findFrozenGroup } from './control-groups.ts'
import type { DiskProgress } from './disk-watch.ts'
import { DownloadWatch, type ToldOfLayers } from './download-watch.ts'
import { DumpWatch, type EngineWork } from './dump-watch.ts'
import { EngineWatch } from './engine-watch.ts'
import { describeEngine, type FoundEngine, isGone, isStreaming, withGraphRoot } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'
import { describeLayer, type LayerContext } from './layer-of-line.ts'
import { comesFromClient, findLines, isForClient, type Line } from './lines.ts'
import { mayBeSlow, type Reason, reasonOf } from './reason.ts'
import { type LineLook, LineWatch } from './sample.ts'
import { findUnanswered } from './unanswered.ts'

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
/** By then it shows what moves; engines are asked for what they say of their pulls. */
const askMs = 1000
const longMs = 7000
/** On a host so busy that the watcher itself is held up, that time is longer: but not without an end. */
const wallMs = 14_000
/** Whatever moves so much in that time is not held up, and need not be looked at longer. */
const briskBytes = 65_536

/** Of so many lines of an engine that stand still it is found out which layer they work on. */
const namedMax = 4

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
  const open = all.filter(({ isOpen }) => isOpen)
  const engines = await Promise.all(open.map(engine => withGraphRoot(host, engine)))
  const seen = new Sight(host, engines, limits)
  await seen.watch(signal)
  const findings = await conclude(host, seen, { signal, limits })
  const { ended, watches, dumps } = seen
  const hidden = all.filter(engine => !engine.isOpen && !isGone(host, engine))
  findings.push(...findUnasked(host))
  const isEmpty = findings.length === 0
  if (hidden.length > 0) findings.push(makeFinding('PULLS_HIDDEN', hidden.map(describeEngine).join(', ')))
  else if (isEmpty && ended[0] !== undefined)
    findings.push(makeFinding('PULL_MOVES', describeEngine(ended[0].line.engine)))
  const isQuiet = (engine: FoundEngine) =>
    !isTold(engine, findings) && !ended.some(({ line }) => line.engine === engine)
  for (const engine of engines.filter(isQuiet))
    findings.push(...(await findAsked(host, engine, seen.owners.get(engine)?.isIdle === true)))
  if (findings.length === 0) findings.push(makeFinding('NO_PULL', '', { evidence: describeMute(engines, dumps) }))
  return { findings, lines: [...watches.values()], dumps: dumps.texts }
}

/** A dockerd that waits for nothing that a process shows is known by its goroutines alone; a record may lack them, and so does who looks where nobody answers. */
function describeMute(engines: readonly FoundEngine[], dumps: DumpWatch): string[] {
  const mute = engines.filter(engine => engine.kind === 'dockerd' && dumps.countsOf(engine) === undefined)
  return mute.map(
    engine =>
      `${describeEngine(engine)} has not told its goroutines: a pull of it that waits for an earlier one, or for an answer, would not be seen`,
  )
}

function isTold(engine: FoundEngine, findings: readonly Finding[]): boolean {
  const name = describeEngine(engine)
  return findings.some(({ subject }) => subject === name || subject.startsWith(`${name} `))
}

/** A client waits for it, and nothing of a pull is to be seen: it asks a registry, or waits for its answer. */
async function findAsked(host: HostView, engine: FoundEngine, isIdle: boolean): Promise<Finding[]> {
  const clients = await findClientPulls(host, engine)
  if (clients.length === 0) return []
  const evidence = [
    `clients on this host that wait for a pull of this engine: ${[...new Set(clients.map(({ text }) => text))].join(', ')}`,
    'no layer is downloaded or unpacked for them: the registry may have been asked, and not have answered yet',
  ]
  const ageMs = Math.max(...clients.map(({ startTicks }) => secondsSince(host, startTicks) * 1000))
  // A dockerd has connections for anything, and tells of its questions itself; who works may unpack in his own process.
  const unanswered =
    engine.kind === 'dockerd' || !isIdle ? undefined : await findUnanswered(host, engine, { ageMs, evidence })
  return [unanswered ?? makeFinding('PULL_WAITS', describeEngine(engine), { evidence })]
}

/** What an engine has open while it downloads: where nothing is told of it nobody knows whether it does. */
const layerFile = /^\/proc\/\d+\/fd\/\d+$|\/ingest\/[^/]+\/data$/

function findUnasked({ disk }: HostView): Finding[] {
  const describe = (path: string) => `${path}: the disk did not answer, or was not asked any more`
  const files = [...disk.silent, ...(disk.unasked ?? [])].filter(path => layerFile.test(path))
  return files.length === 0 ? [] : [makeFinding('DOWNLOADS_UNSEEN', '', { evidence: files.slice(0, 3).map(describe) })]
}

/** All that is seen of the pulls of some engines, in a look of some seconds. */
class Sight {
  readonly engines: readonly FoundEngine[]
  readonly watches = new Map<string, LineWatch>()
  readonly downloads: DownloadWatch
  readonly owners: ReadonlyMap<FoundEngine, EngineWatch>
  readonly dumps: DumpWatch
  /** The lines that are there at the end. */
  open: readonly LineWatch[] = []
  readonly #host: HostView
  readonly #limits: BlameLimits
  readonly #clock: WatchClock

  constructor(host: HostView, engines: readonly FoundEngine[], limits: BlameLimits) {
    this.engines = engines
    this.downloads = new DownloadWatch(host, engines)
    this.owners = new Map(engines.map(engine => [engine, new EngineWatch(host, engine)]))
    this.dumps = new DumpWatch(host)
    this.#host = host
    this.#limits = limits
    this.#clock = new WatchClock(host, limits)
  }

  async watch(signal: AbortSignal): Promise<void> {
    do await this.#look()
    while (!(await this.#isEnough()) && (await this.#host.pause(periodMs, signal)))
    this.#ask()
    await this.dumps.complete(engine => this.workOf(engine))
    // What an engine has just been seen to unpack, and ended since, is not to be taken for a download.
    await this.downloads.look()
    await this.downloads.lookCloser(() => readProcessTable(this.#host))
  }

  async #look(): Promise<void> {
    this.open = lookAtLines(this.#host, this.engines, this.watches)
    await this.downloads.look()
    for (const owner of this.owners.values()) owner.look()
    if (this.#clock.tick() >= askMs) this.#ask()
  }

  /** A silent engine takes its time, and is not waited for after all else; one that is stopped is not asked. */
  #ask(): void {
    this.dumps.ask(this.engines.filter(engine => this.owners.get(engine)?.isStopped !== true))
  }

  async #isEnough(): Promise<boolean> {
    const owners = [...this.owners.values()]
    const { ms, wallMs: passedMs } = this.#clock
    if (owners.length > 0 && owners.every(owner => owner.isStopped)) return true
    if (ms >= longMs || passedMs >= wallMs) return true
    const isHeld = owners.some(owner => owner.isAsleep && !owner.isDecided(this.#limits))
    if (ms < shortMs || isHeld || this.downloads.isWaiting) return false
    return this.open.every(watch => isDecided(watch, this.#limits)) && !(await this.dumps.isWaiting())
  }

  /** Lines that have come to their end meanwhile. */
  get ended(): readonly LineWatch[] {
    return [...this.watches.values()].filter(watch => !this.open.includes(watch))
  }

  linesOf(engine: FoundEngine): readonly LineWatch[] {
    return this.open.filter(({ line }) => line.engine === engine)
  }

  workOf(engine: FoundEngine): EngineWork {
    const lines = this.linesOf(engine)
    const isMoving = lines.some(({ looks }) => hasMoved(looks)) || this.downloads.moves(engine)
    const isUnclear = this.downloads.hasStill(engine)
    return { isMoving, isWorking: lines.length > 0 || this.downloads.has(engine), isUnclear }
  }

  /** A pipeline, a download, the engine's own word, or a client that waits. */
  async hasPull(engine: FoundEngine): Promise<boolean> {
    if (this.workOf(engine).isWorking || this.owners.get(engine)?.isPull === true) return true
    return (this.dumps.countsOf(engine)?.pulls ?? 0) > 0 || (await findClientPulls(this.#host, engine)).length > 0
  }
}

async function conclude(host: HostView, seen: Sight, { signal, limits }: Required<PullsOptions>): Promise<Finding[]> {
  const { open, owners, downloads, dumps } = seen
  const judge = async (watch: LineWatch) => {
    const { engine } = watch.line
    const disk = (ms: number) => owners.get(engine)?.disk.over(ms)
    const pulls = dumps.countsOf(engine)?.unpackingOfPulls
    const finding = judgeLine(host, watch, { limits, disk, pulls })
    const context = { lines: seen.linesOf(engine), counts: dumps.countsOf(engine), signal }
    return { watch, finding: await withLayer(host, finding, watch, context) }
  }
  const judged = await Promise.all(open.map(judge))
  const starved = judged.filter(({ watch, finding }) => isFedByDownload(watch, finding, downloads))
  const others = judged.filter(one => !starved.includes(one))
  const blocked = others.filter(({ watch, finding }) => holdsBackDownloads(watch, finding))
  const judgeOwner = async ([engine, owner]: readonly [FoundEngine, EngineWatch]) =>
    owner.judge(limits, await seen.hasPull(engine)) ?? (await owner.judgeCommand(open, downloads))
  const ofOwners = (await Promise.all([...owners].map(judgeOwner))).flat()
  return [
    ...judged.map(one => (starved.includes(one) ? { ...one.finding, ...waiting } : one.finding)),
    ...downloads.judge(
      others.map(({ watch }) => watch),
      new Set(blocked.map(({ watch }) => watch.line.engine)),
      engine => toldBy(dumps, engine),
    ),
    ...ofOwners,
    ...dumps.judge(engine => seen.workOf(engine)),
  ]
}

function toldBy(dumps: DumpWatch, engine: FoundEngine): ToldOfLayers | undefined {
  const counts = dumps.countsOf(engine)
  if (counts === undefined) return undefined
  const { waiting, unpackingOfPulls, downloading } = counts
  return { waiting, unpackingOfPulls, downloading: dumps.isWhole(engine) ? downloading : undefined }
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

  get ms(): number {
    return this.#ms
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
  const verdict = blame(samplesOf(watch), limits)
  return isBrisk || (verdict !== undefined && !mayBeSlow(verdict))
}

function samplesOf({ looks }: LineWatch) {
  return looks.map(({ sample }) => sample)
}

function total(look: LineLook | undefined, of: 'bytes' | 'units' | 'all' = 'all'): number {
  const count = ({ bytesIn, bytesOut, units }: StageFacts) =>
    (of === 'units' ? 0 : bytesIn + bytesOut) + (of === 'bytes' ? 0 : units)
  return (look?.sample.stages ?? []).reduce((sum, stage) => sum + count(stage), 0)
}

/** A program written in Go wakes itself with up to eight bytes, which it writes and reads, from time to time. */
const wakeBytes = 32

function hasMoved(looks: readonly LineLook[]): boolean {
  const by = (of: 'bytes' | 'units') => Math.abs(total(looks.at(-1), of) - total(looks[0], of))
  return by('units') > 0 || by('bytes') > wakeBytes
}

/** What stands still is worth to be told apart: which layer it is, and which pulls wait for it. */
async function withLayer(host: HostView, finding: Finding, watch: LineWatch, context: LayerContext): Promise<Finding> {
  const isStill = finding.severity === 'problem' || finding.severity === 'warning'
  if (!isStill || context.lines.indexOf(watch) >= namedMax) return finding
  const layer = await describeLayer(host, watch, context)
  return {
    ...finding,
    evidence: [...finding.evidence, ...layer.evidence],
    facts: { ...finding.facts, ...layer.facts },
  }
}

interface LineContext {
  readonly limits: BlameLimits
  /** What the disk of its engine did in so many of the latest milliseconds. */
  readonly disk: (ms: number) => DiskProgress | undefined
  /** How many layers of pulls its engine says that it unpacks. */
  readonly pulls: number | undefined
}

function judgeLine(host: HostView, watch: LineWatch, { limits, disk, pulls }: LineContext): Finding {
  const { line, looks } = watch
  const subject = describeLine(line)
  const verdict = blame(samplesOf(watch), limits)
  const evidence = progressOf(line, looks)
  if (verdict === undefined) {
    if (hasMoved(looks)) return makeFinding('PULL_MOVES', subject, { evidence, facts: factsOf(line) })
    // Who has hardly begun has no layer open that fits, either.
    const isSure = isForClient(line) || pulls === 0
    const told = [...evidence, ...(isSure ? describeClient(host, watch, pulls) : [])]
    return makeFinding('PULL_WAITS', subject, { evidence: told, facts: factsOf(line) })
  }
  const isOutputClosed = line.decompressor.length > 0 && line.stdout === undefined
  const circumstances = { isOutputClosed, disk: disk(verdict.sinceMs) }
  const reason = frozenReason(host, line) ?? reasonOf(verdict, looks, circumstances)
  const isStarved = reason?.code === 'ENGINE_DOES_NOT_FEED' || reason?.code === 'PULL_UNEXPLAINED'
  const sent = isStarved ? describeClient(host, watch, pulls) : []
  if (sent.length === 0) return accuse(verdict, reason, line, evidence)
  return accuse(verdict, { code: 'PULL_WAITS', evidence: sent, severity: 'note', confidence: 'likely' }, line, evidence)
}

/** What is fed by a client of the engine is no pull, and the engine owes it no more than it is sent. */
function describeClient(host: HostView, { line, looks }: LineWatch, pulls: number | undefined): string[] {
  const filter = looks.at(-1)?.sample.stages.find(({ kind }) => kind === 'decompress')
  const handed = filter && filter.bytesIn + (filter.inputBytes ?? 0)
  return comesFromClient(host, line, { handed, pulls })
    ? [
        'no layer of a pull that the engine has open fits: what it unpacks here is sent by a client of it (docker load, import, build or cp), and it waits for that one',
      ]
    : []
}

const waiting = { code: 'PULL_WAITS', severity: catalogue.PULL_WAITS.severity, confidence: 'certain' } as const

function isFedByDownload(watch: LineWatch, { code }: Finding, downloads: DownloadWatch): boolean {
  return code === 'ENGINE_DOES_NOT_FEED' && isStreaming(watch.line.engine) && downloads.feeds(watch)
}

/** Who unpacks while he downloads takes nothing from the registry as long as the layer before him stands still. */
function holdsBackDownloads(watch: LineWatch, { severity }: Finding): boolean {
  return isStreaming(watch.line.engine) && (severity === 'problem' || severity === 'warning')
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
    ...(reason?.severity !== undefined && { severity: reason.severity }),
    confidence: reason?.confidence ?? verdict.confidence,
    evidence: [...verdict.evidence, ...(reason?.evidence ?? []), ...progress],
    facts: { ...verdict.facts, ...factsOf(line), sinceMs: verdict.sinceMs },
  })
}

function describeLine({ engine, decompressor, program, untar }: Line): string {
  const [filter] = decompressor
  const parts = [filter === undefined ? undefined : `${program} ${filter.pid}`, untar && `untar ${untar.pid}`]
  return [describeEngine(engine), ...parts].filter(part => part !== undefined).join(' → ')
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
