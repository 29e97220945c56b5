import { readDescriptors } from '../../sys/process-files.ts'
import { type Finding, makeFinding } from '../finding.ts'
import type { CheckContext, CheckOf } from './check.ts'

/** FAN_CLASS_CONTENT and FAN_CLASS_PRE_CONTENT of fanotify_init(2): only such listeners may hold up others. */
const gates = 0x0c
/** FAN_OPEN_PERM, FAN_ACCESS_PERM, FAN_OPEN_EXEC_PERM, FAN_PRE_ACCESS. */
const permissions = 0x17_0000
/** A desktop has some hundred processes, a node some thousand; their descriptors are looked at so far. */
const descriptorsMax = 200_000

/** Who is asked before a file may be opened. */
export const fileGates: CheckOf<'host'> = { name: 'file-gates', of: 'host', look: (_, context) => findGates(context) }

function findGates({ host, table }: CheckContext): Finding[] {
  let looked = 0
  const listeners = [...table.values()].flatMap(({ pid, name }) => {
    if (looked > descriptorsMax) return []
    const descriptors = readDescriptors(host, pid)
    looked += descriptors.length
    return descriptors
      .filter(({ target }) => target.includes('[fanotify]'))
      .map(({ fd }) => ({ pid, name, info: host.text(`/proc/${pid}/fdinfo/${fd}`) ?? '' }))
  })
  const asked = listeners.filter(({ info }) => isGate(info))
  if (asked.length === 0) {
    return host.denied.has('/proc/1/fd')
      ? [makeFinding('SECURITY_UNSEEN', '', { evidence: ['only root can see who listens with fanotify'] })]
      : [makeFinding('SECURITY_CLEAR', '')]
  }
  return asked.map(({ pid, name, info }) => {
    const evidence = [
      `${host.link(`/proc/${pid}/exe`) ?? name} listens with fanotify: ${/^fanotify flags:\S+/m.exec(info)?.[0] ?? 'flags unknown'}`,
    ]
    return makeFinding('FANOTIFY_LISTENER', `${name} ${pid}`, { evidence, facts: { pid, name } })
  })
}

function isGate(info: string): boolean {
  const flags = Number.parseInt(/^fanotify flags:([0-9a-f]+)/m.exec(info)?.[1] ?? '0', 16)
  const masks = [...info.matchAll(/ mask:([0-9a-f]+) /g)].map(([, mask]) => Number.parseInt(mask ?? '0', 16))
  return (flags & gates) !== 0 && (masks.length === 0 || masks.some(mask => (mask & permissions) !== 0))
}
