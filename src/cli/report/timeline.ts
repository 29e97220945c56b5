import { shortDigest } from '../progress/state.ts'
import { formatDuration } from '../progress/units.ts'
import { type Html, html } from './html.ts'
import { type Lane, type LaneState, phaseTimes, planLanes, type Span } from './lanes.ts'
import type { Happening, LayerRecord, PullRecord } from './record.ts'

/** Height of the numbers above the lanes, and of a lane; the style has the same for the names beside them. */
const headHeight = 18
const laneHeight = 22
/** Two numbers nearer than this, in percent of the width, would lie on each other on a narrow screen. */
const numberGap = 7
/** Closer to the right end than this, a label stands before its span. */
const labelEnd = 62
/** Thinner than this, in percent, a span would not be seen. */
const widthMin = 0.3
/** A phase shorter than this, in milliseconds, says nothing. */
const timeMin = 50

const legendTexts: readonly (readonly [LaneState | 'stalled', string])[] = [
  ['moving', 'bytes move'],
  ['working', 'at work, nothing through yet'],
  ['input', 'low line: waits for input'],
  ['output', 'high line: waits for its output to be taken'],
  ['stalled', 'hatched: stalled'],
]

const markTexts = { since: 'stuck since', event: 'retry, fallback or recovery' }

/** The hatch that all stalled spans use. Once per page. */
export function hatchPattern(): Html {
  return html`<svg class="hidden" aria-hidden="true" focusable="false"><defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" class="hatch-back"/><line x1="0" y1="0" x2="0" y2="7" class="hatch-line"/></pattern></defs></svg>`
}

/** What the shapes of the lanes mean. */
function renderLegend(): Html {
  const items = legendTexts.map(
    ([state, text]) =>
      html`<li><svg class="key" aria-hidden="true" viewBox="0 0 34 18">${keyShape(state)}</svg>${text}</li>`,
  )
  const marks = (['since', 'event'] as const).map(
    name =>
      html`<li><svg class="key" aria-hidden="true" viewBox="0 0 34 18"><line class="${name}" x1="17" x2="17" y1="1" y2="17"/></svg>${markTexts[name]}</li>`,
  )
  return html`<ul class="legend">${items}${marks}</ul>`
}

function keyShape(state: LaneState | 'stalled'): Html {
  if (state === 'stalled') return html`<rect class="stalled" x="1" y="1" width="32" height="16"/>`
  const [y, height] = shapes[state]
  return html`<rect class="${state}" x="1" y="${y - 2}" width="32" height="${height}"/>`
}

/** Where in a lane a state is drawn, and how high: the shape alone must tell what it is. */
const shapes: Readonly<Record<LaneState, readonly [number, number]>> = {
  moving: [5, 12],
  working: [7, 8],
  input: [16, 2],
  output: [4, 2],
  idle: [11, 0],
}

/** All layers of a pull on one axis of time. Layers that were there already have no lanes. */
export function renderTimeline(pull: PullRecord, flags: ReadonlyMap<Happening, number>): Html {
  const layers = pull.layers.filter(({ phases }) =>
    phases.some(({ phase }) => phase !== 'exists' && phase !== 'waiting'),
  )
  if (layers.length === 0) return html`<p class="muted">No layer was begun.</p>`
  const isOpen = (layer: LayerRecord) => layers.length <= openMax || planLanes(layer, pull).some(isStalled)
  const groups = layers.map(layer => renderLayer(layer, pull, flags, isOpen(layer)))
  return html`${renderLegend()}${renderAxis(pull.elapsedMs)}${groups}`
}

/** Of more layers than this, only those that have something to tell are unfolded. */
const openMax = 6

function isStalled({ stalled }: Lane): boolean {
  return stalled.length > 0
}

function renderLayer(
  layer: LayerRecord,
  pull: PullRecord,
  flags: ReadonlyMap<Happening, number>,
  isOpen: boolean,
): Html {
  const stages = planLanes(layer, pull)
  const lanes = stages.length > 0 ? stages : [{ name: 'layer', spans: phaseSpans(layer, pull), stalled: [] }]
  const names = lanes.map(lane => html`<li${isStalled(lane) ? html` class="guilty"` : ''}>${lane.name}</li>`)
  const height = headHeight + lanes.length * laneHeight
  const title = `Layer ${layer.layer + 1}, ${shortDigest(layer.digest)}`
  return html`<details${isOpen ? html` open` : ''}><summary><h3>Layer ${layer.layer + 1} <code>${shortDigest(layer.digest)}</code></h3> <span class="muted">${describeEnd(layer, pull)}</span></summary>
<div class="lanes"><ul aria-hidden="true">${names}</ul><svg role="img" height="${height}"><title>${title}</title><desc>${describeLanes(lanes)}</desc>
${lanes.map((lane, index) => renderLane(lane, headHeight + index * laneHeight, pull.elapsedMs))}
${renderMarks(layer, pull, flags, lanes, height)}
${lanes.map((lane, index) => renderLabels(lane, headHeight + index * laneHeight, pull.elapsedMs))}</svg></div></details>`
}

function describeEnd(layer: LayerRecord, pull: PullRecord): string {
  const phase = layer.phases.at(-1)?.phase
  const ms = phaseTimes(layer, pull)
  const end =
    phase === 'done' ? 'published' : phase === 'exists' ? 'came from elsewhere' : `${phase ?? 'not begun'} at the end`
  const times = (['waiting', 'pulling', 'syncing', 'delivering'] as const).filter(name => ms[name] >= timeMin)
  return [end, ...times.map(name => `${name} ${formatDuration(ms[name])}`)].join(' · ')
}

/** The one lane of a layer whose stages were not sampled: from its phases. */
function phaseSpans({ phases }: LayerRecord, { elapsedMs }: PullRecord): Span[] {
  const states = {
    waiting: 'input',
    pulling: 'working',
    syncing: 'working',
    delivering: 'working',
    copying: 'working',
    copied: 'idle',
    reading: 'working',
    read: 'idle',
    exists: 'idle',
    done: 'idle',
  } as const
  return phases.map(({ phase, atMs }, index) => ({
    fromMs: atMs,
    toMs: phases[index + 1]?.atMs ?? (phase === 'done' || phase === 'exists' ? atMs : elapsedMs),
    state: states[phase],
  }))
}

/** The lanes in words, for who cannot see them. */
function describeLanes(lanes: readonly Lane[]): string {
  const stalls = lanes.flatMap(({ name, stalled }) =>
    stalled.map(({ fromMs, toMs }) => `${name} stalled from ${formatDuration(fromMs)} to ${formatDuration(toMs)}`),
  )
  const names = lanes.map(({ name }) => name).join(', ')
  return `Lanes: ${names}. ${stalls.length === 0 ? 'Nothing stalled.' : `${stalls.join('; ')}.`}`
}

function renderLane({ spans, stalled }: Lane, top: number, elapsedMs: number): Html {
  const bars = spans
    .filter(({ state }) => state !== 'idle')
    .map(({ fromMs, toMs, state }) => {
      const [y, height] = shapes[state]
      return html`<rect class="${state}" ${place(fromMs, toMs, elapsedMs)} y="${top + y}" height="${height}"/>`
    })
  const stalls = stalled.map(
    ({ fromMs, toMs }) => html`<rect class="stalled" ${place(fromMs, toMs, elapsedMs)} y="${top + 3}" height="16"/>`,
  )
  const line = top + laneHeight - 0.5
  return html`<line class="base" x1="0" x2="100%" y1="${line}" y2="${line}"/>${bars}${stalls}`
}

/** Over the marks, so that it can be read. */
function renderLabels({ stalled }: Lane, top: number, elapsedMs: number): Html[] {
  return stalled.map(({ fromMs, toMs }) => {
    const isLate = percent(fromMs, elapsedMs) > labelEnd
    const at = isLate ? percent(fromMs, elapsedMs) - 1 : percent(fromMs, elapsedMs) + 1
    return html`<text class="label" x="${format(at)}%" y="${top + 15}" text-anchor="${isLate ? 'end' : 'start'}">stalled ${formatDuration(toMs - fromMs)}</text>`
  })
}

function place(fromMs: number, toMs: number, elapsedMs: number): Html {
  const x = percent(fromMs, elapsedMs)
  const width = Math.max(widthMin, percent(toMs, elapsedMs) - x)
  return html`x="${format(Math.min(x, 100 - widthMin))}%" width="${format(width)}%"`
}

/** A line through all lanes where something happened to the layer, with its number in the list; a stall is marked where it began. */
function renderMarks(
  layer: LayerRecord,
  { happenings, elapsedMs }: PullRecord,
  flags: ReadonlyMap<Happening, number>,
  lanes: readonly Lane[],
  height: number,
): Html[] {
  const starts = new Map(
    lanes.flatMap(({ stalled }) => stalled.map(({ stall, fromMs }) => [stall as Happening, fromMs])),
  )
  const marks = happenings
    .filter(event => event.layer === layer.layer && (event.type === 'stall' ? starts.has(event) : !isRemark(event)))
    .map(event => ({ event, at: percent(starts.get(event) ?? event.atMs, elapsedMs) }))
    .sort((a, b) => a.at - b.at)
  let numberedAt = Number.NEGATIVE_INFINITY
  return marks.map(({ event, at }) => {
    const isStall = event.type === 'stall'
    const hasNumber = isStall || at - numberedAt >= numberGap
    if (hasNumber) numberedAt = at
    const number = html`<text class="number${isStall ? ' guilty' : ''}" x="${format(Math.min(98, Math.max(2, at)))}%" y="11">${flags.get(event)}</text>`
    return html`<g><title>${describeMark(event)}</title><line class="${isStall ? 'since' : 'event'}" x1="${format(at)}%" x2="${format(at)}%" y1="14" y2="${height}"/>${hasNumber ? number : ''}</g>`
  })
}

/** Said, but nothing to be marked in time. */
function isRemark({ type }: Happening): boolean {
  return type === 'warning' || type === 'notice'
}

function describeMark(event: Happening): string {
  if (event.type === 'stall') return `${event.stage} stuck since ${formatDuration(event.atMs - event.sinceMs)}`
  return `${event.type} at ${formatDuration(event.atMs)}`
}

function renderAxis(elapsedMs: number): Html {
  const ticks = planTicks(elapsedMs).map(atMs => {
    const at = percent(atMs, elapsedMs)
    const anchor = at < 3 ? 'start' : at > 94 ? 'end' : 'middle'
    return html`<text x="${format(at)}%" y="12" text-anchor="${anchor}">${formatTick(atMs)}</text>`
  })
  return html`<div class="lanes axis" aria-hidden="true"><span class="muted">time</span><svg height="16">${ticks}</svg></div>`
}

function formatTick(ms: number): string {
  return ms > 0 && ms < 1000 ? `${ms}ms` : ms < 60_000 ? `${ms / 1000}s` : formatDuration(ms)
}

/** Up to five moments at round distances. */
export function planTicks(elapsedMs: number): number[] {
  const steps = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
  ]
  const step = steps.find(ms => elapsedMs / ms < 5) ?? Math.ceil(elapsedMs / 4 / 3_600_000) * 3_600_000
  return Array.from({ length: Math.floor(elapsedMs / step) + 1 }, (_, index) => index * step)
}

function percent(ms: number, elapsedMs: number): number {
  return elapsedMs <= 0 ? 0 : Math.min(100, Math.max(0, (100 * ms) / elapsedMs))
}

function format(value: number): string {
  return String(Math.round(value * 100) / 100)
}
