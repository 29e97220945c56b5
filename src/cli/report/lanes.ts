import type { LayerPhase } from '../../copy/events.ts'
import type { Happening, LayerRecord, PullRecord } from './record.ts'
import type { StageSeries } from './series.ts'

/**
 * What a stage did: bytes `moving` through it, `working` without that any came through, waiting for `input` or for `output`, or
 * nothing (`idle`).
 */
export type LaneState = 'moving' | 'working' | 'input' | 'output' | 'idle'

export interface Span {
  readonly fromMs: number
  readonly toMs: number
  readonly state: LaneState
}

/** The time in which a stage stood still, by the verdict of the watch. */
export interface StalledSpan {
  readonly stall: Stall
  readonly fromMs: number
  readonly toMs: number
  /** What ended it. */
  readonly end: 'moved' | 'fallback' | 'never'
}

type Stall = Extract<Happening, { type: 'stall' }>

/** A swim lane. A layer's first lane is the layer itself and has no series. */
export interface Lane {
  readonly name: string
  readonly spans: readonly Span[]
  readonly stalled: readonly StalledSpan[]
}

/** More spans than this are no wider than a pixel each. */
const spansMax = 300
/** Samples farther apart than this many of their usual distances say nothing about what was between them. */
const gapFactor = 4
const gapMsMin = 2000
/** A program that was given up sooner had not stalled: it died, or said that it cannot. */
const stallMsMin = 2000

/** The lanes of a layer's stages, in the order of the stream; a stage that only a verdict names has one, too. */
export function planLanes(layer: LayerRecord, pull: PullRecord): Lane[] {
  const stalled = findStalled(layer, pull)
  const lanes = layer.stages.map(series => ({
    name: series.name,
    spans: thinSpans(readSpans(series)),
    stalled: stalled.filter(({ stall }) => stall.stage === series.name),
  }))
  const missing = new Set(
    stalled.map(({ stall }) => stall.stage).filter(name => !lanes.some(lane => lane.name === name)),
  )
  return [
    ...lanes,
    ...[...missing].map(name => ({ name, spans: [], stalled: stalled.filter(({ stall }) => stall.stage === name) })),
  ]
}

/** How long a layer was in each phase; what is finished stays so. */
export function phaseTimes({ phases }: LayerRecord, { elapsedMs }: PullRecord): Record<LayerPhase, number> {
  const [active, passive] = [
    { waiting: 0, pulling: 0, syncing: 0, delivering: 0, copying: 0, reading: 0 },
    { exists: 0, done: 0, copied: 0, read: 0 },
  ]
  const ms = { ...active, ...passive }
  for (const [index, { phase, atMs }] of phases.entries()) ms[phase] += (phases[index + 1]?.atMs ?? elapsedMs) - atMs
  return ms
}

/** All stalls of a layer, each once: a verdict that is told again while the first one lasts is the same stall. */
export function findStalled(layer: LayerRecord, pull: PullRecord): StalledSpan[] {
  const spans: StalledSpan[] = []
  for (const event of pull.happenings) {
    if (event.layer !== layer.layer) continue
    const stall = event.type === 'fallback' ? impliedStall(event, layer) : event
    if (stall?.type !== 'stall') continue
    const isSame = spans.some(
      span => stall.atMs <= span.toMs && (span.stall.stage === stall.stage || event.type === 'fallback'),
    )
    if (!isSame) spans.push({ stall, fromMs: Math.max(0, stall.atMs - stall.sinceMs), ...findEnd(stall, layer, pull) })
  }
  return spans
}

/** Who supervises a program may give it up before the watch has a verdict: it had stood still since its bytes last moved. */
function impliedStall(event: Extract<Happening, { type: 'fallback' }>, layer: LayerRecord): Stall | undefined {
  const series = layer.stages.find(({ name }) => name === 'decompress')
  const at = series?.atMs.findLastIndex((atMs, index) => atMs <= event.atMs && hasMoved(series, index)) ?? -1
  const sinceMs = event.atMs - (series?.atMs[at] ?? event.atMs)
  if (sinceMs < stallMsMin) return undefined
  const { message, evidence, atMs, layer: number } = event
  return {
    type: 'stall',
    layer: number,
    atMs,
    stage: 'decompress',
    kind: 'stuck-decompressor',
    confidence: 'certain',
    sinceMs,
    evidence: [message, ...evidence],
  }
}

function findEnd(stall: Stall, layer: LayerRecord, pull: PullRecord): Pick<StalledSpan, 'toMs' | 'end'> {
  const later = pull.happenings.filter(
    event => 'layer' in event && event.layer === stall.layer && event.atMs >= stall.atMs,
  )
  const fallback = later.find(({ type }) => type === 'fallback')
  const recovered = later.find(event => event.type === 'recovered' && event.stage === stall.stage)
  const doneMs = layer.phases.find(({ phase, atMs }) => phase === 'done' && atMs >= stall.atMs)?.atMs
  const movedMs = Math.min(recovered?.atMs ?? Infinity, findMove(stall, layer), doneMs ?? Infinity)
  if (movedMs < (fallback?.atMs ?? Infinity)) return { toMs: movedMs, end: 'moved' }
  if (fallback !== undefined) return { toMs: fallback.atMs, end: 'fallback' }
  return { toMs: Math.max(pull.elapsedMs, stall.atMs), end: 'never' }
}

/** When bytes went through the stage again. */
function findMove(stall: Stall, layer: LayerRecord): number {
  const series = layer.stages.find(({ name }) => name === stall.stage)
  const at = series?.atMs.findIndex((atMs, index) => atMs > stall.atMs && hasMoved(series, index)) ?? -1
  return series?.atMs[at] ?? Infinity
}

function hasMoved({ bytesIn, bytesOut }: StageSeries, index: number): boolean {
  return index > 0 && (bytesIn[index] !== bytesIn[index - 1] || bytesOut[index] !== bytesOut[index - 1])
}

const waitStates = { input: 'input', output: 'output', itself: 'working', nobody: 'idle' } as const

/** What the stage did between each sample and the next, equals joined. */
export function readSpans(series: StageSeries): Span[] {
  const { atMs, waitsFor } = series
  const usualMs = ((atMs.at(-1) ?? 0) - (atMs[0] ?? 0)) / Math.max(1, atMs.length - 1)
  const gapMs = Math.max(gapMsMin, gapFactor * usualMs)
  const spans: Span[] = []
  for (let index = 1; index < atMs.length; index++) {
    const fromMs = atMs[index - 1] ?? 0
    const toMs = atMs[index] ?? 0
    const told = waitStates[waitsFor[index] ?? 'nobody'] ?? 'idle'
    pushSpan(spans, { fromMs, toMs, state: hasMoved(series, index) ? 'moving' : toMs - fromMs > gapMs ? 'idle' : told })
  }
  return spans
}

function pushSpan(spans: Span[], span: Span): void {
  const last = spans.at(-1)
  if (last?.state === span.state && last.toMs >= span.fromMs) spans[spans.length - 1] = { ...last, toMs: span.toMs }
  else spans.push(span)
}

/** As many spans as a screen can show: each slice of time gets the state that filled most of it. */
function thinSpans(spans: readonly Span[]): readonly Span[] {
  const startMs = spans[0]?.fromMs ?? 0
  const sliceMs = ((spans.at(-1)?.toMs ?? 0) - startMs) / spansMax
  if (spans.length <= spansMax || sliceMs <= 0) return spans
  const thinned: Span[] = []
  let next = 0
  for (let slice = 0; slice < spansMax; slice++) {
    const fromMs = startMs + slice * sliceMs
    const toMs = fromMs + sliceMs
    while ((spans[next]?.toMs ?? Infinity) <= fromMs) next++
    pushSpan(thinned, { fromMs, toMs, state: dominantState(spans, next, fromMs, toMs) })
  }
  return thinned
}

function dominantState(spans: readonly Span[], first: number, fromMs: number, toMs: number): LaneState {
  const times = new Map<LaneState, number>()
  for (let at = first; (spans[at]?.fromMs ?? Infinity) < toMs; at++) {
    const span = spans[at] as Span
    const ms = Math.min(span.toMs, toMs) - Math.max(span.fromMs, fromMs)
    times.set(span.state, (times.get(span.state) ?? 0) + ms)
  }
  return [...times].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 'idle'
}
