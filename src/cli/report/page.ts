import { shortDigest } from '../progress/state.ts'
import { describeKind } from '../progress/trouble.ts'
import { formatDuration, formatSize } from '../progress/units.ts'
import { renderCharts } from './charts.ts'
import { facts, formatDate, renderDocument } from './document.ts'
import { type Html, html } from './html.ts'
import { phaseTimes } from './lanes.ts'
import type { Happening, LayerRecord, Outcome, PullRecord, Report } from './record.ts'
import { renderTimeline } from './timeline.ts'
import { describePull, type PullVerdict, sumStages } from './verdict.ts'

/** The report as one page that needs nothing else: no script, no font, no request. */
export function renderPage(report: Report): string {
  const verdicts = report.pulls.map(pull => ({ pull, verdict: describePull(pull) }))
  const isSingle = verdicts.length === 1
  const left =
    report.pullsLeftOut === 0
      ? ''
      : html`<p class="note">${report.pullsLeftOut} more images are not in this report.</p>`
  return renderDocument({
    language: 'en',
    title: `${report.pulls[0]?.reference ?? 'Nothing'}: windlass report`,
    tone: worstTone(verdicts),
    eyebrow: html`windlass report · <time datetime="${report.startedAt}">${formatDate(report.startedAt)}</time> · <code>${report.command}</code>`,
    headline: summarize(verdicts),
    main: html`${verdicts.map(({ pull, verdict }) => renderPull(pull, verdict, isSingle))}${left}
${renderHost(report)}`,
    data: report,
  })
}

interface Judged {
  readonly pull: PullRecord
  readonly verdict: PullVerdict
}

function worstTone(verdicts: readonly Judged[]): PullVerdict['tone'] {
  const tones = verdicts.map(({ verdict }) => verdict.tone)
  return tones.includes('bad') ? 'bad' : tones.includes('survived') ? 'survived' : 'good'
}

function summarize(verdicts: readonly Judged[]): string {
  if (verdicts.length === 0) return 'Nothing was pulled.'
  if (verdicts.length === 1) return verdicts[0]?.verdict.sentence ?? ''
  const bad = verdicts.filter(({ verdict }) => verdict.tone === 'bad').length
  return bad === 0
    ? `All ${verdicts.length} images were pulled.`
    : `${bad} of ${verdicts.length} images were not pulled.`
}

function renderPull(pull: PullRecord, verdict: PullVerdict, isSingle: boolean): Html {
  const head = isSingle ? '' : html`<h2 class="verdict">${verdict.sentence}</h2>`
  const told = pull.happenings.filter(event => event.type !== 'stall' || isToldFirst(event, pull))
  const flags = new Map(told.map((event, index) => [event, index + 1]))
  return html`<article class="${verdict.tone}">${head}
${renderFacts(pull)}
${renderEvidence(verdict, pull.outcome)}
<section><h2>Timeline</h2>${renderTimeline(pull, flags)}</section>
<section><h2>What happened, in order</h2>${renderHappenings(pull, told, verdict)}</section>
<section><h2>Who waited for whom</h2>${renderBlame(pull)}</section>
<section><h2>Bytes in and out of each stage</h2>${renderCharts(pull)}</section>
<section><h2>Layers</h2>${renderLayers(pull)}</section>
</article>`
}

/** A verdict that lasts may be told anew, in other words; it is one stall. */
function isToldFirst(stall: Extract<Happening, { type: 'stall' }>, { happenings }: PullRecord): boolean {
  for (const event of happenings.slice(0, happenings.indexOf(stall)).reverse()) {
    if (event.layer !== stall.layer) continue
    if (event.type === 'fallback' || (event.type === 'recovered' && event.stage === stall.stage)) return true
    if (event.type === 'stall' && event.stage === stall.stage) return event.atMs < stall.atMs - stall.sinceMs
  }
  return true
}

function renderFacts(pull: PullRecord): Html {
  const sum = (pick: (layer: LayerRecord) => number) => pull.layers.reduce((total, layer) => total + pick(layer), 0)
  const { outcome, image, layers } = pull
  const existing = layers.filter(({ phases }) => phases.at(-1)?.phase === 'exists').length
  const done = layers.filter(({ phases }) => phases.at(-1)?.phase === 'done').length
  return facts([
    ['Reference', html`<span class="code">${pull.reference}</span>`],
    ['Outcome', formatOutcome(outcome)],
    ['Time', formatDuration(pull.elapsedMs)],
    ['Platform', image && formatPlatform(image.platform)],
    ['Layers', `${done} pulled, ${existing} here before, of ${layers.length}`],
    ['From the network', formatSize(sum(({ progress }) => progress.bytesDownloaded - progress.bytesResumed))],
    ['Left by earlier runs', formatSize(sum(({ progress }) => progress.bytesResumed))],
    ['Unpacked', formatSize(sum(({ progress }) => progress.bytesUnpacked))],
  ])
}

function formatPlatform({ os, architecture, variant }: { os: string; architecture: string; variant?: string }): string {
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/')
}

function formatOutcome(outcome: Outcome): string {
  if (outcome.status === 'running') return 'under way when this was written'
  if (outcome.status === 'done') return outcome.changed ? 'pulled' : 'up to date'
  return `${outcome.status}: ${outcome.error.code}, exit status ${outcome.error.exitStatus}`
}

function renderEvidence({ guilty }: PullVerdict, outcome: Outcome): Html {
  const error =
    outcome.status === 'failed' || outcome.status === 'cancelled'
      ? html`<p>The error: ${outcome.error.message}</p>${outcome.error.hint === undefined ? '' : html`<p><b>What to do:</b> ${outcome.error.hint}</p>`}`
      : ''
  if (guilty === undefined) return html`${error}`
  const { stall, layer, fromMs } = guilty
  const certainty = { certain: 'certain', likely: 'likely', unknown: 'not certain' }[stall.confidence]
  return html`<section><h2>Evidence</h2>
<p>Guilty: stage <span class="mark">${stall.stage}</span> of layer ${layer.layer + 1}. It ${describeKind(stall.kind)}; stuck since ${formatDuration(fromMs)}. The verdict is <b>${certainty}</b> (<code>${stall.kind}</code>).</p>
<ul class="evidence">${stall.evidence.map(line => html`<li>${line}</li>`)}</ul>${error}</section>`
}

function renderHappenings(pull: PullRecord, told: readonly Happening[], { guilty }: PullVerdict): Html {
  if (told.length === 0) return html`<p class="muted">Nothing that had to be told: no stall, no retry, no fallback.</p>`
  const left = pull.happeningsLeftOut
  const note = left === 0 ? '' : html`<p class="note">${left} later ones are not in this report.</p>`
  const items = told.map((event, index) => {
    const flag = html`<span class="flag${event.type === 'stall' ? ' guilty' : ''}">${index + 1}</span>`
    const what = html`${describeLayer(event, pull)}${describeHappening(event, event === guilty?.stall)}`
    return html`<li>${flag}<span class="at">${formatDuration(event.atMs)}</span><div class="what">${what}</div></li>`
  })
  return html`<ol class="happenings">${items}</ol>${note}`
}

function describeLayer({ layer: number }: Happening, { layers }: PullRecord): Html | string {
  const layer = layers.find(({ layer }) => layer === number)
  return layer === undefined ? '' : html`Layer ${layer.layer + 1} <code>${shortDigest(layer.digest)}</code>: `
}

function describeHappening(event: Happening, isShown: boolean): Html {
  switch (event.type) {
    case 'notice':
    case 'warning':
      return html`${event.message}`
    case 'recovered':
      return html`<b>${event.stage}</b> moves again.`
    case 'retry': {
      const pause = formatDuration(event.pauseMs)
      return html`<b>attempt failed</b> at ${event.host}: ${event.message}. Next one after ${pause}.`
    }
    case 'stall': {
      const since = formatDuration(event.atMs - event.sinceMs)
      const evidence = isShown ? html` Its evidence stands above.` : listEvidence(event.evidence)
      return html`<b class="mark">${event.stage} ${describeKind(event.kind)}</b>, stuck since ${since}.${evidence}`
    }
    case 'fallback': {
      const result = describeFallback(event)
      // Facts as `name: value`, of which some are empty.
      const facts = event.evidence.filter(line => !line.endsWith(': ')).join(' · ')
      return html`<b>gave up ${event.program}</b>: ${event.message}. ${result}<p class="note">${facts}</p>`
    }
  }
}

function describeFallback({ redone, bytesProven }: Extract<Happening, { type: 'fallback' }>): string {
  return redone
    ? 'What it had given out could not be proven right: the layer is unpacked again, decompressed in process.'
    : `The ${formatSize(bytesProven)} that it had given out were proven right and kept; the rest is decompressed in process.`
}

function listEvidence(evidence: readonly string[]): Html {
  return html`<ul>${evidence.map(line => html`<li>${line}</li>`)}</ul>`
}

function renderBlame(pull: PullRecord): Html {
  const rows = sumStages(pull)
  if (rows.length === 0) return html`<p class="muted">No stage was sampled.</p>`
  const time = (ms: number) => (ms === 0 ? '–' : formatDuration(ms))
  const body = rows.map(row => {
    const waited = row.stalledMs > 0 ? 'itself: it had input and room' : mostly(row.inputMs, row.outputMs, row.busyMs)
    return html`<tr${row.isGuilty ? html` class="guilty"` : ''}><th scope="row">${row.name}${row.isGuilty ? ' (guilty)' : ''}</th><td>${time(row.busyMs)}</td><td>${time(row.inputMs)}</td><td>${time(row.outputMs)}</td><td>${time(row.stalledMs)}</td><td>${Math.round(100 * row.share)}%</td><td class="words">${waited}</td></tr>`
  })
  const head = html`<tr><th scope="col">Stage</th><th scope="col">Busy</th><th scope="col">Waited for input</th><th scope="col">Waited for output</th><th scope="col">Stalled</th><th scope="col">Share</th><th scope="col" class="words">Waited mostly for</th></tr>`
  return html`${table('Stages', head, body)}<p class="note">Times of all layers together. Share: the part of its time in which a stage was held up by nothing but itself.</p>`
}

function mostly(inputMs: number, outputMs: number, busyMs: number): string {
  if (busyMs >= inputMs + outputMs) return 'nobody'
  return inputMs >= outputMs ? 'its input' : 'its output'
}

function renderLayers(pull: PullRecord): Html {
  if (pull.layers.length === 0) return html`<p class="muted">The image was not resolved: its layers are not known.</p>`
  const time = (ms: number) => (ms === 0 ? '–' : formatDuration(ms))
  const body = pull.layers.map(layer => {
    const { bytesDownloaded, bytesResumed, bytesUnpacked, entries } = layer.progress
    const ms = phaseTimes(layer, pull)
    return html`<tr><th scope="row">${layer.layer + 1} <code title="${layer.digest}">${shortDigest(layer.digest)}</code></th><td class="words">${layer.phases.at(-1)?.phase ?? 'unknown'}</td><td>${formatSize(layer.size)}</td><td>${formatSize(bytesDownloaded - bytesResumed)}</td><td>${formatSize(bytesResumed)}</td><td>${formatSize(bytesUnpacked)}</td><td>${entries}</td><td>${time(ms.waiting)}</td><td>${time(ms.pulling)}</td><td>${time(ms.syncing)}</td></tr>`
  })
  const names = ['Size', 'From network', 'Resumed', 'Unpacked', 'Entries', 'Waiting', 'Pulling', 'Syncing']
  const head = html`<tr><th scope="col">Layer</th><th scope="col" class="words">State</th>${names.map(name => html`<th scope="col">${name}</th>`)}</tr>`
  return table('Layers', head, body)
}

function renderHost({ host, startedAt, writtenAt }: Report): Html {
  const rows = facts([
    ['windlass', host.windlass],
    ['Node', host.node],
    ['Operating system', host.operatingSystem],
    ['Kernel', host.kernel],
    ['Architecture', `${host.architecture}, ${host.cores} cores`],
    ['Memory', formatSize(host.memoryBytes)],
    ['Started', formatDate(startedAt)],
    ['Written', formatDate(writtenAt)],
  ])
  return html`<section><h2>Host</h2>${rows}<p class="note">This page needs no network and runs no script. All data behind it are in its last element, <code>windlass-report</code>, as JSON. It holds no credentials and nothing of the environment.</p></section>`
}

/** Wide tables scroll by themselves, with the keyboard, too. */
function table(name: string, head: Html, body: readonly Html[]): Html {
  return html`<div class="scroll" role="region" aria-label="${name}" tabindex="0"><table><thead>${head}</thead><tbody>${body}</tbody></table></div>`
}
