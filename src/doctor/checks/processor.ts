import type { HostView } from '../../sys/host-view.ts'
import { type ControlGroup, findGroups, readEntry } from '../control-groups.ts'
import { makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'

const watchMs = 1000
/** Of the periods since the group was made, or of those of the last second. */
const shareMin = 0.1
/** Fewer periods tell nothing. */
const periodsMin = 5

interface Periods {
  readonly all: number
  readonly throttled: number
}

/** Whether a quota stops the engine's processes while processors are free. */
export const processor: CheckOf<'engine'> = {
  name: 'processor',
  of: 'engine',
  after: [{ check: 'control-group-view', unless: ['RESOURCES_UNSEEN'] }],
  async look(engine, { host, signal }) {
    const groups = findGroups(host, engine.process.pid, 'cpu').filter(
      group => (readPeriods(host, group)?.throttled ?? 0) > 0,
    )
    if (groups.length === 0) return []
    const before = groups.map(group => readPeriods(host, group))
    await host.pause(watchMs, signal)
    return groups.flatMap((group, at) => {
      const [then, now] = [before[at], readPeriods(host, group)]
      if (then === undefined || now === undefined) return []
      const recent = { all: now.all - then.all, throttled: now.throttled - then.throttled }
      if (!isMuch(recent) && !isMuch(now)) return []
      const evidence = [
        `throttled in ${now.throttled} of ${now.all} periods, and in ${recent.throttled} of ${recent.all} of the last second (${group.path})`,
      ]
      const facts = { periods: now.all, throttled: now.throttled, throttledNow: recent.throttled }
      return [makeFinding('CPU_THROTTLED', describeEngine(engine), { evidence, facts })]
    })
  },
}

function readPeriods(host: HostView, group: ControlGroup): Periods | undefined {
  const [all, throttled] = ['nr_periods', 'nr_throttled'].map(name => readEntry(host, group, 'cpu.stat', name))
  return all === undefined || throttled === undefined ? undefined : { all, throttled }
}

function isMuch({ all, throttled }: Periods): boolean {
  return all >= periodsMin && throttled >= all * shareMin
}
