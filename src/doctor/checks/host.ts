import { type Finding, makeFinding } from '../finding.ts'
import type { Check } from './check.ts'

/** Nobody runs this program before it was written. */
const earliest = Date.UTC(2026, 0, 1)
/** From Linux 5.6 on random numbers never block once the pool was filled. */
const entropyMin = 100

/** What pulls need of the host beside its engines. */
export const checkHost: Check = ({ host }) => {
  const findings: Finding[] = []
  const now = host.now()
  if (now < earliest) {
    const evidence = [`it shows ${new Date(now).toISOString()}`]
    findings.push(makeFinding('CLOCK_WRONG', 'clock', { evidence }))
  }
  const entropy = Number(host.text('/proc/sys/kernel/random/entropy_avail') ?? Number.NaN)
  if (entropy < entropyMin) {
    const evidence = [`/proc/sys/kernel/random/entropy_avail is ${entropy}`]
    findings.push(makeFinding('ENTROPY_LOW', 'kernel', { evidence }))
  }
  return findings.length > 0 ? findings : [makeFinding('HOST_FINE', '')]
}
