/** The container engines that run on a host, with their settings as they are in the running process. */
import { basename, isAbsolute, join } from 'node:path'
import { parseGoBool } from '../codec/external/programs.ts'
import type { HeldSocket, HostView, MeantSocket } from '../sys/host-view.ts'
import type { SocketAnswer } from '../sys/local-http.ts'
import { judgeOwner, type Stranger } from '../sys/own-path.ts'
import {
  type Descriptor,
  optionOf,
  type ProcessTable,
  readArguments,
  readDescriptors,
  readEnvironment,
  readUids,
} from '../sys/process-files.ts'
import type { Listener } from '../sys/socket-peer.ts'
import { type ProcessFacts, readProcess } from '../sys/tasks.ts'
import { readCrioPlaces } from './crio-places.ts'
import { hideInSetting } from './secrets.ts'

type EngineKind = 'dockerd' | 'containerd' | 'podman' | 'crio' | 'buildkitd' | 'buildah' | 'skopeo'

/** What /proc tells of an engine, without asking anybody. */
export interface FoundEngine {
  readonly kind: EngineKind
  readonly process: ProcessFacts
  readonly args: readonly string[]
  /** The kernel's name of the program file; ends in ` (deleted)` after an upgrade without a restart. */
  readonly program: string | undefined
  /** The process that has started itself again as this one, in a user namespace, and waits for it. */
  readonly starter?: number | undefined
  /** Where images are kept, as the engine names it. */
  readonly dataRoot: string | undefined
  /** The same directory as we reach it. */
  readonly dataPath: string | undefined
  /** Where layers are put on their way, if the engine tells. */
  readonly temporary?: string | undefined
  /** What has to stand before the engine's paths for us: it may live in a root of its own. */
  readonly rootPrefix: string
  /** Sockets on which it listens. */
  readonly sockets: readonly string[]
  /** Undefined if we may not see it. */
  readonly environment: ReadonlyMap<string, string> | undefined
  /** Whether we may look into its descriptors, and so into those of its children. */
  readonly isOpen: boolean
}

export interface Engine extends FoundEngine {
  readonly version: string | undefined
  /** Who may have put its program there, where it was not asked for its version for this reason. */
  readonly stranger?: Stranger | undefined
  readonly decompressors: readonly EngineDecompressor[]
}

/** A decompressor that this engine runs if it finds it. */
export interface EngineDecompressor {
  readonly name: string
  /** Where the engine finds it, as the engine names it. */
  readonly path: string | undefined
  /** The variable that forbids it, and what it is set to. */
  readonly variable: string | undefined
  readonly value: string | undefined
  readonly use: 'used' | 'not-found' | 'disabled' | 'invalid-value' | 'unknown'
}

const kinds: ReadonlyMap<string, EngineKind> = new Map([
  // Of Red Hat's docker.
  ['dockerd-current', 'dockerd'],
  ...(['dockerd', 'containerd', 'podman', 'crio', 'buildkitd', 'buildah', 'skopeo'] as const).map(
    kind => [kind, kind] as const,
  ),
])

/** What the engine holds open, and so tells where its data are. */
const landmarks: Readonly<Partial<Record<EngineKind, RegExp>>> = {
  dockerd: /^(\/.*)\/(?:volumes\/metadata\.db|buildkit\/cache\.db)$/,
  containerd: /^(\/.*)\/io\.containerd\.metadata\.v1\.bolt\/meta\.db$/,
  buildkitd: /^(\/.*)\/(?:cache|history)\.db$/,
}

const dataRoots: Readonly<Partial<Record<EngineKind, string>>> = {
  dockerd: '/var/lib/docker',
  containerd: '/var/lib/containerd',
  podman: '/var/lib/containers/storage',
  buildah: '/var/lib/containers/storage',
  crio: '/var/lib/containers/storage',
  buildkitd: '/var/lib/buildkit',
}

/** Which programs an engine starts for gzip, first choice first, and the variable that forbids each. */
const runs: Readonly<Record<EngineKind, readonly { name: string; variable?: string; since?: number }[]>> = {
  dockerd: [{ name: 'unpigz', variable: 'MOBY_DISABLE_PIGZ' }],
  containerd: [
    { name: 'igzip', variable: 'CONTAINERD_DISABLE_IGZIP', since: 2 },
    { name: 'unpigz', variable: 'CONTAINERD_DISABLE_PIGZ' },
  ],
  buildkitd: [
    { name: 'igzip', variable: 'CONTAINERD_DISABLE_IGZIP', since: 0.19 },
    { name: 'unpigz', variable: 'CONTAINERD_DISABLE_PIGZ' },
  ],
  podman: [{ name: 'pigz', since: 5.2 }],
  crio: [{ name: 'pigz', since: 1.31 }],
  buildah: [{ name: 'pigz', since: 1.37 }],
  skopeo: [{ name: 'pigz', since: 1.16 }],
}

/** Whether a process of that name is an engine. */
export function isEngineName(name: string): boolean {
  return kinds.has(name)
}

/** What findings call it. */
export function describeEngine({ kind, process }: Pick<FoundEngine, 'kind' | 'process'>): string {
  return `${kind} ${process.pid}`
}

/** True for engines that are the command that pulls, and decompress while they download: they keep what comes in a file, too, which tells since when nothing has come. */
export function isStreaming({ kind }: Pick<FoundEngine, 'kind'>): boolean {
  return kind === 'podman' || kind === 'buildah' || kind === 'skopeo' || kind === 'crio'
}

/** Whether an engine of all those that run is meant. */
export type EngineFilter = (engine: FoundEngine, all: readonly FoundEngine[], table: ProcessTable) => boolean

/** @param pid of the only engine that is wanted, or of what has started it as itself */
export function listEngines(host: HostView, table: ProcessTable, pid?: number): FoundEngine[] {
  const running = [...table.values()].filter(({ name, state }) => kinds.has(name) && state !== 'Z')
  const starters = findStarters(host, running)
  const waiting = new Set(starters.values())
  const isMeant = (entry: ProcessFacts) => pid === undefined || entry.pid === pid || starters.get(entry.pid) === pid
  const found = running.filter(entry => !waiting.has(entry.pid) && isMeant(entry))
  return found.map(entry => readEngine(host, entry, kinds.get(entry.name) as EngineKind, starters.get(entry.pid)))
}

/**
 * podman and its kin start themselves once more where an ordinary user calls them and has no user namespace yet: that process does all the work, and the first one only waits for it.
 * @returns who is waited for, and by whom
 */
function findStarters(host: HostView, running: readonly ProcessFacts[]): ReadonlyMap<number, number> {
  const byPid = new Map(running.map(entry => [entry.pid, entry]))
  const pairs = running.flatMap(({ pid, name, parent }) => {
    const isPair = byPid.get(parent)?.name === name && isStartedAgain(host, pid, parent)
    return isPair ? [[pid, parent] as const] : []
  })
  return new Map(pairs)
}

/** The same words, but that some say in the first that they are in such a namespace. A child that is not yet another program has them, too, and no namespace of its own. */
function isStartedAgain(host: HostView, pid: number, starter: number): boolean {
  const [own, theirs] = [pid, starter].map(of => host.link(`/proc/${of}/ns/user`))
  if (own === undefined || theirs === undefined || own === theirs) return false
  // In a container it has numbers of its own.
  if (host.link(`/proc/${pid}/ns/pid`) !== host.link(`/proc/${starter}/ns/pid`)) return false
  const [first = '', ...rest] = readArguments(host, pid)
  const [name = '', ...words] = readArguments(host, starter)
  const isSame = rest.length === words.length && rest.every((word, at) => word === words[at])
  return isSame && (first === name || first === `${name}-in-a-user-namespace`)
}

/** Asks each for its version, which takes a while where it does not answer. */
export async function askEngines(host: HostView, found: readonly FoundEngine[]): Promise<Engine[]> {
  const engines = await Promise.all(
    found.map(async engine => {
      const [asked, placed] = await Promise.all([readVersion(host, engine), withGraphRoot(host, engine)])
      const known = { ...placed, ...asked }
      return { ...known, decompressors: await findDecompressors(host, known) }
    }),
  )
  return engines.filter(engine => !isGone(host, engine))
}

/** What ended meanwhile, as a podman does, hides nothing. */
export function isGone(host: HostView, { isOpen, process }: FoundEngine): boolean {
  return !isOpen && readProcess(process.pid, host) === undefined
}

/** @param pid of the only engine that is wanted */
export async function findEngines(host: HostView, table: ProcessTable, pid?: number): Promise<Engine[]> {
  return await askEngines(host, listEngines(host, table, pid))
}

function readEngine(host: HostView, process: ProcessFacts, kind: EngineKind, starter: number | undefined): FoundEngine {
  const { pid } = process
  const args = readArguments(host, pid)
  // What starts itself again may do so from a copy without a name.
  const program = host.link(`/proc/${starter ?? pid}/exe`)
  const descriptors = readDescriptors(host, pid)
  const environment = readEnvironment(host, pid)
  const rootPrefix = findRootPrefix(host, pid)
  const sockets = findSockets(host, pid, descriptors)
  const { dataRoot, isOurs } = findDataRoot(host, { kind, pid, args, descriptors })
  const dataPath = dataRoot === undefined || isOurs ? dataRoot : rootPrefix + dataRoot
  const mayBeRead = environment !== undefined || host.silent.has(`/proc/${pid}/environ`)
  const isHeld = host.silent.has(`/proc/${pid}/fd`)
  const isOpen = isHeld || (mayBeRead && descriptors.some(({ target }) => target !== ''))
  const places = { program, dataRoot, dataPath, rootPrefix, sockets }
  return { kind, process, starter, args, ...places, environment, isOpen }
}

/** A process in a mount namespace of its own is reached through /proc, whatever its paths mean here. */
export function findRootPrefix(host: HostView, pid: number): string {
  const own = host.link('/proc/self/ns/mnt')
  const its = host.link(`/proc/${pid}/ns/mnt`)
  const root = host.link(`/proc/${pid}/root`)
  return its === undefined || (its === own && (root === '/' || root === undefined)) ? '' : `/proc/${pid}/root`
}

const rootOptions = ['--data-root', '--root', '--graph', '-g']

interface DataRootQuestion extends Pick<Engine, 'kind' | 'args'> {
  readonly pid: number
  readonly descriptors: readonly Descriptor[]
}

/** The kernel names open files by the paths of whoever asks, as long as both see the same mounts. */
function findDataRoot(host: HostView, { kind, pid, args, descriptors }: DataRootQuestion) {
  const landmark = landmarks[kind]
  const found = descriptors.map(({ target }) => landmark?.exec(target)?.[1]).find(root => root !== undefined)
  const open = found === undefined ? undefined : asEngineNames(host, pid, found)
  const isOurs = open !== undefined && host.link(`/proc/${pid}/ns/mnt`) === host.link('/proc/self/ns/mnt')
  return { dataRoot: open ?? optionOf(args, rootOptions) ?? dataRoots[kind], isOurs }
}

/** A path of an open file as the engine itself names it: with a root of its own in mounts of its own, the kernel tells us the way from the top of those mounts. */
export function asEngineNames(host: HostView, pid: number, path: string): string {
  if (host.link(`/proc/${pid}/ns/mnt`) === host.link('/proc/self/ns/mnt')) return path
  const root = host.link(`/proc/${pid}/root`)
  return root !== undefined && root !== '/' && path.startsWith(`${root}/`) ? path.slice(root.length) : path
}

/** Flags of /proc/net/unix: `__SO_ACCEPTCON`, it listens. */
const listening = '00010000'
/** An engine listens on a handful, all of which are asked at a time. */
const socketsMax = 16

/**
 * Whoever binds a socket may have whole lines of this table in its name: of what it says twice nothing is taken, whether or not that listens. What is no Unix socket stands in no line of
 * it but such a one: so who answers there is asked, too, before he is believed (`isListenerOf`).
 */
function findSockets(host: HostView, pid: number, descriptors: readonly Descriptor[]): string[] {
  const inodes = new Set(descriptors.map(({ target }) => /^socket:\[(\d+)\]$/.exec(target)?.[1]))
  const told = (host.text(`/proc/${pid}/net/unix`) ?? '').split('\n').flatMap(line => {
    const [, flags, inode, path = ''] = /^\S+ \S+ \S+ (\S+) \S+ \S+ +(\d+)(?: (.*))?$/s.exec(line) ?? []
    return inode !== undefined && inodes.has(inode) ? [{ flags, inode, path }] : []
  })
  const counts = new Map<string, number>()
  for (const { inode } of told) counts.set(inode, (counts.get(inode) ?? 0) + 1)
  const own = told.filter(
    ({ flags, inode, path }) => flags === listening && path.startsWith('/') && counts.get(inode) === 1,
  )
  return [...new Set(own.map(({ path }) => path))].slice(0, socketsMax)
}

/** What makes a process another's: its user, and what it has of its own. `mounts` alone is what systemd and snap give to a daemon of root. */
export type Strangeness = 'user' | 'namespaces' | 'mounts' | 'root'

/**
 * Undefined if what the process is may be run here, with our rights: root or we started it, beside us, out of the same files. Anybody may call a program of his like an
 * engine, and so may a container; which namespaces a container has of its own differs: a monitor of nodes has the host's processes, and a root without a user namespace. What is not known of it is
 * not taken for good.
 */
export async function findStrangeness(host: HostView, pid: number): Promise<Strangeness | undefined> {
  const namespaceOf = (of: number | 'self', name: string) => host.link(`/proc/${of}/ns/${name}`)
  const isShared = (name: string) => {
    const its = namespaceOf(pid, name)
    return its !== undefined && its === namespaceOf('self', name)
  }
  const uids = readUids(host, pid)
  if (uids === undefined || !isTrusted(uids, host.uid)) return 'user'
  if (!['pid', 'user'].every(isShared)) return 'namespaces'
  if (!isShared('mnt')) {
    const areKnown = namespaceOf(pid, 'mnt') !== undefined && namespaceOf('self', 'mnt') !== undefined
    return areKnown ? 'mounts' : 'namespaces'
  }
  const root = `/proc/${pid}/root`
  if (host.link(root) !== '/') return 'root'
  // The kernel calls the root of what was unmounted so, too.
  return host.disk.isOne === undefined || (await host.disk.isOne(root, '/')) === true ? undefined : 'root'
}

export async function isOfHost(host: HostView, pid: number): Promise<boolean> {
  return (await findStrangeness(host, pid)) === undefined
}

/** The file that an engine runs, by a name under which it may be run here: beside users, mounts or a root of its own it may still be one of the host. */
async function findRunnable(host: HostView, pid: number, program: string): Promise<Runnable> {
  const running = `/proc/${pid}/exe`
  // Of a record nothing is run: its script has judged that.
  if (host.disk.isOne === undefined) return { path: running }
  if (await isOfHost(host, pid)) {
    // What root or we run may be another's, who has changed it since, or what it loads.
    const { uid, mode } = (await host.disk.file(running)) ?? {}
    if (uid === undefined || mode === undefined) return { path: undefined }
    const stranger = judgeOwner(program, { uid, mode })
    return stranger === undefined ? { path: running } : { path: undefined, stranger }
  }
  if ((await host.disk.isOne(running, program)) !== true) return { path: undefined }
  const stranger = await host.disk.strangerAt?.(program)
  return stranger === 'nobody' ? { path: program } : { path: undefined, stranger }
}

interface Runnable {
  readonly path: string | undefined
  /** Who may have put it there, if that is known to be the reason why it may not be run. */
  readonly stranger?: Stranger | undefined
}

/** Root's, or that of who looks. */
export function isTrusted(
  { real, effective }: { readonly real: number; readonly effective: number },
  own = process.geteuid?.(),
): boolean {
  return [real, effective].every(uid => uid === 0 || uid === own)
}

/** Asks the engine on one of its sockets, and nobody else who may have put himself there. */
export function askEngine(
  host: HostView,
  { process: { pid }, rootPrefix }: Pick<FoundEngine, 'process' | 'rootPrefix'>,
  socket: string,
  path: string,
): Promise<SocketAnswer | undefined> {
  return host.ask(`${rootPrefix}${socket}`, path, socketOf(host, pid))
}

/** One of an engine's sockets, held, for those who ask by another protocol. */
export async function holdSocketOf(
  host: HostView,
  { process: { pid }, rootPrefix }: Pick<FoundEngine, 'process' | 'rootPrefix'>,
  socket: string,
): Promise<HeldSocket | undefined> {
  return await host.holdSocket?.(`${rootPrefix}${socket}`, socketOf(host, pid))
}

function askEach(host: HostView, engine: FoundEngine, path: string) {
  return engine.sockets.map(socket => askEngine(host, engine, socket, path))
}

/** Of a process that may be anybody's only his own are asked: what stands at the path of one may lead elsewhere. */
function socketOf(host: HostView, pid: number): MeantSocket {
  const uids = readUids(host, pid)
  const owner = uids === undefined || isTrusted(uids) ? undefined : uids.effective
  return { owner, isListener: listener => isListenerOf(host, pid, listener) }
}

/** Whether it is the engine that listens there, or what has started it and listened for it, as systemd does. */
export function isListenerOf(host: HostView, pid: number, listener: Listener): boolean {
  // A number may have been another's before.
  if (listener.uid !== 0 && listener.uid !== readUids(host, pid)?.effective) return false
  const seen = new Set<number>()
  for (let at = pid; at > 0 && !seen.has(at); at = readProcess(at, host)?.parent ?? 0) {
    if (at === listener.pid) return true
    seen.add(at)
  }
  return false
}

/** Docker is asked; others tell it on their command line, by the very file that runs. */
async function readVersion(host: HostView, engine: FoundEngine): Promise<Pick<Engine, 'version' | 'stranger'>> {
  const { kind, process, starter = process.pid, program } = engine
  if (kind === 'dockerd' && !/[Tt]/.test(process.state)) {
    const answers = await Promise.all(askEach(host, engine, '/version'))
    const versions = answers.map(answer => /"Version":"([^"]+)","ApiVersion"/.exec(answer?.body ?? '')?.[1])
    const version = versions.find(version => version !== undefined)
    if (version !== undefined) return { version }
  }
  if (program === undefined || basename(program.replace(/ \(deleted\)$/, '')) !== kind) return { version: undefined }
  const { path, stranger } = await findRunnable(host, starter, program)
  const told = path && (await host.tell(path, ['--version']))
  return { version: /\bv?(\d+\.\d+[\w.+~-]*)/.exec(told ?? '')?.[1], stranger }
}

async function findDecompressors(
  host: HostView,
  engine: Pick<Engine, 'kind' | 'version' | 'environment' | 'rootPrefix'>,
): Promise<EngineDecompressor[]> {
  const version = Number.parseFloat(engine.version ?? '')
  const wanted = runs[engine.kind].filter(({ since }) => since === undefined || !isOlder(engine.version, since))
  return await Promise.all(
    wanted.map(async ({ name, variable }) => {
      const value = variable === undefined ? undefined : engine.environment?.get(variable)
      const path = await findProgram(host, engine, name)
      return { name, path, variable, value, use: useOf(engine, path, value, Number.isNaN(version)) }
    }),
  )
}

function useOf(
  { environment }: Pick<Engine, 'environment'>,
  path: string | undefined,
  value: string | undefined,
  isVersionUnknown: boolean,
): EngineDecompressor['use'] {
  if (environment === undefined) return 'unknown'
  if (value !== undefined && value !== '') {
    const isDisabled = parseGoBool(value)
    if (isDisabled === undefined) return 'invalid-value'
    if (isDisabled) return 'disabled'
  }
  if (path === undefined) return 'not-found'
  return isVersionUnknown ? 'unknown' : 'used'
}

/** True for one that looks its decompressor up once: containerd and what has its code, at the first layer; dockerd to 19.03. A program of one command is new each time. */
export function remembersDecompressor({ kind, version }: Pick<Engine, 'kind' | 'version'>): boolean {
  if (kind === 'dockerd') return isOlder(version, 20.1)
  return kind !== 'podman' && kind !== 'skopeo' && kind !== 'buildah'
}

/** True if the version is known, and lower than `than`, a number like 5.2. */
export function isOlder(version: string | undefined, than: number): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(version ?? '') ?? []
  if (major === undefined) return false
  const [wantedMajor = 0, wantedMinor = 0] = String(than).split('.').map(Number)
  return Number(major) < wantedMajor || (Number(major) === wantedMajor && Number(minor) < wantedMinor)
}

const executable = 0o111
/** storage.conf(5), what counts most first. */
const storageFiles = ['/etc/containers/storage.conf', '/usr/share/containers/storage.conf']

/** The same engine with where podman and its kin keep images: they hold nothing open there, and have it from a file if no option names it. */
export async function withGraphRoot(host: HostView, found: FoundEngine): Promise<FoundEngine> {
  const { kind, args, environment, rootPrefix } = found
  if (dataRoots[kind] !== dataRoots.podman) return found
  const { images, temporary } =
    kind === 'crio' ? await readCrioPlaces(host, found, path => askEach(host, found, path)) : {}
  const engine = temporary === undefined ? found : { ...found, temporary }
  if (images !== undefined) return { ...engine, dataRoot: images, dataPath: rootPrefix + images }
  if (optionOf(args, rootOptions) !== undefined) return engine
  const own = ownStorageOf(host, engine)
  const named = environment?.get('CONTAINERS_STORAGE_CONF')
  const at = (root: string) => ({ ...engine, dataRoot: root, dataPath: rootPrefix + root })
  for (const file of named === undefined || named === '' ? (own?.files ?? storageFiles) : [named]) {
    const text = await host.disk.text(rootPrefix + file)
    const [, root] = /^\s*graphroot\s*=\s*"([^"]+)"/m.exec(text ?? '') ?? []
    if (root !== undefined) return at(root)
    // Whoever cannot read it does not take another disk for the engine's.
    if (host.disk.silent.has(rootPrefix + file) || host.disk.unasked?.has(rootPrefix + file))
      return { ...engine, dataRoot: undefined, dataPath: undefined }
  }
  return own === undefined ? engine : at(own.graphRoot)
}

/** Of a user who is not root: the host's graphroot is not his. */
function ownStorageOf(host: HostView, { process, environment }: FoundEngine) {
  const home = environment?.get('HOME')
  if (home === undefined || (readUids(host, process.pid)?.effective ?? 0) === 0) return undefined
  const below = (name: string, usual: string) => join(environment?.get(name) || join(home, usual), 'containers/storage')
  return { files: [`${below('XDG_CONFIG_HOME', '.config')}.conf`], graphRoot: below('XDG_DATA_HOME', '.local/share') }
}

/** What Go's exec.LookPath gets; where PATH is not set: nothing. */
export async function findProgram(
  host: HostView,
  { environment, rootPrefix }: Pick<Engine, 'environment' | 'rootPrefix'>,
  name: string,
): Promise<string | undefined> {
  const directories = (environment?.get('PATH') ?? '').split(':').filter(isAbsolute)
  for (const path of directories.map(directory => join(directory, name))) {
    const file = await host.disk.file(rootPrefix + path)
    if (file !== undefined && (file.mode & 0o170000) === 0o100000 && (file.mode & executable) !== 0) return path
  }
  return undefined
}

/** What of an environment says something about pulls; anything else may be a secret. */
const toldVariables =
  /^(PATH|LANG|LC_ALL|TMPDIR|DOCKER_TMPDIR|CONTAINERS_STORAGE_CONF|GODEBUG|GOMAXPROCS|PIGZ|GZIP|MOBY_\w+|CONTAINERD_\w+|(https?|no|all)_proxy)$/i

/** The environment of the running process, as far as it matters for pulls, without credentials. */
export function settingsOf({ environment }: Pick<Engine, 'environment'>): Readonly<Record<string, string>> {
  const told = [...(environment ?? [])].filter(([name]) => toldVariables.test(name))
  return Object.fromEntries(told.map(([name, value]) => [name, hideInSetting(name, value)]))
}

/** Proxies of the engine, as it has them. */
export function proxiesOf({ environment }: Engine): [name: string, value: string][] {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap(name => [name, name.toLowerCase()])
  return names.flatMap(name => {
    const value = environment?.get(name)
    return value === undefined || value === '' ? [] : [[name, hideInSetting(name, value)]]
  })
}
