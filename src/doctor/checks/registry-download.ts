import { type Finding, makeFinding } from '../finding.ts'
import type { RegistryVisit, Sample } from '../registry-visit.ts'
import type { CheckOf } from './check.ts'
import { afterImage } from './registry-image.ts'
import { describeVisit, evidenceOf, formatMs, isSilence } from './registry-words.ts'

/** A layer of 100 MB takes half an hour at this. */
const slowBytesPerSecond = 64 * 1024
/** Smaller layers say nothing about speed. */
const judgedBytesMin = 64 * 1024

/** Whether a layer comes, how fast, and whether it can be had from the middle on. */
export const registryDownload: CheckOf<'registry'> = {
  name: 'registry-download',
  of: 'registry',
  after: afterImage,
  boundMs: 30_000,
  async look(visit) {
    if (visit.reference === undefined) return []
    const outcome = await visit.sample()
    if (outcome.error !== undefined) {
      const code = isSilence(outcome.error) ? 'REGISTRY_SILENT' : 'IMAGE_UNREADABLE'
      return [makeFinding(code, describeVisit(visit), { evidence: evidenceOf(outcome.error, visit) })]
    }
    return outcome.value === undefined ? [] : judgeSample(visit, outcome.value)
  },
}

function judgeSample(visit: RegistryVisit, { layer, bytes, tookMs, servesRanges }: Sample): Finding[] {
  const subject = describeVisit(visit)
  const speed = Math.round((bytes / Math.max(tookMs, 1)) * 1000)
  const facts = { bytes, tookMs: Math.round(tookMs), bytesPerSecond: speed }
  const number = (value: number) => value.toLocaleString('en-US')
  const evidence = [
    `${number(bytes)} bytes of ${layer.digest} in ${formatMs(tookMs)}: ${number(Math.round(speed / 1024))} KiB/s`,
  ]
  const isSlow = speed < slowBytesPerSecond && (bytes >= judgedBytesMin || tookMs >= 1500)
  const findings = [makeFinding(isSlow ? 'REGISTRY_SLOW' : 'REGISTRY_SPEED', subject, { evidence, facts })]
  if (servesRanges) return findings
  const asked = [`asked for ${layer.digest} from its second byte on, it sent all of it`]
  return [...findings, makeFinding('REGISTRY_WITHOUT_RANGES', subject, { evidence: asked })]
}
