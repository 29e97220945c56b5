/** Clients that wait for a pull, and what their command lines say of it. */
import { basename, isAbsolute } from 'node:path'
import { hostPlatform } from '../oci/platform.ts'
import { parseReference, type Reference } from '../oci/reference.ts'
import type { HostView } from '../sys/host-view.ts'
import { readArguments, readEnvironment, readProcessTable, readUids } from '../sys/process-files.ts'
import {
  type Asked,
  askedByCrictl,
  askedByCtr,
  askedByDocker,
  askedByNerdctl,
  askedByPodman,
  containerdSocket,
  containerdVariable,
  type Surroundings,
} from './client-address.ts'
import { type Engine, findRootPrefix } from './engines.ts'
import { optionsOf, type PullGrammar, type PullLine, parsePullLine } from './pull-line.ts'

export interface ClientPull {
  /** As it was written. */
  readonly text: string
  readonly reference: Reference
  /** Of containerd; undefined where a file that cannot be read may tell it. */
  readonly namespace: string | undefined
  /** Where it asks; undefined where nothing tells, and of one that pulls by itself. */
  readonly socket: string | undefined
  /** That it asks for, as it was written: that of the host if undefined. Never of a pull of many. */
  readonly platform: string | undefined
  /** All tags of a repository, or several platforms of an image: what of them hangs is not told, and `text` alone does not name it. */
  readonly isOfMany: boolean
}

/** One that is there. */
export interface WaitingClient extends ClientPull {
  /** When its process was started, since the boot. */
  readonly startTicks: number
}

interface Client extends PullGrammar {
  readonly kinds: readonly Engine['kind'][]
  /** Variables that tell where its engine is. */
  readonly variables: readonly string[]
  /** Where it finds its engine if nothing else is said, and no file can say it. */
  readonly usual: string | undefined
  readonly asked: (line: PullLine, around: Surroundings) => Promise<Asked>
}

/** By the name of the program. A map: a process may be called like what every object has. */
const clients: ReadonlyMap<string, Client> = new Map(
  Object.entries({
    docker: {
      kinds: ['dockerd'],
      variables: ['DOCKER_HOST'],
      usual: '/var/run/docker.sock',
      asked: askedByDocker,
      style: 'gnu',
      commands: ['pull', 'image pull'],
      general: optionsOf('debug/D tls tlsverify', 'config context/c host/H log-level/l tlscacert tlscert tlskey'),
      own: optionsOf('all-tags/a disable-content-trust quiet/q', 'platform'),
    },
    ctr: {
      kinds: ['containerd'],
      variables: [containerdVariable],
      usual: containerdSocket,
      asked: askedByCtr,
      style: 'go',
      commands: ['images pull', 'image pull', 'i pull'],
      general: optionsOf('debug', 'address/a timeout connect-timeout namespace/n'),
      own: optionsOf(
        'skip-verify/k plain-http http-dump http-trace all-platforms all-metadata skip-metadata print-chainid local sync-fs',
        'user/u refresh hosts-dir tlscacert tlscert tlskey snapshotter snapshotter-label label platform max-concurrent-downloads',
      ),
    },
    nerdctl: {
      kinds: ['containerd'],
      variables: [containerdVariable],
      usual: containerdSocket,
      asked: askedByNerdctl,
      style: 'gnu',
      commands: ['pull', 'image pull'],
      general: optionsOf(
        'debug debug-full insecure-registry experimental kube-hide-dupe',
        'address/a/H/host namespace/n snapshotter/storage-driver cni-path cni-netconfpath data-root cgroup-manager hosts-dir host-gateway-ip bridge-ip userns-remap cdi-spec-dirs',
      ),
      own: optionsOf(
        'all-platforms quiet/q',
        'unpack platform verify cosign-key cosign-certificate-identity cosign-certificate-identity-regexp cosign-certificate-oidc-issuer cosign-certificate-oidc-issuer-regexp soci-index-digest ipfs-address',
      ),
    },
    crictl: {
      kinds: ['containerd', 'crio'],
      variables: ['IMAGE_SERVICE_ENDPOINT', 'CONTAINER_RUNTIME_ENDPOINT'],
      usual: undefined,
      asked: askedByCrictl,
      style: 'go',
      commands: ['pull'],
      general: optionsOf(
        'debug/D enable-tracing',
        'config/c runtime-endpoint/r image-endpoint/i timeout/t max-retries tracing-sampling-rate-per-million tracing-endpoint profile-cpu profile-mem',
      ),
      own: optionsOf('', 'creds auth username/u pod-config annotation/a pull-timeout/pt'),
    },
    podman: {
      kinds: ['podman'],
      variables: [],
      usual: undefined, // it pulls by itself
      asked: askedByPodman,
      style: 'gnu',
      commands: ['pull', 'image pull'],
      general: optionsOf(
        'noout remote/r syslog transient-store',
        'cdi-spec-dir cgroup-manager config conmon connection/c events-backend hooks-dir identity imagestore log-level module namespace network-cmd-path network-config-dir out root runroot runtime runtime-flag ssh storage-driver storage-opt tls-ca tls-cert tls-key tmpdir url volumepath',
      ),
      own: optionsOf(
        'all-tags/a disable-content-trust quiet/q tls-verify',
        'arch authfile cert-dir creds decryption-key os platform policy retry retry-delay variant',
      ),
    },
  } satisfies Record<string, Client>),
)

export function isClient(program: string): boolean {
  return clients.has(basename(program))
}

/** Where a client finds its engine if nothing else is said; undefined of what is none, or may read it from a file. */
export function usualSocketOf(program: string): string | undefined {
  return clients.get(basename(program))?.usual
}

/** Variables that tell clients where their engine is. */
export const addressVariables = [...new Set([...clients.values()].flatMap(({ variables }) => variables))]

/** What other users write on their command lines is theirs: nobody but our own user sends us to a registry. */
export async function findClientPulls(
  host: HostView,
  { kind, sockets, process: engine }: Pick<Engine, 'kind' | 'sockets' | 'process'>,
): Promise<WaitingClient[]> {
  const own = process.getuid?.()
  const listening = new Set(sockets.map(formatSocket))
  const found = [...readProcessTable(host).values()]
    .filter(({ pid, name }) => clients.get(name)?.kinds.includes(kind) === true && readUids(host, pid)?.real === own)
    .map(({ pid, name, startTicks }) => ({
      pid,
      startTicks,
      pulls: parseClientPull(name, readArguments(host, pid), surroundingsOf(host, pid, readEnvironment(host, pid))),
    }))
  const isOfEngine = (pid: number, { socket }: ClientPull) =>
    socket === undefined ? kind !== 'podman' || pid === engine.pid : listening.has(socket)
  const all = found.map(async ({ pid, startTicks, pulls }) =>
    (await pulls).filter(pull => isOfEngine(pid, pull)).map(pull => ({ ...pull, startTicks })),
  )
  return (await Promise.all(all)).flat()
}

/** @param pid of a process that sees the same files */
export function surroundingsOf(host: HostView, pid: number, env: Surroundings['env']): Surroundings {
  const prefix = findRootPrefix(host, pid)
  const read = async (path: string) => {
    const at = prefix + path
    const text = isAbsolute(path) ? await host.disk.text(at) : undefined
    if (text !== undefined) return text
    // A record has none of these files; of another directory than our own nothing relative is known.
    const isKnown = host.network !== undefined && isAbsolute(path)
    return isKnown && !host.disk.silent.has(at) && host.disk.unasked?.has(at) !== true ? '' : undefined
  }
  return { env, arch: host.arch, isRoot: process.getuid?.() === 0, read }
}

/** @returns nothing if it pulls nothing, or what it pulls cannot be told */
export async function parseClientPull(
  program: string,
  args: readonly string[],
  around: Surroundings,
): Promise<ClientPull[]> {
  const name = basename(program)
  const client = clients.get(name)
  const line = client && parsePullLine(args, client)
  if (client === undefined || line === undefined) return []
  const { address, namespace } = await client.asked(line, around)
  const socket = address === undefined ? undefined : formatSocket(address)
  const platforms = platformsOf(line, name, around)
  const isOfMany = line.isSet('all-tags') || line.isSet('all-platforms') || platforms.length > 1
  const platform = isOfMany ? undefined : platforms[0]
  // Of the others the first counts, and a second is refused, or passed over.
  const images = name === 'podman' ? line.images.map(withoutTransport).filter(hasHost) : line.images.slice(0, 1)
  return images.flatMap(text =>
    referencesIn(text).map(reference => ({ text, reference, namespace, socket, platform, isOfMany })),
  )
}

/** What it pulls, as far as its words tell; nothing of what is no client. */
export function imagesOf(program: string, args: readonly string[]): Reference[] {
  const client = clients.get(program)
  const line = client && parsePullLine(args, client)
  return (line?.images ?? []).flatMap(text => referencesIn(withoutTransport(text)))
}

/** None in what is no name of an image. */
function referencesIn(text: string): Reference[] {
  try {
    return [parseReference(text)]
  } catch {
    return []
  }
}

/** Whether a podman has another one pull. */
export async function asksAnother(args: readonly string[], around: Surroundings): Promise<boolean> {
  const line = parsePullLine(args, clients.get('podman') as Client)
  if (line !== undefined) return (await askedByPodman(line, around)).address !== undefined
  // It has options that we do not know.
  const isTold = args.some(word => /^(?:--(?:remote|url|connection)(?:=.*)?|-[rc])$/s.test(word))
  return isTold || ['CONTAINER_HOST', 'CONTAINER_CONNECTION'].some(name => around.env?.get(name))
}

/** Of podman each part by itself, those of the host in the place of what is not said. */
function platformsOf(line: PullLine, program: string, { env, arch }: Surroundings): string[] {
  const parts = ['os', 'arch', 'variant'].map(part => line.valueOf(part))
  const [os = 'linux', architecture = hostPlatform({ arch }).architecture, variant] = parts
  if (parts.some(part => part !== undefined))
    return [[os, architecture, variant].filter(part => part !== undefined).join('/')]
  const usual = program === 'docker' ? env?.get('DOCKER_DEFAULT_PLATFORM') : undefined
  const told = line
    .all('platform')
    .flatMap(text => text.split(','))
    .filter(Boolean)
  return told.length === 0 && usual ? [usual] : [...new Set(told)]
}

function withoutTransport(text: string): string {
  return text.replace(/^docker:\/\//, '')
}

/** What has none podman looks for where its settings say. */
function hasHost(text: string): boolean {
  return /^(?:localhost|[^/]*[.:][^/]*)\//.test(text)
}

/** gRPC reads `unix:/x`, too. /var/run is a link to /run. */
export function formatSocket(address: string): string {
  return address.replace(/^unix:(?:\/\/)?(?=\/)/, '').replace(/^\/var\/run\//, '/run/')
}
