import { applyEvent, newPullState, type PullState } from '../src/cli/progress/state.ts'
import type { LayerPhase, PullEvent } from '../src/copy/events.ts'
import { type Digest, parseDigest } from '../src/oci/digest.ts'

/** A digest that is easy to tell from others. */
export function makeDigest(number: number): Digest {
  return parseDigest(`sha256:${number.toString(16).padStart(2, '0').repeat(32)}`)
}

/** A layer's change of phase. */
export function layerEvent(layer: number, phase: LayerPhase, size: number): PullEvent & { type: 'layer' } {
  return { type: 'layer', layer, digest: makeDigest(layer + 1), size, phase }
}

/** A layer's counters. */
export function progressEvent(
  layer: number,
  bytesDownloaded: number,
  bytesUnpacked: number,
  size: number,
): PullEvent & { type: 'progress' } {
  const digest = makeDigest(layer + 1)
  return { type: 'progress', layer, digest, size, bytesDownloaded, bytesResumed: 0, bytesUnpacked, entries: 12 }
}

/** The beginning of a pull of layers of the given sizes. */
export function resolvedEvent(sizes: readonly number[]): PullEvent & { type: 'resolved' } {
  return {
    type: 'resolved',
    reference: `127.0.0.1:5000/app/core:2.4@${makeDigest(0xaa)}`,
    digest: makeDigest(0xaa),
    imageId: makeDigest(0xbb),
    platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
    layers: sizes.map((size, index) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      digest: makeDigest(index + 1),
      size,
    })),
  }
}

export interface Recorded {
  /** Milliseconds since the start. */
  readonly at: number
  readonly event: PullEvent
}

/** A pull of four layers: one is there, one is quick, one is slow, one waits. */
export const recording: readonly Recorded[] = [
  { at: 0, event: { type: 'start', reference: '127.0.0.1:5000/app/core:2.4', registry: '127.0.0.1:5000' } },
  { at: 200, event: resolvedEvent([1_400_000_000, 26_660_000, 402_000_000, 12_000_000]) },
  { at: 210, event: layerEvent(0, 'exists', 1_400_000_000) },
  { at: 210, event: layerEvent(1, 'pulling', 26_660_000) },
  { at: 210, event: layerEvent(2, 'pulling', 402_000_000) },
  { at: 210, event: layerEvent(3, 'waiting', 12_000_000) },
  { at: 1000, event: progressEvent(1, 26_660_000, 60_000_000, 26_660_000) },
  { at: 1000, event: progressEvent(2, 10_000_000, 30_000_000, 402_000_000) },
  { at: 1500, event: layerEvent(1, 'syncing', 26_660_000) },
  { at: 1800, event: layerEvent(1, 'done', 26_660_000) },
  { at: 2500, event: { type: 'warning', message: 'tried again\x1b[2J after 503', layer: 2 } },
  { at: 4000, event: progressEvent(2, 212_300_000, 640_000_000, 402_000_000) },
]

/** How the recorded pull ends. */
export const ending: readonly Recorded[] = [
  { at: 8000, event: progressEvent(2, 402_000_000, 1_200_000_000, 402_000_000) },
  { at: 8200, event: layerEvent(2, 'syncing', 402_000_000) },
  { at: 8300, event: layerEvent(3, 'pulling', 12_000_000) },
  { at: 8900, event: layerEvent(2, 'done', 402_000_000) },
  { at: 9000, event: layerEvent(3, 'done', 12_000_000) },
  {
    at: 9100,
    event: {
      type: 'done',
      reference: `127.0.0.1:5000/app/core:2.4@${makeDigest(0xaa)}`,
      digest: makeDigest(0xaa),
      imageId: makeDigest(0xbb),
      changed: true,
      bytesDownloaded: 440_660_000,
      entries: 13021,
      elapsedMs: 9100,
    },
  },
]

/** The state after all events up to a time. */
export function replay(events: readonly Recorded[], until: number): PullState {
  const state = newPullState('Pulling app', 0)
  for (const { at, event } of events) if (at <= until) applyEvent(state, event, at)
  return state
}
