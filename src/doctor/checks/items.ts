/** What there is to be looked at on a host. */
import { join } from 'node:path'
import { type Reference, registryHost } from '../../oci/reference.ts'
import type { CredentialSource } from '../../places/registry/credentials.ts'
import type { HostView } from '../../sys/host-view.ts'
import { type Engine, findStrangeness } from '../engines.ts'
import { type RegistrySettings, readRegistrySettings } from '../registry-settings.ts'
import { isFollowed, RegistryVisit, type RegistryVisitOptions } from '../registry-visit.ts'
import { type Doubt, describeEngine, type EngineDirectory, type Item } from './check.ts'

/** The registry that the user named: alone, or with an image. */
export interface NamedRegistry {
  /** `host[:port]` */
  readonly host: string
  readonly reference: Reference | undefined
  /** For the image, of the user who asks. */
  readonly credentials: CredentialSource
}

export async function listItems(
  host: HostView,
  engines: readonly Engine[],
  { registry, signal }: { readonly registry: NamedRegistry | undefined; readonly signal: AbortSignal },
): Promise<Item[]> {
  const registries = registry === undefined ? [] : await listRegistries(host, engines, registry, signal)
  return [
    { kind: 'host', key: '', engine: undefined, value: {} },
    ...engines.map(engine => ({
      kind: 'engine' as const,
      key: describeEngine(engine),
      engine: engine.process.pid,
      value: engine,
    })),
    ...listDirectories(engines).map(directory => ({
      kind: 'directory' as const,
      key: directory.path,
      engine: directory.engine.process.pid,
      value: directory,
    })),
    ...registries.map(visit => ({
      kind: 'registry' as const,
      key: `${visit.host} ${visit.engine?.process.pid ?? ''}`.trim(),
      engine: visit.engine?.process.pid,
      value: visit,
      ...(visit.engine === undefined && engines.length > 0 && { doubt: withoutSettings }),
    })),
  ]
}

/**
 * An engine's own proxies, name servers, certificates and exceptions decide what becomes of the way to a registry. They change nothing of what the registry itself answered to this user's
 * credentials, which his client sends as well (though a mirror of the engine's may give what it does not), nor of what his files and helpers for these say. Where large packets or IPv6 vanish,
 * the registry has answered on the way from this host, so that no proxy is needed there.
 */
const withoutSettings: Doubt = {
  why: 'it was tried without the settings of the engines here',
  stands: [
    'REGISTRY_DENIES',
    'IMAGE_MISSING',
    'REGISTRY_WITHOUT_RANGES',
    'CLOCK_SKEWED',
    'CREDENTIAL_HELPER_SILENT',
    'CREDENTIALS_UNREADABLE',
    'MTU_BLACK_HOLE',
    'IPV6_BLACK_HOLE',
  ],
}

/** Where images are kept, and where layers are put on their way, each once. */
function listDirectories(engines: readonly Engine[]): EngineDirectory[] {
  const all = engines.flatMap((engine): EngineDirectory[] => {
    const { dataRoot, dataPath, environment, rootPrefix, kind } = engine
    if (dataRoot === undefined || dataPath === undefined) return []
    const temporary = kind === 'dockerd' ? environment?.get('DOCKER_TMPDIR') : temporaryOf(engine)
    const place = (role: EngineDirectory['role'], name: string, path: string) => ({ engine, role, name, path })
    return [
      place('images', dataRoot, dataPath),
      ...(temporary === undefined || temporary === ''
        ? []
        : [place('temporary', temporary, join(rootPrefix, temporary))]),
    ]
  })
  return all.filter(({ path }, at) => all.findIndex(other => other.path === path) === at)
}

/** podman and its kin put a layer there while they unpack it. What CRI-O tells of it counts, and its environment does not. */
function temporaryOf({ kind, environment, temporary }: Engine): string | undefined {
  if (kind === 'crio') return temporary ?? '/var/tmp'
  return kind === 'podman' || kind === 'buildah' || kind === 'skopeo'
    ? (environment?.get('TMPDIR') ?? '/var/tmp')
    : undefined
}

/**
 * The registry as each engine would reach it, and docker's mirrors of it; engines with the same settings share a visit. Anybody may call a program of his like an engine, and give it a proxy
 * and an exception from TLS that have our credentials sent to him: settings of what is not of the host itself, by root or us, are not followed, and nothing is sent. Where
 * no other engine is there, it is tried without settings, which says little of any engine.
 */
async function listRegistries(
  host: HostView,
  engines: readonly Engine[],
  { host: name, reference, credentials }: NamedRegistry,
  signal: AbortSignal,
): Promise<RegistryVisit[]> {
  const open = engines.filter(({ isOpen }) => isOpen)
  const strangenesses = await Promise.all(open.map(({ process }) => findStrangeness(host, process.pid)))
  const found = open.map((engine, at) => ({ engine, reference, strangeness: strangenesses[at] }))
  const isAnyTried = found.some(isFollowed)
  const seen = new Set<string>()
  const visits: RegistryVisit[] = []
  for (const one of isAnyTried ? found : [...found, { engine: undefined, reference, strangeness: undefined }]) {
    const settings = await readSettings(host, one)
    const pid = one.engine?.process.pid
    const network = pid === undefined ? '' : (host.link(`/proc/${pid}/ns/net`) ?? '')
    const key = JSON.stringify(isFollowed(one) ? [settings, network, one.engine?.rootPrefix] : pid)
    if (seen.has(key)) continue
    seen.add(key)
    const mirrors = reference !== undefined && registryHost(reference) !== reference.domain ? settings.mirrors : []
    for (const place of [name, ...mirrors])
      visits.push(new RegistryVisit({ ...one, host: place, settings, credentials, signal }))
  }
  return visits
}

/** No certificate is sent for a stranger: what he calls so may be any file that only we can read. */
async function readSettings(
  host: HostView,
  visit: Pick<RegistryVisitOptions, 'engine' | 'reference' | 'strangeness'>,
): Promise<RegistrySettings> {
  const settings = await readRegistrySettings(host, isFollowed(visit) ? visit.engine : undefined)
  return visit.strangeness === undefined ? settings : { ...settings, certificateDirectories: [] }
}
