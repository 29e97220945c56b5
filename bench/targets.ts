/** What windlass is to reach, by image. */
import type { Compression, Size } from './images.ts'
import type { Target } from './table.ts'

const wallOfPeers = { small: 0.45, medium: 0.3, big: 0.4 } as const
const wallOfPipeline = { small: undefined, medium: 0.8, big: 1 } as const
const wallOfPeersZstd = 0.45

/** Each pull of an image that is not there. */
export function targetsOfPull(size: Size, compression: Compression): Target[] {
  const pipeline = compression === 'gzip' ? wallOfPipeline[size] : undefined
  return [
    { what: 'wall of peers', atMost: compression === 'gzip' ? wallOfPeers[size] : wallOfPeersZstd },
    ...(pipeline === undefined ? [] : [{ what: 'wall of pipeline', atMost: pipeline } as const]),
    { what: 'cpu of peers', atMost: 0.45 },
    { what: 'memory', atMost: 256 * 2 ** 20 },
  ]
}

/** Everything is there. */
export const targetsOfRepeat: readonly Target[] = [{ what: 'wall', atMost: 300 }]

/** Over a link with a long round trip. */
export const targetsOfLink: readonly Target[] = [{ what: 'wall of peers', atMost: 0.6 }]
