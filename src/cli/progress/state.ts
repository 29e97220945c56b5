import type { LayerPhase, PullEvent, PullResult } from '../../copy/events.ts'
import type { Descriptor, Platform } from '../../oci/descriptor.ts'
import { type TroubleEvent, Troubles } from './trouble.ts'

/** Rates are those of the last seconds: shorter flickers, longer hides a stall. */
const rateWindowMs = 3000
/** A rate over less time than this is noise. */
const rateSpanMinMs = 250

/** The latest byte counts of one stage, for its rate. */
type Meter = { at: number; bytes: number }[]

/** One layer, as far as the events told. */
export interface LayerState {
  readonly digest: string
  readonly size: number
  phase: LayerPhase
  bytesDownloaded: number
  bytesResumed: number
  bytesUnpacked: number
  entries: number
  /** When its phase or a counter last changed. */
  movedAt: number
  startedAt: number
  readonly network: Meter
  readonly unpack: Meter
}

type Resolved = Extract<PullEvent, { type: 'resolved' }>

/** All that is known of one operation. Times are those of one monotonic clock, in milliseconds. */
export interface PullState {
  /** What is being done, until the events tell more. */
  readonly name: string
  readonly startedAt: number
  registry: string | undefined
  resolved: Resolved | undefined
  readonly layers: LayerState[]
  readonly troubles: Troubles
  result: PullResult | undefined
}

/** Sums over the layers that are not in the store already. */
export interface Totals {
  readonly layers: number
  /** Published, or there before. */
  readonly layersDone: number
  readonly layersExisting: number
  readonly bytes: number
  readonly bytesDownloaded: number
  readonly networkRate: number
  readonly unpackRate: number
  /** Longest time for which no layer has moved; 0 if none is at work. */
  readonly idleMs: number
}

/** The state before the first event. */
export function newPullState(name: string, now: number): PullState {
  const troubles = new Troubles()
  return { name, startedAt: now, registry: undefined, resolved: undefined, layers: [], troubles, result: undefined }
}

/** Takes one event in. */
export function applyEvent(state: PullState, event: PullEvent, now: number): void {
  if (event.type === 'start') state.registry = event.registry
  if (event.type === 'done') state.result = event
  if (event.type === 'resolved') {
    state.resolved = event
    for (const [index, layer] of event.layers.entries()) state.layers[index] ??= newLayer(layer, now)
  }
  if (event.type === 'layer') {
    const layer = layerOf(state, event, now)
    if (layer.phase === 'waiting') layer.startedAt = now
    layer.phase = event.phase
    layer.movedAt = now
  }
  if (event.type === 'progress') applyProgress(layerOf(state, event, now), event, now)
}

/** The line for a trouble; none for a stall that was told already. */
export function describeTrouble({ troubles, layers }: PullState, event: TroubleEvent): string[] {
  return troubles.describe(event, layer => layers[layer] && shortDigest(layers[layer].digest))
}

/** Bytes per second through a stage of a layer, now. */
export function readRate(meter: Meter, now: number): number {
  const recent = meter.findIndex(sample => sample.at >= now - rateWindowMs)
  // The last sample before the window stays: what came between it and the next one is the window's, too.
  const first = meter[Math.max(0, recent < 0 ? meter.length - 1 : recent - 1)]
  const last = meter.at(-1)
  if (first === undefined || last === undefined) return 0
  return (1000 * (last.bytes - first.bytes)) / Math.max(rateSpanMinMs, now - first.at)
}

/** Sums up. */
export function sumLayers({ layers }: PullState, now: number): Totals {
  const wanted = layers.filter(({ phase }) => phase !== 'exists')
  const busy = wanted.filter(isBusy)
  const sum = (pick: (layer: LayerState) => number, of = wanted) => of.reduce((total, layer) => total + pick(layer), 0)
  return {
    layers: layers.length,
    layersDone: layers.filter(isFinished).length,
    layersExisting: layers.length - wanted.length,
    bytes: sum(({ size }) => size),
    bytesDownloaded: sum(layer => (isFinished(layer) ? layer.size : layer.bytesDownloaded)),
    networkRate: sum(({ network }) => readRate(network, now), busy),
    unpackRate: sum(({ unpack }) => readRate(unpack, now), busy),
    idleMs: busy.length === 0 ? 0 : now - Math.max(...busy.map(({ movedAt }) => movedAt)),
  }
}

/** True if nothing is left to do for the layer. */
export function isFinished({ phase }: Pick<LayerState, 'phase'>): boolean {
  return phase === 'exists' || phase === 'done' || phase === 'copied' || phase === 'read'
}

/** True if the layer is being worked on. */
export function isBusy({ phase }: LayerState): boolean {
  return phase !== 'waiting' && !isFinished({ phase })
}

/** The phase in the words that docker's users know. */
export function phaseWord({ phase, bytesDownloaded, size }: LayerState): string {
  if (phase === 'waiting') return 'Waiting'
  if (phase === 'exists') return 'Already exists'
  if (phase === 'syncing') return 'Syncing'
  if (phase === 'delivering') return 'Delivering'
  if (phase === 'done') return 'Pull complete'
  if (phase === 'copying') return 'Copying'
  if (phase === 'copied') return 'Copied'
  if (phase === 'reading') return 'Reading'
  if (phase === 'read') return 'Read'
  return bytesDownloaded >= size ? 'Unpacking' : 'Pulling'
}

/** Empty where a copy has all of an index. */
export function platformText({ os, architecture, variant }: Platform): string {
  if (os === 'unknown') return ''
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/')
}

/** The first 12 hex digits, docker's short form of a digest. */
export function shortDigest(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, 12)
}

type LayerEvent = Extract<PullEvent, { type: 'layer' | 'progress' }>

function applyProgress(layer: LayerState, event: Extract<PullEvent, { type: 'progress' }>, now: number): void {
  const { bytesDownloaded, bytesResumed, bytesUnpacked, entries } = event
  const moved =
    bytesDownloaded !== layer.bytesDownloaded || bytesUnpacked !== layer.bytesUnpacked || entries !== layer.entries
  if (moved) layer.movedAt = now
  Object.assign(layer, { bytesDownloaded, bytesResumed, bytesUnpacked, entries })
  addSample(layer.network, bytesDownloaded - bytesResumed, now)
  addSample(layer.unpack, bytesUnpacked, now)
}

function addSample(meter: Meter, bytes: number, now: number): void {
  // A layer that starts again counts from 0.
  if (bytes < (meter.at(-1)?.bytes ?? 0)) meter.length = 0
  meter.push({ at: now, bytes })
  while ((meter[1]?.at ?? now) < now - rateWindowMs) meter.shift()
}

function layerOf(state: PullState, { layer, digest, size }: LayerEvent, now: number): LayerState {
  const found = state.layers[layer]
  if (found !== undefined) return found
  const made = newLayer({ digest, size }, now)
  state.layers[layer] = made
  return made
}

function newLayer({ digest, size }: Pick<Descriptor, 'digest' | 'size'>, now: number): LayerState {
  const counters = { bytesDownloaded: 0, bytesResumed: 0, bytesUnpacked: 0, entries: 0 }
  const meter = () => [{ at: now, bytes: 0 }]
  return {
    digest,
    size,
    phase: 'waiting',
    ...counters,
    movedAt: now,
    startedAt: now,
    network: meter(),
    unpack: meter(),
  }
}
