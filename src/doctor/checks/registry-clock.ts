import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'
import { afterReach } from './registry-reach.ts'
import { describeVisit } from './registry-words.ts'

/** Tokens are valid from when they are made, and services allow for a minute or so. */
const skewMaxMs = 60_000

/** Whether this host and the registry have the same time: certificates and tokens depend on it. */
export const registryClock: CheckOf<'registry'> = {
  name: 'registry-clock',
  of: 'registry',
  after: afterReach,
  async look(visit, { host }) {
    const outcome = await visit.reach()
    const dateMs = outcome.error === undefined ? outcome.value.dateMs : undefined
    if (dateMs === undefined) return []
    const skewMs = host.now() - dateMs
    if (Math.abs(skewMs) <= skewMaxMs) return []
    const seconds = Math.round(Math.abs(skewMs) / 1000).toLocaleString('en-US')
    const evidence = [
      `the registry says ${new Date(dateMs).toISOString()}, this host ${new Date(host.now()).toISOString()}: ${seconds} s ${skewMs > 0 ? 'later' : 'earlier'}`,
    ]
    const facts = { skewMs: Math.round(skewMs) }
    return [makeFinding('CLOCK_SKEWED', describeVisit(visit), { evidence, facts })]
  },
}
