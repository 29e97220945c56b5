import type { PullEvent } from '../../copy/events.ts'
import { printable } from '../printable.ts'
import { silenceMs } from './frame.ts'
import {
  applyEvent,
  describeTrouble,
  isBusy,
  isFinished,
  type LayerState,
  newPullState,
  type PullState,
  phaseWord,
  platformText,
  shortDigest,
  sumLayers,
} from './state.ts'
import { isTrouble } from './trouble.ts'
import { formatDuration, formatRate, formatSize } from './units.ts'
import type { View } from './view.ts'

/** For logs: a line for each change of state, and a summary whenever nothing was said for five seconds. */
export function newPlainView(name: string, startedAt: number): View {
  const state = newPullState(name, startedAt)
  let toldAt = startedAt
  const tell = (lines: readonly string[], now: number) => {
    if (lines.length > 0) toldAt = now
    return lines.map(line => `${printable(line)}\n`).join('')
  }
  const handle = (event: PullEvent, now: number) => {
    applyEvent(state, event, now)
    return tell(describeEvent(event, state, now), now)
  }
  const tick = (now: number) => (now - toldAt >= silenceMs ? tell([summarize(state, now)], now) : '')
  return { handle, tick, clear: () => '', close: () => '' }
}

function describeEvent(event: PullEvent, state: PullState, now: number): string[] {
  if (event.type === 'start') {
    const { reference, registry, to } = event
    return [
      to === undefined ? `${reference}: Pulling from ${registry}` : `${reference}: Copying from ${registry} to ${to}`,
    ]
  }
  if (event.type === 'warning') return [`warning: ${event.message}`]
  if (event.type === 'notice') return [`note: ${event.message}`]
  if (event.type === 'delivery') return [event.message]
  if (isTrouble(event)) return describeTrouble(state, event)
  if (event.type === 'layer') return describeLayer(state.layers[event.layer], now)
  if (event.type === 'resolved') {
    const size = formatSize(event.layers.reduce((sum, layer) => sum + layer.size, 0))
    const platform = platformText(event.platform)
    return [`Found ${event.digest}${platform === '' ? '' : ` for ${platform}`}: ${event.layers.length} layers, ${size}`]
  }
  if (event.type === 'done' && event.changed) {
    const { bytesDownloaded, entries, elapsedMs } = event
    return [`Pulled ${formatSize(bytesDownloaded)}, ${entries} entries in ${formatDuration(elapsedMs)}`]
  }
  return []
}

function describeLayer(layer: LayerState | undefined, now: number): string[] {
  if (layer === undefined || layer.phase === 'waiting' || layer.phase === 'syncing' || layer.phase === 'delivering')
    return []
  const line = `${shortDigest(layer.digest)}: ${phaseWord(layer)}`
  if (layer.phase === 'exists') return [line]
  const time = isFinished(layer) ? ` in ${formatDuration(now - layer.startedAt)}` : ''
  return [`${line} ${formatSize(layer.size)}${time}`]
}

function summarize(state: PullState, now: number): string {
  const elapsed = formatDuration(now - state.startedAt)
  if (state.resolved === undefined) {
    return `${state.name}: ${state.registry === undefined ? '' : `waiting for ${state.registry}, `}${elapsed}`
  }
  const totals = sumLayers(state, now)
  const amount = `${formatSize(totals.bytesDownloaded)}/${formatSize(totals.bytes)}`
  const rates = `net ${formatRate(totals.networkRate)}, unpack ${formatRate(totals.unpackRate)}`
  const idle = totals.idleMs >= silenceMs ? `, nothing moved for ${formatDuration(totals.idleMs)}` : ''
  const open = state.layers.filter(isBusy)
  const names = open.slice(0, 3).map(layer => `${shortDigest(layer.digest)} ${phaseWord(layer).toLowerCase()}`)
  const at = names.length === 0 ? '' : ` (${names.join(', ')}${open.length > 3 ? ', …' : ''})`
  return `${elapsed}: ${amount}, ${rates}, ${totals.layersDone}/${totals.layers} layers${idle}${at}`
}
