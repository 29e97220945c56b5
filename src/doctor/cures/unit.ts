/** The unit of this host's systemd by which an engine is started and restarted; of another engine's unit nothing is done. */
import type { HostView } from '../../sys/host-view.ts'
import { readSystemdGroup, slices } from '../control-groups.ts'
import type { Engine } from '../engines.ts'

/** The unit, or why there is none and what can be done instead; neither if systemd has not started it. */
export interface EngineUnit {
  readonly unit?: string
  readonly obstacle?: string
}

const insideOnly = 'it lives in namespaces of its own: run windlass inside, beside whatever has started it'

export async function findUnit(host: HostView, { kind, process, rootPrefix }: Engine): Promise<EngineUnit> {
  const path = readSystemdGroup(host, process.pid)
  const [, before = '', unit] = /^(.*)\/([\w@.\\:-]+\.service)$/.exec(path) ?? []
  const [, user] = /\/user@(\d+)\.service(?:\/|$)/.exec(path) ?? []
  if (user !== undefined)
    return {
      obstacle: `it belongs to user ${user}: as that user, systemctl --user restart ${unit ?? `what runs ${kind}`}`,
    }
  if (host.link(`/proc/${process.pid}/ns/pid`) !== host.link('/proc/self/ns/pid')) return { obstacle: insideOnly }
  if (rootPrefix !== '' && (unit === undefined || !slices.test(before))) return { obstacle: insideOnly }
  if (unit === undefined || before.startsWith('/user.slice')) return {}
  if (!slices.test(before)) return { obstacle: `it lives in ${before.slice(1)}: run windlass inside` }
  const checked = await checkMain(host, unit, process.pid)
  if (rootPrefix === '') return checked
  return {
    obstacle: checked.unit === undefined ? insideOnly : `${unit} has mounts of its own: systemctl restart ${unit}`,
  }
}

/** A group's name alone is no proof: what stands in the unit's group may have been started by its main process, or by hand. */
async function checkMain(host: HostView, unit: string, pid: number): Promise<EngineUnit> {
  const told = await host.tell('systemctl', ['show', '-p', 'MainPID', unit])
  const [, main] = /^MainPID=(\d+)$/m.exec(told ?? '') ?? []
  if (main === String(pid)) return { unit }
  if (main === undefined) return { obstacle: `systemctl does not tell the main process of ${unit}` }
  return { obstacle: `the main process of ${unit} is ${main === '0' ? 'none' : main}, and not this engine` }
}

/** Which units point back at one so that systemd stops or restarts them with it (systemd.unit(5), BindsTo=, Requires=, PartOf=, PropagatesStopTo=). */
const followers = ['BoundBy', 'RequiredBy', 'ConsistsOf', 'PropagatesStopTo'] as const

/** The services that a restart of this unit takes along; undefined if systemd does not tell. */
export async function listFollowers(host: HostView, unit: string): Promise<readonly string[] | undefined> {
  const told = await host.tell('systemctl', ['show', '-p', followers.join(','), unit])
  if (told === undefined) return undefined
  const names = told.split('\n').flatMap(line => line.slice(line.indexOf('=') + 1).split(' '))
  return [...new Set(names)].filter(name => name.endsWith('.service'))
}
