import { join } from 'node:path'
import type { HostView } from '../../sys/host-view.ts'
import type { Engine } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type Check, describeEngine } from './check.ts'

/** Beyond that there is no limit: version 1 of control groups writes a number for it. */
const unlimited = 2 ** 60

/** What the control groups of the engines allow, and what the kernel says of pressure. */
export const checkResources: Check = ({ host, engines }) => {
  const findings = [...engines.flatMap(engine => judgeGroup(host, engine)), ...judgePressure(host)]
  return findings.length > 0 ? findings : [makeFinding('RESOURCES_FINE', '')]
}

interface Group {
  readonly memory: string | undefined
  readonly cpu: string | undefined
  readonly isUnified: boolean
}

/** Where the control groups of a process are mounted, in either version. */
function findGroup(host: HostView, pid: number): Group {
  const lines = (host.text(`/proc/${pid}/cgroup`) ?? '').split('\n').map(line => line.split(':'))
  const pathOf = (controller: string) => {
    const [, names, ...path] = lines.find(([, names]) => names?.split(',').includes(controller)) ?? []
    return names === undefined ? undefined : join('/sys/fs/cgroup', controller, path.join(':'))
  }
  const [memory, cpu] = [pathOf('memory'), pathOf('cpu')]
  if (memory !== undefined) return { memory, cpu, isUnified: false }
  const [, , ...unified] = lines.find(([number, names]) => number === '0' && names === '') ?? []
  const path = unified.length === 0 ? undefined : join('/sys/fs/cgroup', unified.join(':'))
  return { memory: path, cpu: path, isUnified: true }
}

function judgeGroup(host: HostView, engine: Engine): Finding[] {
  const group = findGroup(host, engine.process.pid)
  const subject = describeEngine(engine)
  return [...judgeMemory(host, group, subject), ...judgeProcessor(host, group, subject)]
}

function judgeMemory(host: HostView, { memory, isUnified }: Group, subject: string): Finding[] {
  if (memory === undefined) return []
  const number = (name: string) => Number(host.text(join(memory, name)) ?? Number.NaN)
  const limit = isUnified ? number('memory.max') : number('memory.limit_in_bytes')
  const used = isUnified ? number('memory.current') : number('memory.usage_in_bytes')
  const cached = numberAfter(
    host.text(join(memory, 'memory.stat')),
    isUnified ? 'inactive_file' : 'total_inactive_file',
  )
  const events = host.text(join(memory, isUnified ? 'memory.events' : 'memory.oom_control'))
  const kills = numberAfter(events, 'oom_kill') ?? 0
  const findings: Finding[] = []
  if (kills > 0) findings.push(makeFinding('OOM_KILLS', subject, { evidence: [`oom_kill ${kills} in ${memory}`] }))
  if (limit < unlimited && used - (cached ?? 0) > limit * 0.95) {
    const evidence = [`${used} of ${limit} bytes are used in ${memory}, ${cached ?? 0} of them cache that can go`]
    const underOom = numberAfter(events, 'under_oom') === 1
    if (underOom) evidence.push('under_oom 1: its processes sleep until memory is freed')
    findings.push(makeFinding(underOom ? 'MEMORY_LIMIT' : 'MEMORY_NEARLY_FULL', subject, { evidence }))
  }
  return findings
}

function judgeProcessor(host: HostView, { cpu }: Group, subject: string): Finding[] {
  const text = cpu === undefined ? undefined : host.text(join(cpu, 'cpu.stat'))
  const periods = numberAfter(text, 'nr_periods') ?? 0
  const throttled = numberAfter(text, 'nr_throttled') ?? 0
  if (periods < 100 || throttled < periods * 0.1) return []
  return [
    makeFinding('CPU_THROTTLED', subject, { evidence: [`throttled in ${throttled} of ${periods} periods (${cpu})`] }),
  ]
}

function judgePressure(host: HostView): Finding[] {
  const [, average] = /^full avg10=([\d.]+)/m.exec(host.text('/proc/pressure/io') ?? '') ?? []
  if (average === undefined || Number(average) < 40) return []
  return [makeFinding('DISK_PRESSURE', 'host', { evidence: [`/proc/pressure/io: full avg10=${average} %`] })]
}

function numberAfter(text: string | undefined, name: string): number | undefined {
  const [, value] = new RegExp(`^${name} (\\d+)$`, 'm').exec(text ?? '') ?? []
  return value === undefined ? undefined : Number(value)
}
