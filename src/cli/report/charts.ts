import { shortDigest } from '../progress/state.ts'
import { formatSize } from '../progress/units.ts'
import { type Html, html } from './html.ts'
import { findStalled, type StalledSpan } from './lanes.ts'
import type { LayerRecord, PullRecord } from './record.ts'
import type { StageSeries } from './series.ts'

/** More layers than this say nothing new; those with a stall come first, then the largest. */
const layersShownMax = 6
const width = 200
const height = 56
/** The line must not touch the frame. */
const top = 4

/** What went into each stage and what came out, over time. A stage that takes and does not give is seen at once. */
export function renderCharts(pull: PullRecord): Html {
  const rank = (layer: LayerRecord) => findStalled(layer, pull).length
  const layers = pull.layers
    .filter(({ stages }) => stages.some(hasBytes))
    .toSorted((a, b) => rank(b) - rank(a) || b.size - a.size)
  if (layers.length === 0) return html`<p class="muted">No bytes were counted.</p>`
  const left = layers.length - layersShownMax
  const note =
    left > 0 ? html`<p class="note">${left} more layers are left out: the smaller ones, without a stall.</p>` : ''
  return html`<p class="note">Filled: bytes that came out. Dashed: bytes that went in. Each picture has its own scale.</p>${layers.slice(0, layersShownMax).map(layer => renderLayer(layer, pull))}${note}`
}

function hasBytes({ bytesIn, bytesOut }: StageSeries): boolean {
  return (bytesIn.at(-1) ?? 0) > 0 || (bytesOut.at(-1) ?? 0) > 0
}

function renderLayer(layer: LayerRecord, pull: PullRecord): Html {
  const stalled = findStalled(layer, pull)
  const charts = layer.stages
    .filter(stage => hasBytes(stage) || stalled.some(({ stall }) => stall.stage === stage.name))
    .map(stage =>
      renderStage(
        stage,
        stalled.filter(({ stall }) => stall.stage === stage.name),
        pull.elapsedMs,
      ),
    )
  return html`<h3>Layer ${layer.layer + 1} <code>${shortDigest(layer.digest)}</code></h3><div class="charts">${charts}</div>`
}

function renderStage(stage: StageSeries, stalled: readonly StalledSpan[], elapsedMs: number): Html {
  const { name, bytesIn, bytesOut } = stage
  const peak = Math.max(1, ...bytesIn, ...bytesOut)
  const input = formatSize(bytesIn.at(-1) ?? 0)
  const output = formatSize(bytesOut.at(-1) ?? 0)
  const x = (ms: number) => round((width * ms) / Math.max(1, elapsedMs))
  const spans = stalled.map(
    ({ fromMs, toMs }) =>
      html`<rect class="stalled" x="${x(fromMs)}" width="${Math.max(1, x(toMs) - x(fromMs))}" y="0" height="${height}"/>`,
  )
  const out = points(stage.atMs, bytesOut, peak, x)
  const area =
    out === ''
      ? ''
      : html`<polygon class="out" points="${x(stage.atMs[0] ?? 0)},${height} ${out} ${x(stage.atMs.at(-1) ?? 0)},${height}"/>`
  const guilty = stalled.length > 0
  return html`<figure${guilty ? html` class="guilty"` : ''}><svg role="img" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none"><title>${name}: ${input} in, ${output} out${guilty ? ', stalled' : ''}</title>${spans}${area}<polyline class="in" points="${points(stage.atMs, bytesIn, peak, x)}"/></svg><figcaption><b>${name}</b>${guilty ? ' stalled' : ''}<br>in ${input} · out ${output}</figcaption></figure>`
}

function points(atMs: readonly number[], bytes: readonly number[], peak: number, x: (ms: number) => number): string {
  const y = (count: number) => round(height - ((height - top) * count) / peak)
  const step = Math.max(1, Math.ceil(atMs.length / width))
  return atMs
    .map((ms, index) => ({ index, text: `${x(ms)},${y(bytes[index] ?? 0)}` }))
    .filter(({ index }) => index % step === 0 || index === atMs.length - 1)
    .map(({ text }) => text)
    .join(' ')
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
