import { type Controller, findGroups } from '../control-groups.ts'
import { makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'

const controllers: readonly Controller[] = ['memory', 'cpu', 'pids']

/** Whether the limits of the engine's control groups can be read at all. */
export const controlGroupView: CheckOf<'engine'> = {
  name: 'control-group-view',
  of: 'engine',
  look(engine, { host }) {
    const { pid } = engine.process
    const subject = describeEngine(engine)
    if (host.text(`/proc/${pid}/cgroup`) === undefined)
      return [makeFinding('RESOURCES_UNSEEN', subject, { evidence: [`/proc/${pid}/cgroup cannot be read: root may`] })]
    const missing = controllers.filter(controller => {
      const [own] = findGroups(host, pid, controller)
      return own !== undefined && host.names(own.path).length === 0
    })
    if (missing.length === 0) return []
    const evidence = [
      `its control groups (${missing.join(', ')}) are not at their usual place under /sys/fs/cgroup: this may be a container`,
    ]
    return [makeFinding('RESOURCES_UNSEEN', subject, { evidence })]
  },
}
