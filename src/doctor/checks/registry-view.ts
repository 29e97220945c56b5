import { formatReference } from '../../oci/reference.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readUids } from '../../sys/process-files.ts'
import type { Engine } from '../engines.ts'
import { makeFinding } from '../finding.ts'
import type { RegistryVisit } from '../registry-visit.ts'
import { type CheckOf, describeEngine } from './check.ts'
import { describeVisit } from './registry-words.ts'

/** Why credentials are not sent by the settings of a stranger, and who may ask. Root is not sent to where a stranger says what `windlass` is. */
function refuse(host: HostView, { process: { pid } }: Engine, visit: RegistryVisit): string {
  const { strangeness, reference, host: registry } = visit
  const ask = `windlass doctor ${reference === undefined ? `--registry ${registry}` : `--image ${formatReference(reference)}`}`
  const uids = readUids(host, pid)
  switch (strangeness) {
    case 'mounts':
      return `its settings were not followed: it has mounts of its own, and credentials would go where it likes; --registry ${registry} asks without any, and where you trust these mounts nsenter -t ${pid} -m ${ask} with them`
    case 'root':
      return `its settings were not followed: it has a root of its own, and credentials would go where it likes; ${ask} in that root asks as it would`
    case 'namespaces':
      return (uids?.effective ?? 0) === 0
        ? `its settings were not followed: it has namespaces of its own, as a container has, and credentials would go where it likes; ${ask} in there asks as it would`
        : `its settings were not followed: it has namespaces of its own, as a rootless engine has; nsenter -t ${pid} -U --preserve-credentials -m -n ${ask} asks in these`
    default:
      return `its settings were not followed: it is neither of root nor our own, and credentials would go where it likes; sudo -u '#${uids?.effective ?? 'UID'}' ${ask} asks as its user`
  }
}

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
    if (!visit.isFollowed) return unseen(refuse(host, engine, visit))
    const [own, its] = ['self', engine.process.pid].map(pid => host.link(`/proc/${pid}/ns/net`))
    if (its === undefined) return unseen('only root may see in which network it lives')
    if (own === its) return []
    const { pid } = engine.process
    const how = `nsenter -t ${pid} -n windlass doctor --registry ${visit.host}`
    return unseen(`${describeEngine(engine)} lives in another network namespace; ${how} tries it from there`)
  },
}
