import type { PlaceOptions } from '../copy/places.ts'
import type { OptionTable } from './command.ts'
import { parseBytes } from './sizes.ts'

/** For each command that writes to registries. */
export const chunkOptions = {
  'chunk-size': {
    type: 'string',
    value: 'SIZE',
    summary:
      'send a blob in requests of at most this many bytes, for a registry, or a proxy before it, that refuses large ones (413): 512K, 16M',
  },
} as const satisfies OptionTable

/** Less would be a request for every few packets. */
const chunkMin = 64 * 1024

/** @throws WindlassError USAGE */
export function withChunks(options: PlaceOptions, chunkSize: string | undefined): PlaceOptions {
  if (chunkSize === undefined) return options
  const size = parseBytes('--chunk-size', chunkSize, { min: chunkMin, wanted: 'a size of at least 64K, such as 16M' })
  return { ...options, registry: { ...options.registry, chunkSize: size } }
}
