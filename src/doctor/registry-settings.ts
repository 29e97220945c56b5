/** How an engine reaches registries: its proxies, mirrors, authorities, and whom it need not trust, as far as they can be read. */
import { isAbsolute, join } from 'node:path'
import type { HostView } from '../sys/host-view.ts'
import { readUids } from '../sys/process-files.ts'
import { askEngine, type FoundEngine } from './engines.ts'
import { hideInSetting } from './secrets.ts'

export interface RegistrySettings {
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as `parseProxies` reads them. */
  readonly proxies: Readonly<Record<string, string>>
  /** Hosts and blocks of addresses that may speak plain http or have any certificate. */
  readonly insecure: readonly string[]
  /** Mirrors of Docker Hub, `host[:port]`. */
  readonly mirrors: readonly string[]
  /** Directories like docker's `certs.d`, as we reach them. */
  readonly certificateDirectories: readonly string[]
}

/** What docker's daemon.json says that matters for pulls. */
export interface DaemonFile {
  readonly path: string
  readonly proxies: Readonly<Record<string, string>>
  readonly insecure: readonly string[]
  readonly mirrors: readonly string[]
  /** How many layers are downloaded at a time. */
  readonly slots: number | undefined
}

/** Without an engine: what an engine without settings would do. */
export async function readRegistrySettings(host: HostView, engine: FoundEngine | undefined): Promise<RegistrySettings> {
  if (engine === undefined)
    return {
      proxies: {},
      insecure: [],
      mirrors: [],
      certificateDirectories: ['/etc/docker/certs.d', '/etc/containers/certs.d'],
    }
  const prefix = engine.rootPrefix
  const proxies = readProxies(engine.environment)
  if (engine.kind === 'dockerd') return await readDocker(host, engine, proxies)
  const containers = engine.kind === 'containerd' || engine.kind === 'buildkitd' ? 'containerd' : 'containers'
  const certificateDirectories = [`${prefix}/etc/${containers}/certs.d`, `${prefix}/etc/docker/certs.d`]
  const insecure = containers === 'containers' ? await readInsecureOfPodman(host, prefix) : []
  return { proxies, insecure, mirrors: [], certificateDirectories }
}

/** What the daemon says of itself is what it runs with; its file may have changed since. */
async function readDocker(
  host: HostView,
  engine: FoundEngine,
  environment: Readonly<Record<string, string>>,
): Promise<RegistrySettings> {
  const [told, file] = await Promise.all([askDocker(host, engine), readDaemonFile(host, engine)])
  const flags = readFlags(engine.args)
  return {
    proxies: { ...environment, ...file?.proxies, ...flags.proxies },
    insecure: told?.insecure ?? [...flags.insecure, ...(file?.insecure ?? [])],
    mirrors: (told?.mirrors ?? [...flags.mirrors, ...(file?.mirrors ?? [])]).flatMap(hostOf),
    certificateDirectories: [`${engine.rootPrefix}/etc/docker/certs.d`],
  }
}

/** The part of `GET /info` that says how registries are reached. */
export async function askDocker(
  host: HostView,
  engine: FoundEngine,
): Promise<{ readonly insecure: readonly string[]; readonly mirrors: readonly string[] } | undefined> {
  const answers = await Promise.all(engine.sockets.map(socket => askEngine(host, engine, socket, '/info')))
  const { RegistryConfig: config } = parseJson(answers.find(answer => answer?.status === 200)?.body)
  if (typeof config !== 'object' || config === null) return undefined
  const { InsecureRegistryCIDRs, IndexConfigs, Mirrors } = config as Record<string, unknown>
  const indexes = Object.entries((IndexConfigs ?? {}) as Record<string, { Secure?: unknown }>)
  const hosts = indexes.filter(([, { Secure }]) => Secure === false).map(([name]) => name)
  return { insecure: [...strings(InsecureRegistryCIDRs), ...hosts], mirrors: strings(Mirrors) }
}

/** @returns undefined where there is no such file, or it cannot be understood */
export async function readDaemonFile(host: HostView, engine: FoundEngine): Promise<DaemonFile | undefined> {
  const path = valuesOf(engine.args, 'config-file')[0] ?? findDaemonFile(host, engine)
  const text = path === undefined ? undefined : await host.disk.text(engine.rootPrefix + path)
  if (path === undefined || text === undefined) return undefined
  const { proxies, ...document } = parseJson(text)
  const slots = document['max-concurrent-downloads']
  const named = (proxies ?? {}) as Record<string, unknown>
  const pairs = ['http-proxy', 'https-proxy', 'no-proxy'].flatMap(name => {
    const value = named[name] ?? document[name]
    return typeof value === 'string' && value !== '' ? [[variableOf(name), value] as const] : []
  })
  return {
    path,
    proxies: Object.fromEntries(pairs),
    insecure: strings(document['insecure-registries']),
    mirrors: strings(document['registry-mirrors']),
    slots: typeof slots === 'number' ? slots : undefined,
  }
}

/** A dockerd of an ordinary user has it in his home; undefined where nobody tells where that is, or what he says is no place. */
function findDaemonFile(host: HostView, { process, environment }: FoundEngine): string | undefined {
  const isRootless = (readUids(host, process.pid)?.effective ?? 0) !== 0 || environment?.get('ROOTLESSKIT_STATE_DIR')
  if (!isRootless) return '/etc/docker/daemon.json'
  const home = environment?.get('HOME')
  const directory = environment?.get('XDG_CONFIG_HOME') || (home && join(home, '.config'))
  return directory && isAbsolute(directory) ? join(directory, 'docker/daemon.json') : undefined
}

function readFlags(args: readonly string[]) {
  const names = ['http-proxy', 'https-proxy', 'no-proxy']
  const proxies = names.flatMap(name => valuesOf(args, name).map(value => [variableOf(name), value] as const))
  return {
    proxies: Object.fromEntries(proxies),
    insecure: valuesOf(args, 'insecure-registry'),
    mirrors: valuesOf(args, 'registry-mirror'),
  }
}

/** Of the environment, either spelling. */
export function readProxies(environment: ReadonlyMap<string, string> | undefined): Record<string, string> {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']
  const values = names.map(
    name => [name, environment?.get(name) || environment?.get(name.toLowerCase()) || ''] as const,
  )
  return Object.fromEntries(values.filter(([, value]) => value !== ''))
}

/** `[[registry]]` blocks of registries.conf(5) that say `insecure = true`. */
async function readInsecureOfPodman(host: HostView, prefix: string): Promise<string[]> {
  const directory = `${prefix}/etc/containers/registries.conf.d`
  const more = (await host.disk.names(directory)).filter(name => name.endsWith('.conf')).toSorted()
  const files = [`${prefix}/etc/containers/registries.conf`, ...more.map(name => `${directory}/${name}`)]
  const texts = await Promise.all(files.map(file => host.disk.text(file)))
  const blocks = texts.flatMap(text => (text ?? '').split(/^\s*\[\[registry\]\]\s*$/m).slice(1))
  return blocks.flatMap(block => {
    const [own = ''] = block.split(/^\s*\[/m)
    const [, place] = /^\s*(?:location|prefix)\s*=\s*"([^"/]+)/m.exec(own) ?? []
    return place !== undefined && /^\s*insecure\s*=\s*true/m.test(own) ? [place] : []
  })
}

/** How messages show a proxy. */
export function describeProxies({ proxies }: Pick<RegistrySettings, 'proxies'>): string[] {
  return Object.entries(proxies).map(([name, value]) => `${name}=${hideInSetting(name, value)}`)
}

function variableOf(flag: string): string {
  return flag.toUpperCase().replace('-', '_')
}

/** Every value of a flag, `--name value` or `--name=value`. */
function valuesOf(args: readonly string[], name: string): string[] {
  return args.flatMap((arg, at) => {
    if (arg === `--${name}`) return args[at + 1] ?? []
    return arg.startsWith(`--${name}=`) ? arg.slice(name.length + 3) : []
  })
}

function hostOf(address: string): string[] {
  const url = URL.parse(/^https?:/.test(address) ? address : `https://${address}`)
  return url === null || url.host === '' ? [] : [url.host]
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter(item => typeof item === 'string') : []
}

function parseJson(text: string | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
