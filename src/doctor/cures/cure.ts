/** What can be done so that the next pull does not hang: the cures of one engine, smallest first. Planned from facts alone. */
import { basename, dirname, join } from 'node:path'
import { isProgramName, parseGoBool } from '../../codec/external/programs.ts'
import { formatReference, parseReference } from '../../oci/reference.ts'
import type { HostView } from '../../sys/host-view.ts'
import { findClientPulls } from '../clients.ts'
import { askEngine, type Engine, type FoundEngine, holdSocketOf, isOfHost, remembersDecompressor } from '../engines.ts'
import type { FileChange } from './file-change.ts'
import { formatShim } from './shim-file.ts'
import { type EngineUnit, findUnit, listFollowers } from './unit.ts'

type CureKind = 'deliver' | 'shim' | 'disable' | 'restart'

export interface Cure {
  /** `shim-dockerd`; with the process ID behind it where several engines of a kind run. */
  readonly id: string
  readonly kind: CureKind
  readonly engine: Engine
  /** Of systemd, if it is that which is changed or restarted. */
  readonly unit?: string | undefined
  readonly title: string
  readonly changes: readonly FileChange[]
  /** Command lines that are run after the changes, and after they are undone. */
  readonly commands: readonly (readonly string[])[]
  /** What it reaches, and can break. */
  readonly reaches: string
  readonly effect: string
  readonly undo: string
  /** Why it cannot be done here, and what can be done instead. */
  readonly obstacle: string | undefined
  /** Of `deliver`. */
  readonly delivery?: Delivery | undefined
}

/** An image that is brought in without the engine's decompressor. */
interface Delivery {
  /** The engine's, as we reach it. */
  readonly socket: string
  readonly reference: string
  /** Of containerd. */
  readonly namespace: string | undefined
  /** That of this host if undefined. */
  readonly platform: string | undefined
}

/** An image that may be the one that hangs. */
interface WantedImage extends Omit<Delivery, 'socket'> {
  /** Its client pulls several at once, and it is not told which of them hangs. */
  readonly isOfMany: boolean
}

/** What of the host decides how a cure looks. */
export interface CureFacts {
  /** Root or we have started it, beside us. What is only called like an engine gets nothing, and no credentials. */
  readonly isOfHost: boolean
  /** Of the engine, if this host's systemd started it: `docker.service`. */
  readonly unit: string | undefined
  /** Why it has none that can be used, where more is known than that systemd has not started it. */
  readonly unitObstacle?: string | undefined
  /** The services that systemd stops or restarts with it; undefined where that is not known. */
  readonly followers?: readonly string[] | undefined
  /** Where the shim of each decompressor can be put, and what is there. */
  readonly shims: readonly ShimPlace[]
  /** Settings file of an init that is no systemd. */
  readonly settings: { readonly path: string; readonly content: string } | undefined
  readonly containers: number | undefined
  readonly isLiveRestore: boolean | undefined
  /** On which the engine's API answers, as we reach it. */
  readonly socket: string | undefined
  readonly images: readonly WantedImage[]
  /** Of containerd, where it is not known in which the image is wanted; undefined if it does not tell. */
  readonly namespaces?: readonly string[] | undefined
}

interface ShimPlace {
  readonly name: string
  /** As the engine names it; undefined if no directory comes before the decompressor's own. */
  readonly path: string | undefined
  /** gzip, as the engine finds it. */
  readonly gzip: string | undefined
}

export function planCures(engine: Engine, suffix: string, facts: CureFacts): Cure[] {
  return [planDeliver, planShim, planDisable, planRestart].map(plan => plan(engine, suffix, facts))
}

const sinks: Readonly<Partial<Record<Engine['kind'], string>>> = { dockerd: 'docker', containerd: 'containerd' }

function planDeliver(engine: Engine, suffix: string, facts: CureFacts): Cure {
  const { socket, images } = facts
  const [image] = images
  const obstacle = deliverObstacle(engine, facts)
  const isPossible = obstacle === undefined && socket !== undefined && image !== undefined
  const named = isPossible ? describeImage(image) : 'the image'
  return {
    id: `deliver-${suffix}`,
    kind: 'deliver',
    engine,
    title: `bring ${named} in without the decompressor of the engine`,
    changes: [],
    commands: isPossible ? [pullCommand(engine, image)] : [],
    reaches: 'this one image; the layers are fetched again, and a pull that hangs goes on to hang',
    effect: 'at once',
    undo: 'names that were not there before are removed, and one that stood for another image gets that back',
    obstacle,
    delivery: isPossible ? { socket, ...image } : undefined,
  }
}

/** What the user could run. */
function pullCommand({ kind }: Engine, { reference, namespace, platform }: Omit<Delivery, 'socket'>): string[] {
  const into = [sinks[kind], namespace].filter(word => word !== undefined).join(':')
  const chosen = platform === undefined ? [] : ['--platform', platform]
  return ['windlass', 'pull', ...chosen, reference, '--into', into]
}

function describeImage({ reference, namespace, platform }: Omit<Delivery, 'socket'>): string {
  const where = namespace === undefined ? '' : ` in ${namespace}`
  return `${reference}${platform === undefined ? '' : ` for ${platform}`}${where}`
}

const strange = 'the engine is neither of root nor your own, or has a root or namespaces of its own'

function deliverObstacle(engine: Engine, facts: CureFacts): string | undefined {
  const { socket, images, namespaces } = facts
  const { kind, rootPrefix } = engine
  if (kind === 'podman') return 'each pull is an engine of its own: windlass pull --into podman REF'
  if (sinks[kind] === undefined) return `images are not brought into ${kind} yet`
  if (kind === 'containerd' && rootPrefix !== '')
    return 'the engine lives in a root of its own, in which its snapshots are: run windlass there'
  if (!facts.isOfHost)
    return `${strange}, and would get your credentials: as its user, beside it, windlass pull --into ${sinks[kind]} REF`
  if (socket === undefined) return 'its API answers on no socket that is safe from others'
  const [image, another] = images
  if (image === undefined) return 'no client of this user waits for a pull: name the image with --image REF'
  if (another !== undefined) return tooMany(kind, images)
  if (image.isOfMany) {
    const [, , ...rest] = pullCommand(engine, { ...image, platform: 'OS/ARCH' })
    return `its client pulls several images, all tags or several platforms of ${image.reference}: windlass pull ${rest.join(' ')} brings one of them in`
  }
  if (kind !== 'containerd' || image.namespace !== undefined) return undefined
  const known =
    namespaces === undefined ? 'containerd does not tell which it has' : `there are ${namespaces.join(', ')}`
  return `it is not known in which namespace ${image.reference} is wanted (${known}): say it with CONTAINERD_NAMESPACE`
}

function tooMany(kind: Engine['kind'], images: readonly WantedImage[]): string {
  const all = images.map(describeImage).join(', ')
  const how = kind === 'containerd' ? '--image REF, its namespace with CONTAINERD_NAMESPACE' : '--image REF'
  return `several pulls wait (${all}): name one with ${how}`
}

function planShim(engine: Engine, suffix: string, facts: CureFacts): Cure {
  const { shims, isOfHost } = facts
  const places = shims.filter((place): place is ShimPlace & { path: string; gzip: string } => {
    return isOfHost && engine.rootPrefix === '' && place.path !== undefined && place.gzip !== undefined
  })
  return {
    id: `shim-${suffix}`,
    kind: 'shim',
    engine,
    title: 'gzip in the place of the decompressor, earlier in the PATH of the engine',
    changes: places.map(({ path, gzip }) => ({
      path,
      before: undefined,
      after: formatShim(gzip, nameOf(engine)),
      mode: 0o755,
    })),
    commands: [],
    reaches:
      'every program of this host that looks for it along the same PATH; one processor instead of several, so slower',
    effect: remembersDecompressor(engine)
      ? 'after a restart: this engine looks it up once'
      : 'at once: the engine looks it up for each layer',
    undo: 'the file is removed',
    obstacle: places.length > 0 ? undefined : obstacleOf(engine, facts),
  }
}

function obstacleOf({ rootPrefix }: Engine, { shims, isOfHost }: CureFacts): string {
  if (rootPrefix !== '') return 'the engine lives in a root of its own, which goes with it: put the shim there by hand'
  if (!isOfHost) return strange
  if (shims.length === 0) return 'this engine runs no decompressor'
  if (shims.some(({ gzip }) => gzip === undefined))
    return 'there is no gzip on the PATH of the engine that is a program of its own'
  return 'no directory on the PATH of the engine comes before that of its decompressor and is free, its own and safe'
}

function planDisable(engine: Engine, suffix: string, facts: CureFacts): Cure {
  const { unit } = facts
  const variables = variablesOf(engine)
  const obstacle = disableObstacle(engine, variables, facts)
  return {
    id: `disable-${suffix}`,
    kind: 'disable',
    engine,
    unit,
    title: `the engine decompresses by itself: ${settingOf(variables) || 'no variable does that'}`,
    changes: obstacle === undefined ? changesOf(variables, facts) : [],
    commands: unit === undefined ? [] : [['systemctl', 'daemon-reload']],
    reaches: `${nameOf(engine)} alone, which decompresses on one processor then`,
    effect: `after a restart of the engine, which is not done here (restart-${suffix})`,
    undo: 'the file is removed, or gets its old content',
    obstacle,
  }
}

function settingOf(variables: readonly string[]): string {
  return variables.map(name => `${name}=true`).join(' ')
}

function changesOf(variables: readonly string[], { unit, settings }: CureFacts): FileChange[] {
  if (unit !== undefined) {
    const lines = variables.map(name => `Environment=${name}=true\n`).join('')
    const path = `/etc/systemd/system/${unit}.d/windlass-no-decompressor.conf`
    return [{ path, before: undefined, after: `# Made by windlass.\n[Service]\n${lines}`, mode: 0o644 }]
  }
  if (settings === undefined) return []
  const { path, content } = settings
  const missing = variables.filter(name => !isExported(content, name))
  const exported = missing.map(name => `export ${name}=true\n`).join('')
  return [{ path, before: content, after: `${withEnd(content)}${exported}`, mode: 0o644 }]
}

/** Whether a file that the shell reads gives a variable to what is started: the last line that sets it counts. */
function isExported(content: string, name: string): boolean {
  const lines = [...content.matchAll(/^[ \t]*(export[ \t]+)?(\w+)=["']?(\w*)["']?[ \t]*(?:#.*)?$/gm)]
  const [, exported, , value = ''] = lines.findLast(([, , variable]) => variable === name) ?? []
  return exported !== undefined && parseGoBool(value) === true
}

/** Those that forbid it its decompressors. */
export function variablesOf({ decompressors }: Engine): string[] {
  return decompressors.flatMap(({ variable }) => (variable === undefined ? [] : [variable]))
}

function disableObstacle(engine: Engine, variables: readonly string[], facts: CureFacts): string | undefined {
  const { unit, unitObstacle, settings: file, isOfHost } = facts
  if (variables.length === 0) return `${engine.kind} reads no variable that forbids it its decompressor`
  const settings = settingOf(variables)
  if (unitObstacle !== undefined) return `${unitObstacle}; put ${settings} into its environment`
  if (engine.rootPrefix !== '' || !isOfHost) return strangerObstacle(settings)
  if (unit !== undefined) return undefined
  if (file === undefined) return strangerObstacle(settings)
  if (!isText(file)) return `${file.path} is not in UTF-8: put ${settings} into it by hand`
  if (variables.every(name => isExported(file.content, name)))
    return `${file.path} has it already (${settings}); it takes effect when the engine is restarted`
  return undefined
}

function strangerObstacle(settings: string): string {
  return `neither systemd nor an init that is known has started it: put ${settings} into the environment of whatever does`
}

/** Bytes that are no UTF-8 have become this character, and would stay it. */
function isText({ content }: NonNullable<CureFacts['settings']>): boolean {
  return !content.includes('\uFFFD')
}

function withEnd(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`
}

function planRestart(engine: Engine, suffix: string, facts: CureFacts): Cure {
  const { unit, unitObstacle, containers, isLiveRestore } = facts
  const isKept = engine.kind === 'containerd' || isLiveRestore === true
  const count = containers === undefined ? 'an unknown number of' : String(containers)
  const fate = isKept ? 'go on' : 'ARE STOPPED (live-restore is off)'
  return {
    id: `restart-${suffix}`,
    kind: 'restart',
    engine,
    unit,
    title: `restart ${unit ?? nameOf(engine)}`,
    changes: [],
    commands: unit === undefined ? [] : [['systemctl', 'restart', unit]],
    reaches: `all pulls and builds of this engine are broken off; ${count} running containers ${fate}${tellFollowers(facts)}`,
    effect: 'at once',
    undo: 'there is none',
    obstacle:
      unit === undefined ? (unitObstacle ?? 'systemd has not started it: restart it with whatever does') : undefined,
  }
}

/** docker-ce 18.09 to 19.03 binds docker.service to containerd.service, so that the restart of one stops the containers of the other. */
function tellFollowers({ unit, followers }: CureFacts): string {
  if (unit === undefined || followers?.length === 0) return ''
  if (followers === undefined) return '; what systemd stops with it is not known'
  return `; SYSTEMD STOPS OR RESTARTS ${followers.join(', ')} WITH IT, and what they run may stop`
}

export function nameOf({ kind, process }: FoundEngine): string {
  return `${kind} ${process.pid}`
}

interface ImageChoice {
  /** That the user names. */
  readonly image?: string | undefined
  /** Of containerd, that the user names: the one of an image for which no client waits. */
  readonly namespace?: string | undefined
}

/** Everything about the host that `planCures` wants to know of one engine. */
export async function readCureFacts(host: HostView, engine: Engine, choice: ImageChoice = {}): Promise<CureFacts> {
  const [isBooted, isHosts] = await Promise.all([hasSystemd(host), isOfHost(host, engine.process.pid)])
  const { unit, obstacle: unitObstacle }: EngineUnit = isBooted ? await findUnit(host, engine) : {}
  const info = engine.kind === 'dockerd' ? await askDocker(host, engine) : {}
  return {
    isOfHost: isHosts,
    unit,
    unitObstacle,
    followers: unit === undefined ? undefined : await listFollowers(host, unit),
    shims: await Promise.all(
      engine.decompressors
        .filter(({ path }) => path !== undefined)
        .map(({ name, path = '' }) => findShimPlace(host, engine, name, path)),
    ),
    settings: isBooted ? undefined : await findSettings(host, engine),
    containers: info.containers,
    isLiveRestore: info.isLiveRestore,
    ...(await findDelivery(host, engine, choice)),
  }
}

async function findDelivery(host: HostView, engine: Engine, choice: ImageChoice) {
  const socket = await findApi(host, engine)
  const images = await findImages(host, engine, choice)
  const isUnknown = engine.kind === 'containerd' && images.some(({ namespace }) => namespace === undefined)
  if (!isUnknown || socket === undefined) return { socket, images }
  const { defaultNamespace, readNamespaces } = await import('./engine-names.ts')
  const namespaces = await readNamespaces(socket)
  if (namespaces === undefined || namespaces.length > 1) return { socket, images, namespaces }
  const [only = defaultNamespace] = namespaces
  return { socket, images: images.map(image => ({ ...image, namespace: image.namespace ?? only })) }
}

/** What clients of this engine are pulling, or what of that the user names: as it is asked for, in its namespace, for its platform. */
async function findImages(
  host: HostView,
  engine: Engine,
  { image: named, namespace }: ImageChoice,
): Promise<WantedImage[]> {
  const chosen = engine.kind === 'containerd' ? namespace : undefined
  const wanted = named === undefined ? undefined : formatReference(parseReference(named))
  const pulls = (await findClientPulls(host, engine)).filter(
    ({ reference }) => wanted === undefined || formatReference(reference) === wanted,
  )
  if (named !== undefined && pulls.length === 0)
    return [{ reference: named, namespace: chosen, platform: undefined, isOfMany: false }]
  const found = new Map(
    pulls.map(({ text, reference, namespace: its = chosen, platform, isOfMany }) => {
      const image = { reference: named ?? text, namespace: its, platform, isOfMany }
      return [JSON.stringify({ ...image, reference: formatReference(reference) }), image]
    }),
  )
  const all = [...found.values()]
  const there = all.filter(image => image.namespace === chosen)
  return chosen === undefined || there.length === 0 ? all : there
}

/** Among the sockets of an engine there are some that speak another protocol. The image, and for dockerd the credentials, go to whoever listens there then: so nobody else may put himself there. */
async function findApi(host: HostView, engine: Engine): Promise<string | undefined> {
  for (const socket of engine.sockets) {
    const path = `${engine.rootPrefix}${socket}`
    if ((await isOwn(host, path)) && (await speaksApi(host, engine, socket))) return path
  }
  return undefined
}

async function speaksApi(host: HostView, engine: Engine, socket: string): Promise<boolean> {
  if (engine.kind === 'dockerd')
    return (await askEngine(host, engine, socket, '/version'))?.body.includes('"ApiVersion"') === true
  if (engine.kind !== 'containerd') return false
  const { findContainerd } = await import('./engine-names.ts')
  await using held = await holdSocketOf(host, engine, socket)
  return held !== undefined && (await findContainerd([held.place])) !== undefined
}

/** Nobody but root and us may change what stands there. */
async function isOwn(host: HostView, path: string): Promise<boolean> {
  return (await host.disk.strangerAt?.(path)) === 'nobody'
}

const typeMask = 0o170000
const directoryType = 0o040000
const regularType = 0o100000

/** sd_booted(3): the directory is there, and often empty. */
export async function hasSystemd(host: HostView): Promise<boolean> {
  const facts = await host.disk.file('/run/systemd/system')
  return facts !== undefined && (facts.mode & typeMask) === directoryType
}

async function askDocker(host: HostView, engine: Engine) {
  for (const socket of engine.sockets) {
    const answer = await askEngine(host, engine, socket, '/info')
    const [, containers] = /"ContainersRunning":(\d+)/.exec(answer?.body ?? '') ?? []
    const [, live] = /"LiveRestoreEnabled":(true|false)/.exec(answer?.body ?? '') ?? []
    if (containers !== undefined) return { containers: Number(containers), isLiveRestore: live === 'true' }
  }
  return {}
}

/** sysvinit and openrc source these before they start the daemon. */
const settingsOf: Readonly<Partial<Record<Engine['kind'], readonly string[]>>> = {
  dockerd: ['/etc/default/docker', '/etc/conf.d/docker'],
  containerd: ['/etc/default/containerd', '/etc/conf.d/containerd'],
}

async function findSettings(host: HostView, { kind, rootPrefix }: Engine) {
  if (rootPrefix !== '') return undefined
  for (const path of settingsOf[kind] ?? []) {
    const content = await host.disk.text(path)
    if (content !== undefined) return { path, content }
  }
  return undefined
}

async function findShimPlace(host: HostView, engine: Engine, name: string, found: string): Promise<ShimPlace> {
  const directories = (engine.environment?.get('PATH') ?? '').split(':').filter(directory => directory.startsWith('/'))
  const before = directories.slice(0, directories.indexOf(dirname(found)))
  let path: string | undefined
  for (const directory of before) {
    const facts = await host.disk.file(engine.rootPrefix + directory)
    const isDirectory = facts !== undefined && (facts.mode & typeMask) === directoryType
    const isSafe = isDirectory && (await isOwn(host, engine.rootPrefix + directory))
    // Its name alone: a link to what is not mounted now is somebody's, too.
    if (isSafe && !(await host.disk.names(engine.rootPrefix + directory)).includes(name)) {
      path = join(directory, name)
      break
    }
  }
  return { name, path, gzip: await findGzip(host, engine, directories) }
}

/** gzip itself: on some hosts it is a link to one of the programs that the shim is to stand for. */
async function findGzip(host: HostView, { rootPrefix, decompressors }: Engine, directories: readonly string[]) {
  const paths = decompressors.flatMap(({ path }) => (path === undefined ? [] : [path]))
  const sick = await Promise.all(paths.map(path => host.disk.file(rootPrefix + path)))
  for (const directory of directories) {
    const place = join(rootPrefix + directory, 'gzip')
    const facts = await host.disk.file(place)
    const isProgram = facts !== undefined && (facts.mode & typeMask) === regularType && (facts.mode & 0o111) !== 0
    if (!isProgram || sick.some(other => other?.inode === facts.inode && other?.ctimeMs === facts.ctimeMs)) continue
    if (!(await isOwn(host, place))) continue
    const name = basename((await host.disk.realPath?.(place)) ?? '')
    if (name === 'gzip' || (name !== '' && !isProgramName(name))) return join(directory, 'gzip')
  }
  return undefined
}
