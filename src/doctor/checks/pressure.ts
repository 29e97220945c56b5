import { type Finding, makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'

/** Percent of the last ten seconds in which everybody who wanted to work waited. */
const diskMin = 40
const memoryMin = 20

/** What the kernel itself says of pressure on the host (pressure stall information), and of processes that it killed for want of memory. */
export const pressure: CheckOf<'host'> = {
  name: 'pressure',
  of: 'host',
  look(_, { host }) {
    const shareOf = (what: string) =>
      Number(/^full avg10=([\d.]+)/m.exec(host.text(`/proc/pressure/${what}`) ?? '')?.[1] ?? 0)
    const [disk, memory] = [shareOf('io'), shareOf('memory')]
    const kills = Number(/^oom_kill (\d+)$/m.exec(host.text('/proc/vmstat') ?? '')?.[1] ?? 0)
    const findings: Finding[] = []
    if (disk >= diskMin)
      findings.push(makeFinding('DISK_PRESSURE', 'host', { evidence: [`/proc/pressure/io: full avg10=${disk} %`] }))
    if (memory >= memoryMin)
      findings.push(
        makeFinding('MEMORY_PRESSURE', 'host', { evidence: [`/proc/pressure/memory: full avg10=${memory} %`] }),
      )
    if (kills > 0)
      findings.push(
        makeFinding('HOST_OOM_KILLS', 'host', { evidence: [`/proc/vmstat: oom_kill ${kills} since the boot`] }),
      )
    return findings
  },
}
