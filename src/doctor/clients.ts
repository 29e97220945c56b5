/** Clients that wait for a pull, and what their command lines say of it. */
import { basename } from 'node:path'
import { parseReference, type Reference } from '../oci/reference.ts'
import type { HostView } from '../sys/host-view.ts'
import { optionOf, readArguments, readEnvironment, readProcessTable, readUids } from '../sys/process-files.ts'
import type { ProcessFacts } from '../sys/tasks.ts'
import type { Engine } from './engines.ts'

export interface ClientPull {
  /** As it was written. */
  readonly text: string
  readonly reference: Reference
  /** Of containerd. */
  readonly namespace: string | undefined
  /** Where it asks; undefined where its command line and environment do not tell. */
  readonly socket: string | undefined
}

interface Client {
  readonly kind: Engine['kind']
  /** Options that name the engine, and the variable. */
  readonly options: readonly string[]
  readonly variable: string
  readonly usual: string | undefined
}

const containerd = {
  kind: 'containerd',
  options: ['-a', '-H', '-address', '--address', '--host'],
  variable: 'CONTAINERD_ADDRESS',
  usual: '/run/containerd/containerd.sock',
} as const satisfies Client
/** Of crictl a file may tell where the engine is. */
const clients: Readonly<Record<string, Client>> = {
  docker: { kind: 'dockerd', options: ['-H', '--host'], variable: 'DOCKER_HOST', usual: '/var/run/docker.sock' },
  ctr: containerd,
  nerdctl: containerd,
  crictl: {
    kind: 'containerd',
    options: ['-i', '--image-endpoint', '-r', '--runtime-endpoint'],
    variable: 'CONTAINER_RUNTIME_ENDPOINT',
    usual: undefined,
  },
}
/** Of crictl: where a kubelet's images are. */
const criNamespace = 'k8s.io'

/** Where a client finds its engine if nothing else is said; undefined of what is none, or may read it from a file. */
export function usualSocketOf(program: string): string | undefined {
  return clients[basename(program)]?.usual
}

/** Variables that tell clients where their engine is. */
export const addressVariables = [...new Set(Object.values(clients).map(({ variable }) => variable))]

/** What other users write on their command lines is theirs: nobody but our own user sends us to a registry. */
export function findClientPulls(host: HostView, { kind, sockets }: Pick<Engine, 'kind' | 'sockets'>): ClientPull[] {
  const own = process.getuid?.()
  const listening = new Set(sockets.map(formatSocket))
  return [...readProcessTable(host).values()]
    .filter(({ pid, name }) => clients[name]?.kind === kind && readUids(host, pid)?.real === own)
    .flatMap(({ pid, name }) => parseClientPull(name, readArguments(host, pid), readEnvironment(host, pid)))
    .filter(({ socket }) => socket === undefined || listening.has(socket))
}

/** @returns nothing if it pulls nothing, or what it pulls cannot be told */
export function parseClientPull(
  program: string,
  args: readonly string[],
  env: ReadonlyMap<string, string> | undefined,
): ClientPull[] {
  const client = clients[basename(program)]
  const text = args.at(-1) ?? ''
  if (client === undefined || !args.slice(1, -1).includes('pull')) return []
  const socket = socketOf(client, args, env)
  const namespace =
    program === 'crictl' ? criNamespace : optionOf(args, ['-n', '-namespace', '--namespace']) || undefined
  try {
    const reference = parseReference(text)
    return [{ text, reference, namespace, socket: socket === undefined ? undefined : formatSocket(socket) }]
  } catch {
    return []
  }
}

function socketOf(
  { options, variable, usual }: Client,
  args: readonly string[],
  env: ReadonlyMap<string, string> | undefined,
): string | undefined {
  return (optionOf(args, options) || env?.get(variable)) ?? usual
}

/** What downloads by itself and hands containerd what has come, beside clients on the command line: these, by the option that names containerd. */
const daemons: Readonly<Record<string, Client>> = {
  dockerd: { ...containerd, options: ['--containerd'] },
  buildkitd: { ...containerd, options: ['--containerd-worker-addr'] },
}

/** Whether a process is one that may write into this containerd what it downloads itself, as its command line and environment tell. */
export function mayWriteInto(host: HostView, { sockets, process }: Engine, { pid, name }: ProcessFacts): boolean {
  const client = name === 'ctr' || name === 'nerdctl' ? containerd : daemons[name]
  if (client === undefined) return false
  const socket = socketOf(client, readArguments(host, pid), readEnvironment(host, pid)) ?? ''
  return process.parent === pid || sockets.map(formatSocket).includes(formatSocket(socket))
}

/** /var/run is a link to /run. */
function formatSocket(address: string): string {
  return address.replace(/^unix:\/\//, '').replace(/^\/var\/run\//, '/run/')
}
