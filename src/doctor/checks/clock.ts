import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'

/** Nobody runs this program before it was written. */
const earliest = Date.UTC(2026, 0, 1)

/** Whether the clock can be right at all; how far it is from a registry's, `registry-clock` tells. */
export const clock: CheckOf<'host'> = {
  name: 'clock',
  of: 'host',
  look(_, { host }) {
    const now = host.now()
    if (now >= earliest) return []
    return [makeFinding('CLOCK_WRONG', 'clock', { evidence: [`it shows ${new Date(now).toISOString()}`] })]
  },
}
