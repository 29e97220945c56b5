import { type Finding, makeFinding } from '../finding.ts'
import type { Outcome, RegistryVisit } from '../registry-visit.ts'
import type { CheckOf } from './check.ts'
import { afterName } from './registry-name.ts'
import { describeVisit, isSilence } from './registry-words.ts'

type Question = 'reach' | 'reach padded' | 'sample'

const asked: Readonly<Record<Question, string>> = {
  reach: 'its first answer',
  'reach padded': 'a request of 4,000 bytes',
  sample: 'the bytes of a layer',
}

/**
 * Whether large packets vanish on the way: what stands still in the segments that this host sends by itself, passes in segments of 536 bytes, and then
 * stands still again. Nothing else on the network behaves so.
 */
export const pathMtu: CheckOf<'registry'> = {
  name: 'path-mtu',
  of: 'registry',
  after: [...afterName, { check: 'registry-download', unless: [] }],
  explains: ['REGISTRY_SILENT', 'REGISTRY_UNREACHABLE', 'REGISTRY_SLOW', 'IMAGE_UNREADABLE'],
  boundMs: 45_000,
  async look(visit) {
    if (visit.proxy !== undefined) return []
    const question = await findSilence(visit)
    if (question === undefined) return []
    if (!hasCome(await visit.inSmallSegments(question))) return []
    const again = await visit.again(question)
    return again.error !== undefined && isSilence(again.error) ? [blackHole(visit, question, again)] : []
  },
}

/** The first question that was met with silence. */
async function findSilence(visit: RegistryVisit): Promise<Question | undefined> {
  const questions: [Question, () => Promise<Outcome<unknown>>][] = [
    ['reach', () => visit.reach()],
    ['reach padded', () => visit.reachPadded()],
  ]
  if (visit.reference !== undefined) questions.push(['sample', () => visit.sample()])
  for (const [question, ask] of questions) {
    const { error } = await ask()
    if (error !== undefined) return isSilence(error) ? question : undefined
  }
  return undefined
}

/** An answer that is refused for what it says has come through all the same. */
function hasCome({ error }: Outcome<unknown>): boolean {
  return error === undefined || error.code === 'TLS' || error.code === 'PROTOCOL' || error.code === 'DENIED'
}

function blackHole(visit: RegistryVisit, question: Question, { error }: Outcome<unknown>): Finding {
  const evidence = [
    `${asked[question]} did not come through, came through in segments of 536 bytes, and again did not without`,
    ...(error === undefined ? [] : [error.message]),
  ]
  return makeFinding('MTU_BLACK_HOLE', describeVisit(visit), { evidence, facts: { question } })
}
