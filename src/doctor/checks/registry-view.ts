import { makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'
import { describeVisit } from './registry-words.ts'

/** For what is tried over the network. */
export const afterView = [{ check: 'registry-view', unless: ['NETWORK_UNSEEN'] }] as const

/** Whether what is tried from here says anything about the engine: it must send from the same network. */
export const registryView: CheckOf<'registry'> = {
  name: 'registry-view',
  of: 'registry',
  look(visit, { host }) {
    const unseen = (reason: string) => [makeFinding('NETWORK_UNSEEN', describeVisit(visit), { evidence: [reason] })]
    if (host.network === undefined)
      return unseen('this is a record of another host, or one that is looked at from afar')
    const { engine } = visit
    if (engine === undefined) return []
    if (visit.isStrange)
      return unseen(
        'its settings were not looked at: it is neither of root nor our own, or has a root or namespaces of its own, and credentials would go where it likes; its user can ask, in its namespaces',
      )
    const [own, its] = ['self', engine.process.pid].map(pid => host.link(`/proc/${pid}/ns/net`))
    if (its === undefined) return unseen('only root may see in which network it lives')
    if (own === its) return []
    const { pid } = engine.process
    const how = `nsenter -t ${pid} -n windlass doctor --registry ${visit.host}`
    return unseen(`${describeEngine(engine)} lives in another network namespace; ${how} tries it from there`)
  },
}
