import { findGroups, readEntry, readNumber } from '../control-groups.ts'
import type { Engine } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'

const nearly = 0.9

/** Whether the engine may open files and start processes: the limits of the running process and of its groups, whatever the unit's file says. */
export const processLimits: CheckOf<'engine'> = {
  name: 'process-limits',
  of: 'engine',
  look(engine, context) {
    return [...judgeFiles(engine, context), ...judgeTasks(engine, context)]
  },
}

function judgeFiles(engine: Engine, { host }: CheckContext): Finding[] {
  const { pid } = engine.process
  const [, soft] = /^Max open files +(\d+)/m.exec(host.text(`/proc/${pid}/limits`) ?? '') ?? []
  const open = host.names(`/proc/${pid}/fd`).length
  const limit = Number(soft ?? Number.POSITIVE_INFINITY)
  if (open < limit * nearly) return []
  const evidence = [`it has ${open} files open and may have ${limit} (LimitNOFILE)`]
  return [makeFinding('FILES_NEARLY_EXHAUSTED', describeEngine(engine), { evidence, facts: { open, limit } })]
}

function judgeTasks(engine: Engine, { host }: CheckContext): Finding[] {
  return findGroups(host, engine.process.pid, 'pids').flatMap(group => {
    const [limit, used] = ['pids.max', 'pids.current'].map(name => readNumber(host, group, name))
    if (limit === undefined || used === undefined || limit === Number.POSITIVE_INFINITY) return []
    const refused = readEntry(host, group, 'pids.events', 'max') ?? 0
    if (used < limit * nearly && refused === 0) return []
    const evidence = [
      `${used} of ${limit} tasks are in ${group.path} (TasksMax); ${refused} times one more was refused`,
    ]
    const details = { evidence, facts: { used, limit, refused } }
    const severity = used < limit * nearly ? 'note' : 'warning'
    return [makeFinding('TASKS_NEARLY_EXHAUSTED', describeEngine(engine), { ...details, severity })]
  })
}
