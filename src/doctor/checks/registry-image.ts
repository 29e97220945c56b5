import type { ErrorCode } from '../../errors.ts'
import { formatReference } from '../../oci/reference.ts'
import type { FindingCode } from '../catalogue.ts'
import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'
import { withoutCredentials } from './registry-credentials.ts'
import { afterReach } from './registry-reach.ts'
import { describeVisit, evidenceOf } from './registry-words.ts'

const codes: Readonly<Partial<Record<ErrorCode, FindingCode>>> = {
  DENIED: 'REGISTRY_DENIES',
  NOT_FOUND: 'IMAGE_MISSING',
  PLATFORM_MISSING: 'IMAGE_MISSING',
  STALLED: 'REGISTRY_SILENT',
}

/** What leaves nothing to be read of an image. */
const unreadable: readonly FindingCode[] = [...Object.values(codes), 'IMAGE_UNREADABLE']

const afterAccess = [...afterReach, { check: 'registry-credentials', unless: withoutCredentials }] as const
/** For what looks at an image that can be read. */
export const afterImage = [...afterAccess, { check: 'registry-image', unless: unreadable }] as const

/** Whether the image that the user named can be read with the user's credentials, as the engine's client would send them. */
export const registryImage: CheckOf<'registry'> = {
  name: 'registry-image',
  of: 'registry',
  after: afterAccess,
  boundMs: 30_000,
  async look(visit) {
    const { reference } = visit
    if (reference === undefined) return []
    const subject = describeVisit(visit)
    const outcome = await visit.manifest()
    if (outcome.error !== undefined) {
      const code = codes[outcome.error.code] ?? 'IMAGE_UNREADABLE'
      return [makeFinding(code, subject, { evidence: evidenceOf(outcome.error, visit) })]
    }
    const { layers } = outcome.value
    const bytes = layers.reduce((sum, { size }) => sum + size, 0)
    const size = `${layers.length} layers, ${bytes.toLocaleString('en-US')} bytes`
    const evidence = [`${formatReference(reference)}: ${size}`]
    return [makeFinding('IMAGE_READABLE', subject, { evidence, facts: { layers: layers.length, bytes } })]
  },
}
