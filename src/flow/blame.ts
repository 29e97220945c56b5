/**
 * Which stage of a pipeline is guilty: the one that has input and room, and does not move. Pure: it knows nothing but the samples.
 *
 * Behind a stage that stands still everything fills up, and before it everything runs dry; both look as still as the guilty one. So a
 * stage is looked at only for the time in which it was *free*: something to take, and somewhere to put it, at every sample.
 */
import { isMostly, plainFacts, type Stretch, speedEvidence, standstillEvidence, stuckEvidence } from './evidence.ts'
import { carriesBytes, type PipelineSample, type StageFacts, type StageKind } from './stage.ts'

export interface BlameLimits {
  /** A source from which no byte comes: no engine bounds a silent body today, and a busy registry answers well before. */
  readonly sourceIdleMs: number
  /** A source below this is too slow to end: 25 MiB take seven hours. 0 accepts any. */
  readonly sourceBytesPerSecondMin: number
  /** Long enough for a retransmission and a slow start. */
  readonly sourceWindowMs: number
  /** A decompressor that is free: a healthy one answers in milliseconds. */
  readonly decompressorIdleMs: number
  /** The slowest board decompresses a thousand times more. */
  readonly decompressorBytesPerSecondMin: number
  readonly decompressorWindowMs: number
  /** One entry, write, sync or rename: disks that recover take seconds; what lasts longer must be named, since it cannot be killed. */
  readonly diskIdleMs: number
  /** Another process that is waited for, and does nothing at all: what it makes is then made beside it, which costs little. */
  readonly lockIdleMs: number
  /** A process whose work is not known. */
  readonly processIdleMs: number
  /** Nothing moves and nobody is found guilty: as long as the most patient of the others. */
  readonly unexplainedMs: number
  /** Samples farther apart than this were taken by a watcher that was itself held up, and perhaps all its stages with it. */
  readonly gapMaxMs: number
}

export const defaultBlameLimits: BlameLimits = {
  sourceIdleMs: 15_000,
  sourceBytesPerSecondMin: 1024,
  sourceWindowMs: 30_000,
  decompressorIdleMs: 10_000,
  decompressorBytesPerSecondMin: 4096,
  decompressorWindowMs: 20_000,
  diskIdleMs: 30_000,
  lockIdleMs: 30_000,
  processIdleMs: 30_000,
  unexplainedMs: 30_000,
  gapMaxMs: 2_000,
}

export type VerdictKind =
  | 'silent-source'
  | 'trickling-source'
  | 'stuck-decompressor'
  | 'dribbling-decompressor'
  /** Stopped by a signal or a tracer (state T or t), whatever its work is. */
  | 'stopped'
  /** Asleep in the kernel where no signal reaches it (state D): a disk, a frozen filesystem, a security agent. */
  | 'disk-wait'
  | 'stuck-open'
  | 'stuck-spool'
  | 'stuck-entry'
  | 'stuck-sync'
  | 'stuck-commit'
  | 'stuck-lock'
  | 'stuck-process'
  /** It sleeps waiting for input that is there: a wake-up was lost. */
  | 'lost-wakeup'
  /** Nothing moves, and the facts do not tell why. */
  | 'unexplained'

export interface Verdict {
  /** Name of the guilty stage; undefined if nobody can be named. */
  readonly stage: string | undefined
  readonly kind: VerdictKind
  /** For how long it has been so, as far as the samples reach; time in which the watcher was held up is left out. */
  readonly sinceMs: number
  /** `likely`: concluded from its neighbours or from a rate. */
  readonly confidence: 'certain' | 'likely' | 'unknown'
  /** Sentences for people, with the numbers. */
  readonly evidence: readonly string[]
  readonly facts: Readonly<Record<string, string | number | boolean>>
}

/** The verdict on the newest sample, or undefined: nobody is to blame, or not yet. `history` runs from old to new. */
export function blame(
  history: readonly PipelineSample[],
  limits: BlameLimits = defaultBlameLimits,
): Verdict | undefined {
  const stages = history.at(-1)?.stages ?? []
  for (let at = stages.length - 1; at >= 0; at--) {
    const verdict = judgeStage(history, at, limits)
    if (verdict !== undefined) return verdict
  }
  return judgeWhole(history, limits)
}

interface Rule {
  readonly stuck: VerdictKind
  readonly idleMs: keyof BlameLimits
  /** It works on files: the bytes that the kernel counts for its task are movement. */
  readonly isDisk: boolean
}

const rules: Readonly<Record<StageKind, Rule>> = {
  lock: { stuck: 'stuck-lock', idleMs: 'lockIdleMs', isDisk: false },
  open: { stuck: 'stuck-open', idleMs: 'diskIdleMs', isDisk: true },
  source: { stuck: 'silent-source', idleMs: 'sourceIdleMs', isDisk: false },
  spool: { stuck: 'stuck-spool', idleMs: 'diskIdleMs', isDisk: true },
  decompress: { stuck: 'stuck-decompressor', idleMs: 'decompressorIdleMs', isDisk: false },
  unpack: { stuck: 'stuck-entry', idleMs: 'diskIdleMs', isDisk: true },
  sync: { stuck: 'stuck-sync', idleMs: 'diskIdleMs', isDisk: true },
  commit: { stuck: 'stuck-commit', idleMs: 'diskIdleMs', isDisk: true },
  process: { stuck: 'stuck-process', idleMs: 'processIdleMs', isDisk: false },
}

/**
 * Whether a stage could move: it is `free`, `held` (starved of input, blocked by its output, or nobody knows), `idle` (owes nothing), or
 * `paused` (a source that waits on purpose).
 */
type Standing = 'free' | 'held' | 'idle' | 'paused'

function standingOf(stages: readonly StageFacts[], at: number): Standing {
  const stage = stages[at]
  if (stage === undefined || stage.waits === 'nobody') return 'idle'
  if (stage.waits === 'output' || !hasRoom(stage)) return 'held'
  if (stage.kind === 'source') return sourceStanding(stage)
  if (!carriesBytes(stage.kind) && stage.waits === 'input') return 'idle'
  // D is neither the sleep of a ring nor that of a pipe: the task is at work on something that it has taken.
  if (stage.waits === 'itself' || stage.task?.state === 'D') return 'free'
  if (stage.waits === 'input' || !carriesBytes(stage.kind)) return 'held'
  return isFreeBetween(stages, at, stage) ? 'free' : 'held'
}

function sourceStanding({ waits, outputRoom }: StageFacts): Standing {
  if (waits === 'itself') return 'paused'
  return waits === 'input' || outputRoom !== undefined ? 'free' : 'held'
}

/** What a stage does not tell of itself shows beside it: who waits for it proves its room, who cannot get rid of bytes proves its input. */
function isFreeBetween(stages: readonly StageFacts[], at: number, stage: StageFacts): boolean {
  const input = hasInput(stage) ?? stages[at - 1]?.waits === 'output'
  return input && (stage.outputRoom !== undefined || isLast(stages, at) || stages[at + 1]?.waits === 'input')
}

/** Nobody takes bytes from it: what it makes ends in files. */
function isLast(stages: readonly StageFacts[], at: number): boolean {
  const after = stages[at + 1]
  return after === undefined || !carriesBytes(after.kind)
}

function hasInput({ inputBytes, inputEnded, inputNeeded = 1 }: StageFacts): boolean | undefined {
  if (inputEnded) return true
  return inputBytes === undefined ? undefined : inputBytes >= inputNeeded
}

/** Also true if that is not known: `isFreeBetween` asks further. */
function hasRoom({ outputRoom, outputNeeded = 1 }: StageFacts): boolean {
  return outputRoom === undefined || outputRoom >= outputNeeded
}

/** Any difference counts, also a smaller number: counters that start anew are a stage that does. */
function hasMoved(older: StageFacts, newer: StageFacts): boolean {
  if (older.bytesIn !== newer.bytesIn || older.bytesOut !== newer.bytesOut || older.units !== newer.units) return true
  if (!rules[newer.kind].isDisk) return false
  const before = older.task?.ioBytes
  const after = newer.task?.ioBytes
  return before !== undefined && after !== undefined && before !== after
}

/** Time between two samples as it counts. One long gap counts as one short period: the watcher was held up, and nobody is accused for that. */
export function countedMs(ms: number, { gapMaxMs }: BlameLimits): number {
  if (ms > gapMaxMs) return gapMaxMs / 8
  return ms > 0 ? ms : 0
}

function findStage({ stages }: PipelineSample, name: string, hint: number): number {
  return stages[hint]?.name === name ? hint : stages.findIndex(stage => stage.name === name)
}

/** Goes back in time over what one stage was, from the newest sample, as long as `visit` wants more. */
function lookBack(
  history: readonly PipelineSample[],
  at: number,
  visit: (
    older: StageFacts,
    newer: StageFacts,
    standing: Standing,
    sample: PipelineSample,
    next: PipelineSample,
  ) => boolean,
): void {
  let next = history.at(-1)
  let newer = next?.stages[at]
  for (let index = history.length - 2; index >= 0; index--) {
    const sample = history[index]
    if (sample === undefined || next === undefined || newer === undefined) return
    const position = findStage(sample, newer.name, at)
    const older = sample.stages[position]
    if (older === undefined || !visit(older, newer, standingOf(sample.stages, position), sample, next)) return
    next = sample
    newer = older
  }
}

function judgeStage(history: readonly PipelineSample[], at: number, limits: BlameLimits): Verdict | undefined {
  const newest = history.at(-1)
  const stage = newest?.stages[at]
  if (newest === undefined || stage === undefined || standingOf(newest.stages, at) !== 'free') return undefined
  const stretch = measureStretch(history, at, stage, limits)
  const kind = stuckKind(stretch)
  const limitMs = limits[kind === 'disk-wait' && stage.kind !== 'lock' ? 'diskIdleMs' : rules[stage.kind].idleMs]
  if (stretch.ms >= limitMs) return stuckVerdict(kind, stretch, newest.stages, at)
  return judgeRate(history, at, stage, limits)
}

function measureStretch(
  history: readonly PipelineSample[],
  at: number,
  last: StageFacts,
  limits: BlameLimits,
): Stretch {
  let ms = 0
  let witness = { cpuTicks: last.task?.cpuTicks, ms: 0 }
  let states = last.task?.state ?? ''
  lookBack(history, at, (older, newer, standing, sample, next) => {
    if (standing !== 'free' || hasMoved(older, newer)) return false
    ms += countedMs(next.timeMs - sample.timeMs, limits)
    if (older.task?.cpuTicks !== undefined) witness = { cpuTicks: older.task.cpuTicks, ms }
    states += older.task?.state ?? ''
    return true
  })
  return { ms, last, states, witness }
}

function stuckKind({ states, last }: Stretch): VerdictKind {
  const state = last.task?.state ?? ''
  const isSteady = state !== '' && isMostly(states, state)
  if ((state === 'T' || state === 't') && isSteady) return 'stopped'
  return state === 'D' && isSteady ? 'disk-wait' : rules[last.kind].stuck
}

function stuckVerdict(kind: VerdictKind, stretch: Stretch, stages: readonly StageFacts[], at: number): Verdict {
  const { last, ms } = stretch
  return {
    stage: last.name,
    kind,
    sinceMs: Math.round(ms),
    confidence: isTold(stages, at, last) ? 'certain' : 'likely',
    evidence: stuckEvidence(stretch, stages, at),
    facts: plainFacts(last),
  }
}

/** True if the stage itself tells that it is free, false if its neighbours had to tell. */
function isTold(stages: readonly StageFacts[], at: number, stage: StageFacts): boolean {
  if (stage.waits !== undefined || stage.task?.state === 'D') return true
  return hasInput(stage) !== undefined && (stage.outputRoom !== undefined || isLast(stages, at))
}

/** A stage that moves is not stuck, but it may be too slow to end; only the time in which it was free at both ends counts. */
function judgeRate(
  history: readonly PipelineSample[],
  at: number,
  stage: StageFacts,
  limits: BlameLimits,
): Verdict | undefined {
  const isSource = stage.kind === 'source'
  if (!isSource && stage.kind !== 'decompress') return undefined
  const windowMs = isSource ? limits.sourceWindowMs : limits.decompressorWindowMs
  const min = isSource ? limits.sourceBytesPerSecondMin : limits.decompressorBytesPerSecondMin
  const { freeMs, bytes } = measureRate(history, at, windowMs, limits)
  // No byte at all is a standstill, which has its own limit: what moved instead, a new request, is given the time of that limit.
  if (freeMs < windowMs || bytes === 0 || bytes * 1000 >= min * freeMs) return undefined
  const speed = { bytesPerSecond: Math.round((bytes * 1000) / freeMs), bytesPerSecondMin: min }
  return {
    stage: stage.name,
    kind: isSource ? 'trickling-source' : 'dribbling-decompressor',
    sinceMs: Math.round(freeMs),
    confidence: 'likely',
    evidence: speedEvidence({ freeMs, bytes, ...speed }, history.at(-1)?.stages ?? [], at),
    facts: { ...plainFacts(stage), ...speed },
  }
}

/** The latest `windowMs` of freedom, looked for in the latest two windows: what was long ago says nothing about now. */
function measureRate(
  history: readonly PipelineSample[],
  at: number,
  windowMs: number,
  limits: BlameLimits,
): { freeMs: number; bytes: number } {
  let freeMs = 0
  let bytes = 0
  let ageMs = 0
  let wasFree = true
  lookBack(history, at, (older, newer, standing, sample, next) => {
    const ms = countedMs(next.timeMs - sample.timeMs, limits)
    const isFree = standing === 'free'
    const [taken, given] = [Math.abs(newer.bytesIn - older.bytesIn), Math.abs(newer.bytesOut - older.bytesOut)]
    // Bytes that moved while it was not free speak for it, too: they are counted, their time is not.
    bytes += newer.kind === 'source' ? Math.max(taken, given) : taken + given
    if (isFree && wasFree) freeMs += ms
    wasFree = isFree
    ageMs += ms
    return freeMs < windowMs && ageMs < windowMs * 2
  })
  return { freeMs, bytes }
}

/** Nothing moves and nobody is guilty: either a sleeper missed its wake-up, or the facts do not suffice. Never a guess at a name. */
function judgeWhole(history: readonly PipelineSample[], limits: BlameLimits): Verdict | undefined {
  const newest = history.at(-1)
  if (newest === undefined) return undefined
  const standings = newest.stages.map((_, at) => standingOf(newest.stages, at))
  if (standings.every(standing => standing === 'idle')) return undefined
  if (standings.includes('free')) return undefined
  const ms = measureStandstill(history, limits)
  if (ms < limits.unexplainedMs) return undefined
  const sleeper = newest.stages.find(stage => stage.waits === 'input' && stage.kind !== 'source' && ownsInput(stage))
  const evidence = standstillEvidence(ms, newest.stages, sleeper)
  const common = { stage: sleeper?.name, sinceMs: Math.round(ms), evidence }
  if (sleeper === undefined) return { ...common, kind: 'unexplained', confidence: 'unknown', facts: {} }
  return { ...common, kind: 'lost-wakeup', confidence: 'likely', facts: plainFacts(sleeper) }
}

function ownsInput({ inputBytes, inputNeeded = 1 }: StageFacts): boolean {
  return inputBytes !== undefined && inputBytes >= inputNeeded
}

function measureStandstill(history: readonly PipelineSample[], limits: BlameLimits): number {
  let ms = 0
  for (let index = history.length - 1; index > 0; index--) {
    const newer = history[index]
    const older = history[index - 1]
    if (newer === undefined || older === undefined || !isStandstill(older, newer)) return ms
    ms += countedMs(newer.timeMs - older.timeMs, limits)
  }
  return ms
}

/** A source that pauses on purpose explains why nothing moves. */
function isStandstill(older: PipelineSample, newer: PipelineSample): boolean {
  return newer.stages.every((now, at) => {
    const then = older.stages[findStage(older, now.name, at)]
    return then !== undefined && !hasMoved(then, now) && standingOf(newer.stages, at) !== 'paused'
  })
}
