/** Where a client asks, as its command line, its environment and its own files tell. */
import { join } from 'node:path'
import { contextFile, defaultHost, parseContext, parseCurrentContext } from '../places/docker/endpoint.ts'
import { isOwnHost } from './own-host.ts'
import type { PullLine } from './pull-line.ts'

/** What of a client is not on its command line. */
export interface Surroundings {
  readonly env: ReadonlyMap<string, string> | undefined
  /** As Node calls it. */
  readonly arch: string
  readonly isRoot: boolean
  /** A small file, as the client names it. "" where there is none; undefined where that is not known. */
  read(path: string): Promise<string | undefined>
}

export interface Asked {
  /** An address as the client writes it; undefined where nothing tells, and of one that pulls by itself. */
  readonly address: string | undefined
  /** Of containerd; undefined where a file that cannot be read may tell it. */
  readonly namespace?: string | undefined
}

/** The address of what is not known, but is not where such clients find their engine if nothing else is said. */
export const elsewhere = 'elsewhere'

/** What names no host, as a socket and the port alone do, is of this one. */
export async function isElsewhere(address: string, { read }: Pick<Surroundings, 'read'>): Promise<boolean> {
  const [, scheme, host] = /^([a-z][\w+.-]*):\/\/(?:[^@/]*@)?(\[[^\]]*\]|[^:/?#]*)/i.exec(address) ?? []
  if (address === elsewhere) return true
  if (scheme === 'unix' || host === undefined || host === '') return false
  return !isOwnHost(host, { hosts: (await read('/etc/hosts')) ?? '' })
}

export const containerdSocket = '/run/containerd/containerd.sock'
export const containerdVariable = 'CONTAINERD_ADDRESS'

/** docker/cli, `resolveContextName`: an option for the host leaves out all contexts but one that an option names. */
export async function askedByDocker(line: PullLine, around: Surroundings): Promise<Asked> {
  const host = line.all('host').at(-1) ?? variable(around, 'DOCKER_HOST')
  const home = variable(around, 'HOME')
  const usual = home === undefined ? undefined : join(home, '.docker')
  const directory = line.valueOf('config') ?? variable(around, 'DOCKER_CONFIG') ?? usual
  const named = line.valueOf('context') ?? (host === undefined ? variable(around, 'DOCKER_CONTEXT') : 'default')
  const name = named ?? (directory === undefined ? undefined : await readCurrentContext(directory, around))
  if (name === undefined || name === 'default') return { address: withDefaultsOfDocker(host ?? defaultHost) }
  const text = directory === undefined ? undefined : await around.read(contextFile(directory, name))
  const told = text ? attempt(() => parseContext(text).host) : undefined
  return { address: told === undefined ? elsewhere : withDefaultsOfDocker(told) }
}

/** docker/cli, `opts.ParseHost`: what has no scheme is a port of a host, and what is left out is that of this host. A path alone is taken for that of a socket, which docker itself does not. */
function withDefaultsOfDocker(host: string): string {
  const text = host.trim()
  if (text === 'unix://' || text === '') return defaultHost
  const address = text.includes('://') || text.startsWith('/') ? text : `tcp://${text}`
  return address === 'tcp://' ? 'tcp://localhost:2375' : address
}

async function readCurrentContext(directory: string, { read }: Surroundings): Promise<string | undefined> {
  const text = await read(join(directory, 'config.json'))
  return text ? attempt(() => parseCurrentContext(text)) : undefined
}

export async function askedByCtr(line: PullLine, around: Surroundings): Promise<Asked> {
  const address = line.valueOf('address') ?? variable(around, containerdVariable) ?? containerdSocket
  return { address, namespace: namespaceOf(line, around) ?? 'default' }
}

/** nerdctl, docs/config.md: an option counts more than a variable, and that more than the file. */
export async function askedByNerdctl(line: PullLine, around: Surroundings): Promise<Asked> {
  const address = line.valueOf('address') ?? variable(around, containerdVariable)
  const namespace = namespaceOf(line, around)
  if (address !== undefined && namespace !== undefined) return { address, namespace }
  const text = await readNerdctlFile(around)
  const usual = text === undefined ? undefined : 'default'
  return {
    address: address ?? settingIn(text, 'address') ?? containerdSocket,
    namespace: namespace ?? settingIn(text, 'namespace') ?? usual,
  }
}

async function readNerdctlFile(around: Surroundings): Promise<string | undefined> {
  const home = variable(around, 'HOME')
  const own = variable(around, 'XDG_CONFIG_HOME') ?? (home === undefined ? undefined : join(home, '.config'))
  const directory = around.isRoot ? '/etc' : own
  const usual = directory === undefined ? undefined : join(directory, 'nerdctl/nerdctl.toml')
  const path = variable(around, 'NERDCTL_TOML') ?? usual
  return path === undefined ? undefined : await around.read(path)
}

/** TOML: above all tables, a key and a string. */
function settingIn(text: string | undefined, key: string): string | undefined {
  const [top = ''] = (text ?? '').split(/^\s*\[/m)
  return new RegExp(`^[ \\t]*${key}[ \\t]*=[ \\t]*(["'])(.+?)\\1`, 'm').exec(top)?.[2]
}

function namespaceOf(line: PullLine, around: Surroundings): string | undefined {
  return line.valueOf('namespace') ?? variable(around, 'CONTAINERD_NAMESPACE')
}

/**
 * What is told of images counts more than what is told of containers, wherever it stands. Where nothing tells it tries one socket after the other. In containerd the images of a kubelet are in one
 * namespace.
 */
export async function askedByCrictl(line: PullLine, around: Surroundings): Promise<Asked> {
  const path = line.valueOf('config') ?? variable(around, 'CRI_CONFIG_FILE') ?? '/etc/crictl.yaml'
  const text = await around.read(path)
  const find = (name: string, inEnvironment: string) => {
    const [, inFile] = new RegExp(`^${name}:[ \\t]*["']?([^\\s"'#]+)`, 'm').exec(text ?? '') ?? []
    return line.valueOf(name) ?? variable(around, inEnvironment) ?? inFile
  }
  const address =
    find('image-endpoint', 'IMAGE_SERVICE_ENDPOINT') ?? find('runtime-endpoint', 'CONTAINER_RUNTIME_ENDPOINT')
  return { address, namespace: 'k8s.io' }
}

/** podman(1): an address, or the name of a connection, makes it ask another one. */
export async function askedByPodman(line: PullLine, around: Surroundings): Promise<Asked> {
  if (line.valueOf('remote') !== undefined && !line.isSet('remote')) return { address: undefined }
  const url = line.valueOf('url')
  const isNamed = (line.valueOf('connection') ?? variable(around, 'CONTAINER_CONNECTION')) !== undefined
  if (url !== undefined || isNamed) return { address: url ?? elsewhere }
  return { address: variable(around, 'CONTAINER_HOST') ?? (line.isSet('remote') ? elsewhere : undefined) }
}

function variable({ env }: Surroundings, name: string): string | undefined {
  return env?.get(name) || undefined
}

/** Undefined for what is not as the client writes it. */
function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse()
  } catch {
    return undefined
  }
}
