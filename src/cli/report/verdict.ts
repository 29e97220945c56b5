import { shortDigest } from '../progress/state.ts'
import { describeKind } from '../progress/trouble.ts'
import { formatDuration, formatSize } from '../progress/units.ts'
import { findStalled, readSpans, type StalledSpan } from './lanes.ts'
import type { LayerRecord, PullRecord } from './record.ts'

/** What a report says first. */
export interface PullVerdict {
  /** `good`: nothing went wrong; `survived`: it did, and was overcome; `bad`: the pull did not come to its end. */
  readonly tone: 'good' | 'survived' | 'bad'
  readonly sentence: string
  /** The stall that explains it. */
  readonly guilty: GuiltyStall | undefined
}

export interface GuiltyStall extends StalledSpan {
  readonly layer: LayerRecord
}

/** Concludes. Pure: it knows nothing but the record. */
export function describePull(pull: PullRecord): PullVerdict {
  const stalls = listStalls(pull)
  const guilty = findGuilty(pull, stalls)
  const { outcome } = pull
  if (outcome.status === 'done') return describeDone(pull, outcome, guilty)
  const ending = { running: 'is not finished', failed: 'failed', cancelled: 'was cancelled' }[outcome.status]
  const head = `The pull of ${pull.reference} ${ending} after ${formatDuration(pull.elapsedMs)}`
  const error = outcome.status === 'running' ? '' : outcome.error.message
  if (guilty !== undefined) return { tone: 'bad', sentence: `${head}: ${describeStall(guilty)}.`, guilty }
  if (outcome.status === 'failed') return { tone: 'bad', sentence: `${head}: ${error}`, guilty }
  return { tone: 'bad', sentence: `${head}. ${describeCalm(pull)}`, guilty }
}

/** Every stall of a pull, in the order of their beginnings. */
export function listStalls(pull: PullRecord): GuiltyStall[] {
  return pull.layers
    .flatMap(layer => findStalled(layer, pull).map(span => ({ ...span, layer })))
    .sort((a, b) => a.fromMs - b.fromMs)
}

/** Who has not moved again explains a pull that did not end, the longest first; a pull that went well is explained by its longest pause. */
function findGuilty(pull: PullRecord, stalls: readonly GuiltyStall[]): GuiltyStall | undefined {
  const open = pull.outcome.status === 'done' ? stalls : stalls.filter(({ end }) => end === 'never')
  return open.toSorted((a, b) => b.toMs - b.fromMs - (a.toMs - a.fromMs))[0]
}

function describeDone(
  pull: PullRecord,
  { changed, elapsedMs, bytesDownloaded }: Extract<PullRecord['outcome'], { status: 'done' }>,
  guilty: GuiltyStall | undefined,
): PullVerdict {
  const what = changed
    ? `${pull.reference} was pulled in ${formatDuration(elapsedMs)}, ${formatSize(bytesDownloaded)} from the network`
    : `${pull.reference} was already here`
  const fallback = pull.happenings.find(({ type }) => type === 'fallback')
  const retries = pull.happenings.filter(({ type }) => type === 'retry').length
  const again = retries === 0 ? '' : `${retries === 1 ? 'one request was' : `${retries} requests were`} repeated`
  if (guilty !== undefined) return { tone: 'survived', sentence: `${what}, although ${describeStall(guilty)}.`, guilty }
  if (fallback?.type === 'fallback')
    return { tone: 'survived', sentence: `${what}, although ${fallback.program} had to be given up.`, guilty }
  if (again !== '') return { tone: 'survived', sentence: `${what}; ${again}.`, guilty }
  return { tone: 'good', sentence: `${what}; nothing stood still.`, guilty }
}

/** Half a sentence: `decompress of layer 0123456789ab stood still for 12s (…)`. */
function describeStall({ stall, layer, fromMs, toMs, end }: GuiltyStall): string {
  const held = formatDuration(toMs - fromMs)
  const then = { moved: ', then went on', fallback: ', then was replaced', never: '' }[end]
  return `stage ${stall.stage} of layer ${shortDigest(layer.digest)} ${describeKind(stall.kind)} for ${held}${then}`
}

function describeCalm({ layers, happenings }: PullRecord): string {
  const retries = happenings.filter(({ type }) => type === 'retry').length
  if (retries > 0) return `No stage was found standing still; ${retries} attempts had failed.`
  return layers.length === 0 ? 'The registry had not answered yet.' : 'No stage was found standing still.'
}

/** One stage over all layers: where its time went. */
export interface StageTime {
  readonly name: string
  readonly busyMs: number
  readonly inputMs: number
  readonly outputMs: number
  readonly stalledMs: number
  /** Of the time of all its layers, the part in which nothing but itself held it up; stalled time included. */
  readonly share: number
  readonly isGuilty: boolean
}

/** The blame table: who waited for whom. Time in which a stage is said to have stalled is counted as nothing else. */
export function sumStages(pull: PullRecord): StageTime[] {
  const { guilty } = describePull(pull)
  const names = [...new Set(pull.layers.flatMap(({ stages }) => stages.map(({ name }) => name)))]
  const stalls = listStalls(pull)
  for (const { stall } of stalls) if (!names.includes(stall.stage)) names.push(stall.stage)
  return names.map(name => sumStage(name, pull, stalls, guilty?.stall.stage === name))
}

function sumStage(name: string, pull: PullRecord, stalls: readonly GuiltyStall[], isGuilty: boolean): StageTime {
  const ms = { moving: 0, working: 0, input: 0, output: 0, idle: 0 }
  let stalledMs = 0
  for (const layer of pull.layers) {
    const stalled = stalls.filter(span => span.layer === layer && span.stall.stage === name)
    stalledMs += stalled.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0)
    const series = layer.stages.find(stage => stage.name === name)
    for (const span of series === undefined ? [] : readSpans(series)) {
      const overlaps = stalled.map(({ fromMs, toMs }) => Math.min(toMs, span.toMs) - Math.max(fromMs, span.fromMs))
      const lost = overlaps.reduce((sum, overlap) => sum + Math.max(0, overlap), 0)
      ms[span.state] += Math.max(0, span.toMs - span.fromMs - lost)
    }
  }
  const busyMs = ms.moving + ms.working
  const all = busyMs + ms.input + ms.output + stalledMs
  const share = all === 0 ? 0 : (busyMs + stalledMs) / all
  return { name, busyMs, inputMs: ms.input, outputMs: ms.output, stalledMs, share, isGuilty }
}
