/** Pulls as their events tell them, one for each ending that a report must be able to show. */
import { ReportRecord } from '../src/cli/report/record.ts'
import type { PullEvent, StageFacts } from '../src/copy/events.ts'
import { WindlassError } from '../src/errors.ts'
import { layerEvent, makeDigest, progressEvent, type Recorded, resolvedEvent } from './pull-recording.ts'

const everyMs = 250
/** Bytes of tar in one byte of layer. */
const ratio = 2.6

interface PulledLayer {
  readonly layer: number
  readonly size: number
  readonly fromMs: number
  readonly toMs: number
  /** Share of the layer that is through each stage at a moment of its own time, 0 to 1; the sink lags behind the source. */
  readonly through?: (atMs: number) => readonly [source: number, decompress: number, unpack: number]
  readonly waits?: (atMs: number) => Partial<Record<string, StageFacts['waitsFor']>>
  /** It does not come to its end. */
  readonly isCut?: boolean
}

/** The events of one layer. */
function recordLayer({ layer, size, fromMs, toMs, through, waits, isCut = false }: PulledLayer): Recorded[] {
  const share = (at: number, lagMs: number) => Math.min(1, Math.max(0, (at - fromMs - lagMs) / (toMs - fromMs - 600)))
  const events: Recorded[] = [{ at: fromMs, event: layerEvent(layer, 'pulling', size) }]
  for (let at = fromMs; at <= toMs; at += everyMs) {
    const [source, decompress, unpack] = through?.(at) ?? [share(at, 0), share(at, 120), share(at, 300)]
    const bytes = [source, decompress, unpack].map(part => Math.round(part * size)) as [number, number, number]
    events.push({ at, event: stagesEvent(layer, at, bytes, waits?.(at) ?? {}) })
    const progress = progressEvent(layer, bytes[0], Math.round(bytes[2] * ratio), size)
    events.push({ at, event: { ...progress, entries: Math.round(unpack * 1200) } })
  }
  if (isCut) return events
  events.push({ at: toMs, event: layerEvent(layer, 'syncing', size) })
  events.push({ at: toMs + 240, event: layerEvent(layer, 'done', size) })
  return events
}

function stagesEvent(
  layer: number,
  atMs: number,
  [source, decompress, unpack]: readonly [number, number, number],
  waits: Partial<Record<string, StageFacts['waitsFor']>>,
): PullEvent {
  const stage = (name: string, bytesIn: number, bytesOut: number, waitsFor: StageFacts['waitsFor']): StageFacts => ({
    name,
    bytesIn: Math.round(bytesIn),
    bytesOut: Math.round(bytesOut),
    waitsFor: waits[name] ?? waitsFor,
  })
  return {
    type: 'stages',
    layer,
    atMs,
    stages: [
      stage('source', source, source, 'input'),
      stage('spool', source, source, 'input'),
      stage('decompress', source, decompress * ratio, 'input'),
      stage('unpack', unpack * ratio, unpack * ratio, 'input'),
      stage('sync', 0, 0, 'nobody'),
    ],
  }
}

function opening(sizes: readonly number[], waiting: readonly number[] = []): Recorded[] {
  return [
    { at: 0, event: { type: 'start', reference: '127.0.0.1:5000/app/core:2.4', registry: '127.0.0.1:5000' } },
    { at: 120, event: resolvedEvent(sizes) },
    ...waiting.map(layer => ({ at: 130, event: layerEvent(layer, 'waiting', sizes[layer] ?? 0) })),
  ]
}

function done(at: number, bytesDownloaded: number): Recorded {
  const { reference, digest, imageId } = resolvedEvent([])
  return {
    at,
    event: { type: 'done', reference, digest, imageId, changed: true, bytesDownloaded, entries: 3712, elapsedMs: at },
  }
}

export interface PullStory {
  readonly events: readonly Recorded[]
  readonly failure?: WindlassError
  readonly endedMs: number
}

/** Nothing goes wrong. */
export const healthyStory: PullStory = {
  endedMs: 9400,
  events: [
    ...opening([58_000_000, 26_660_000, 141_000_000, 3_200_000], [0, 1, 2, 3]),
    { at: 140, event: layerEvent(0, 'exists', 58_000_000) },
    ...recordLayer({ layer: 1, size: 26_660_000, fromMs: 150, toMs: 3150 }),
    ...recordLayer({ layer: 2, size: 141_000_000, fromMs: 150, toMs: 8400 }),
    ...recordLayer({ layer: 3, size: 3_200_000, fromMs: 3500, toMs: 5000 }),
    done(9400, 170_860_000),
  ],
}

const stuckShare = 294_912 / ratio / 26_660_000

/** The story that windlass comes from: unpigz stops after its first blocks. */
export const fallbackStory: PullStory = {
  endedMs: 16_200,
  events: [
    ...opening([26_660_000, 88_000_000], [0, 1]),
    ...recordLayer({
      layer: 0,
      size: 26_660_000,
      fromMs: 150,
      toMs: 14_400,
      through: at => {
        const rest = Math.min(1, Math.max(0, (at - 11_400) / 2400))
        if (at < 700) return [0.03, 0, 0]
        return at < 11_400
          ? [0.12, stuckShare, stuckShare]
          : [0.12 + 0.88 * rest, rest, Math.max(stuckShare, rest - 0.05)]
      },
      waits: at => (at < 11_400 && at > 700 ? { source: 'output', spool: 'output', decompress: 'itself' } : {}),
    }),
    ...recordLayer({ layer: 1, size: 88_000_000, fromMs: 150, toMs: 6800 }),
    {
      at: 11_050,
      event: {
        type: 'stall',
        layer: 0,
        atMs: 11_050,
        stage: 'decompress',
        kind: 'stopped',
        confidence: 'certain',
        sinceMs: 10_100,
        evidence: [
          'decompress (unpigz, pid 4711) has moved nothing for 10.1 s, although it has 3145728 bytes of input and has room for 1048576',
          'its task is in state T (stopped by a signal), in do_signal_stop',
          'it used 0.0 s of processor time meanwhile: it does not compute',
          'spool waits for its output to be taken; unpack waits for its input',
        ],
      },
    },
    {
      at: 11_300,
      event: {
        type: 'fallback',
        layer: 0,
        atMs: 11_300,
        program: '/usr/bin/unpigz',
        message:
          'Cannot decompress with /usr/bin/unpigz: no output for 10.1 s, with 3145728 bytes of input and its output read',
        evidence: [
          'fault: stalled',
          'pid: 4711',
          'state: T',
          'wchan: do_signal_stop',
          'bytesIn: 3145728',
          'bytesOut: 294912',
        ],
        bytesProven: 294_912,
        redone: false,
      },
    },
    done(16_200, 114_660_000),
  ],
}

/** A registry that falls silent, twice, and comes back. */
export const silentStory: PullStory = {
  endedMs: 52_000,
  events: [
    ...opening([141_000_000, 12_000_000], [0, 1]),
    ...recordLayer({ layer: 1, size: 12_000_000, fromMs: 150, toMs: 2150 }),
    ...recordLayer({
      layer: 0,
      size: 141_000_000,
      fromMs: 150,
      toMs: 51_000,
      through: at => {
        const part = at < 8000 ? at / 20_000 : at < 40_000 ? 0.4 : 0.4 + (0.6 * (at - 40_000)) / 10_000
        return [Math.min(1, part), Math.min(1, part), Math.min(1, part)]
      },
      waits: () => ({ source: 'input' }),
    }),
    {
      at: 23_000,
      event: {
        type: 'stall',
        layer: 0,
        atMs: 23_000,
        stage: 'source',
        kind: 'silent-source',
        confidence: 'certain',
        sinceMs: 15_000,
        evidence: [
          'source (registry.example:5000) has moved nothing for 15.0 s, although it is asked for more',
          'the last thing it did: answered 206 to bytes 0-',
          'every stage behind it waits for input',
        ],
      },
    },
    ...[23_100, 39_200].map((at, index) => ({
      at,
      event: {
        type: 'retry' as const,
        layer: 0,
        atMs: at,
        host: 'registry.example:5000',
        message: `Cannot read layer ${makeDigest(1)}: registry.example:5000 sent nothing for 15.0 s at byte 56400000 of 141000000`,
        pauseMs: 400 * (index + 1),
      },
    })),
    { at: 40_300, event: { type: 'recovered', layer: 0, atMs: 40_300, stage: 'source' } },
    done(52_000, 153_000_000),
  ],
}

/** A disk that does not answer: nobody can end the task that waits for it. */
export const diskStory: PullStory = {
  endedMs: 41_500,
  failure: new WindlassError(
    'STALLED',
    'Cannot unpack layer: usr/lib/libLLVM-15.so.1 has not been written for 36 s; its task is in state D in io_schedule',
    { hint: 'look for errors of this disk in the kernel log: dmesg | grep -i -e i/o -e hung' },
  ),
  events: [
    ...opening([402_000_000, 12_000_000], [0, 1]),
    ...recordLayer({
      layer: 0,
      size: 402_000_000,
      fromMs: 150,
      toMs: 41_400,
      isCut: true,
      through: at => {
        const part = Math.min(0.31, at / 16_000)
        return [Math.min(0.34, part + 0.03), Math.min(0.32, part + 0.01), part]
      },
      waits: at => (at > 5200 ? { source: 'output', spool: 'output', decompress: 'output', unpack: 'itself' } : {}),
    }),
    ...recordLayer({ layer: 1, size: 12_000_000, fromMs: 150, toMs: 2150 }).filter(
      ({ event }) => event.type !== 'layer' || event.phase !== 'done',
    ),
    {
      at: 35_200,
      event: {
        type: 'stall',
        layer: 0,
        atMs: 35_200,
        stage: 'unpack',
        kind: 'disk-wait',
        confidence: 'certain',
        sinceMs: 30_100,
        evidence: [
          'unpack has moved nothing for 30.1 s, although it has 2097152 bytes of input and nothing holds back its output',
          'its task is in state D (asleep in the kernel, where no signal reaches it), in io_schedule, system call pwrite64',
          'it used 0.0 s of processor time meanwhile: it does not compute',
          'it works on entry usr/lib/libLLVM-15.so.1',
          'decompress waits for its output to be taken',
        ],
      },
    },
    { at: 36_000, event: { type: 'warning', layer: 1, message: 'Waiting for the layer below, which does not get on' } },
  ],
}

export const testHost = {
  windlass: '0.1.0',
  node: 'v26.0.0',
  operatingSystem: 'UnionTech OS Server 20',
  kernel: '4.19.90-2106.3.0.0095.up2.uel20.aarch64',
  architecture: 'arm64',
  cores: 24,
  memoryBytes: 134_000_000_000,
}

/** The record of one or several stories, as a command would keep it. */
export function recordStories(stories: readonly PullStory[], pointsMax?: number): ReportRecord {
  const record = new ReportRecord('windlass pull 127.0.0.1:5000/app/core:2.4', testHost, pointsMax)
  for (const { events, failure, endedMs } of stories) {
    let now = 0
    const pull = record.openPull('127.0.0.1:5000/app/core:2.4', { clock: () => now })
    for (const { at, event } of events.toSorted((a, b) => a.at - b.at)) {
      now = at
      pull.handle(event)
    }
    now = endedMs
    if (failure !== undefined) pull.fail(failure)
  }
  return record
}
