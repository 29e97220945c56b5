import { layerCompression } from '../../oci/media-types.ts'
import { isOlder } from '../engines.ts'
import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'
import { afterImage } from './registry-image.ts'
import { describeVisit } from './registry-words.ts'

/** Whether the image that the user named has layers that this engine cannot read. */
export const zstdLayers: CheckOf<'registry'> = {
  name: 'zstd-layers',
  of: 'registry',
  after: afterImage,
  async look(visit) {
    const { engine, reference } = visit
    if (reference === undefined || engine?.kind !== 'dockerd' || !isOlder(engine.version, 23)) return []
    const outcome = await visit.manifest()
    if (outcome.error !== undefined) return []
    const { layers } = outcome.value
    const zstd = layers.filter(({ mediaType }) => layerCompression(mediaType) === 'zstd').length
    if (zstd === 0) return []
    const evidence = [
      `${zstd} of ${layers.length} layers are zstd, and this is version ${engine.version}; zstd came with 23.0`,
    ]
    return [makeFinding('ZSTD_UNSUPPORTED', describeVisit(visit), { evidence, severity: 'problem', facts: { zstd } })]
  },
}
