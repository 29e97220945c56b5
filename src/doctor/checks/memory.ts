import type { HostView } from '../../sys/host-view.ts'
import { type ControlGroup, findGroups, readEntry, readNumber } from '../control-groups.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** Of a limit; cache that can go does not count. */
const nearlyFull = 0.95

/** Whether the memory of the engine's control groups is at its limit, and whether the kernel has killed there. */
export const memory: CheckOf<'engine'> = {
  name: 'memory',
  of: 'engine',
  after: [{ check: 'control-group-view', unless: ['RESOURCES_UNSEEN'] }],
  look(engine, { host }) {
    const groups = findGroups(host, engine.process.pid, 'memory')
    const subject = describeEngine(engine)
    return [...judgeKills(host, groups, subject), ...groups.flatMap(group => judgeLimit(host, group, subject))]
  },
}

/** The group's own and those above: version 2 counts what is below, too, so the lowest that has any is named. */
function judgeKills(host: HostView, groups: readonly ControlGroup[], subject: string): Finding[] {
  for (const group of groups) {
    const kills = readEntry(host, group, group.isUnified ? 'memory.events' : 'memory.oom_control', 'oom_kill') ?? 0
    if (kills === 0) continue
    const evidence = [`oom_kill ${kills} in ${group.path}, since that group was made`]
    return [makeFinding('OOM_KILLS', subject, { evidence, facts: { kills } })]
  }
  return []
}

function judgeLimit(host: HostView, group: ControlGroup, subject: string): Finding[] {
  const { isUnified, path } = group
  const number = (name: string) => readNumber(host, group, name) ?? Number.POSITIVE_INFINITY
  const [hard, soft] = isUnified
    ? [number('memory.max'), number('memory.high')]
    : [number('memory.limit_in_bytes'), Number.POSITIVE_INFINITY]
  const used = readNumber(host, group, isUnified ? 'memory.current' : 'memory.usage_in_bytes')
  const limit = Math.min(hard, soft)
  if (used === undefined || limit === Number.POSITIVE_INFINITY) return []
  const cache = readEntry(host, group, 'memory.stat', isUnified ? 'inactive_file' : 'total_inactive_file') ?? 0
  if (used - cache <= limit * nearlyFull) return []
  const name = isUnified ? (soft < hard ? 'memory.high' : 'memory.max') : 'memory.limit_in_bytes'
  const evidence = [`${used} of ${limit} bytes (${name}) are used in ${path}, ${cache} of them cache that can go`]
  const isUnderOom = readEntry(host, group, 'memory.oom_control', 'under_oom') === 1
  if (isUnderOom) evidence.push('under_oom 1: its processes sleep until memory is freed')
  return [
    makeFinding(isUnderOom ? 'MEMORY_LIMIT' : 'MEMORY_NEARLY_FULL', subject, {
      evidence,
      facts: { used, limit, cache },
    }),
  ]
}
