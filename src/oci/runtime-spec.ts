import { posix } from 'node:path'
import { WindlassError } from '../errors.ts'
import type { ContainerConfig, ImageConfig } from './image-config.ts'
import { quote } from './quote.ts'
import { parseUser, type UserLookup } from './user.ts'

export interface RuntimeOptions {
  /** The root filesystem, absolute or relative to the bundle's directory. */
  readonly rootPath: string
  /** Replaces the image's Cmd; the Entrypoint stays, as in `docker run`. */
  readonly args?: readonly string[]
  /** The users and groups of the image's /etc; without it only numbers can be used. */
  readonly users?: UserLookup
  readonly hostname?: string
  /** An ordinary user's container gets a user namespace with these IDs. */
  readonly idMaps?: { readonly uids: readonly IdMapping[]; readonly gids: readonly IdMapping[] } | undefined
}

/** `count` IDs from `inner` on in the container are those from `outer` on outside. */
interface IdMapping {
  readonly inner: number
  readonly outer: number
  readonly count: number
}

/** An OCI runtime-spec 1.0 configuration, ready for `JSON.stringify` into a bundle's `config.json`. */

/**
 * The `config.json` with which runc or crun, started by root, run a container of the image: docker's default capabilities, mounts and
 * masked paths; own pid, network, ipc, uts and mount namespaces; no seccomp profile. Labels do not become annotations: runtimes
 * obey some of those, and an image must not command its runtime.
 * @throws WindlassError FAILED if the image's User is not to be found
 */
export function runtimeConfig(image: ImageConfig, { rootPath, args, users, hostname, idMaps }: RuntimeOptions) {
  const { config } = image
  const user = parseUser(config.User ?? '', users)
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: user.uid, gid: user.gid, additionalGids: isSingle(idMaps) ? [] : user.additionalGids },
      args: commandOf(config, args),
      env: environmentOf(config, user.home),
      cwd: workingDirectoryOf(config),
      capabilities: capabilitiesOf(user.uid),
      noNewPrivileges: false,
    },
    root: { path: rootPath, readonly: false },
    hostname: hostname ?? 'windlass',
    mounts: idMaps === undefined ? mounts : mounts.flatMap(mount => adaptMount(mount, isSingle(idMaps))),
    linux: {
      ...(idMaps === undefined ? forRoot : forUser(idMaps)),
      maskedPaths,
      readonlyPaths,
    },
  }
}

function commandOf({ Entrypoint = [], Cmd = [] }: ContainerConfig, args: readonly string[] = Cmd): readonly string[] {
  const command = [...Entrypoint, ...args]
  if (command.some(word => word.includes('\0'))) {
    throw new WindlassError(
      'CORRUPT',
      `Cannot start ${quote(command.join(' '))}: it holds a NUL; no program can be given one`,
    )
  }
  return command.length === 0 ? ['sh'] : command
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Entries that are no `NAME=value` are left out: runtimes refuse to start with them. */
function environmentOf({ Env = [] }: ContainerConfig, home: string): readonly string[] {
  const given = Env.filter(entry => entry.indexOf('=') > 0 && !entry.includes('\0'))
  const isMissing = (entry: string) => !given.some(other => other.startsWith(entry.slice(0, entry.indexOf('=') + 1)))
  return [...given, ...[defaultPath, `HOME=${home}`].filter(isMissing)]
}

/** Absolute and without `..`, as the runtime-spec wants it. */
function workingDirectoryOf({ WorkingDir = '' }: ContainerConfig): string {
  return posix.resolve('/', WorkingDir.replaceAll('\0', ''))
}

const dockerCapabilities = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
]

/**
 * Only root holds them from the start; others may gain them through setuid programs, as in docker. Nothing is inheritable
 * (CVE-2022-24769).
 */
function capabilitiesOf(uid: number) {
  const held = uid === 0 ? dockerCapabilities : []
  return { bounding: dockerCapabilities, effective: held, permitted: held, inheritable: [], ambient: [] }
}

const mounts = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
  },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    // The kernel gives new terminals to this group; 5 is tty wherever docker runs.
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
  {
    destination: '/dev/shm',
    type: 'tmpfs',
    source: 'shm',
    options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
  },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
  {
    destination: '/sys/fs/cgroup',
    type: 'cgroup',
    source: 'cgroup',
    options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
  },
]

const namespaces = ['pid', 'network', 'ipc', 'uts', 'mount'].map(type => ({ type }))

const forRoot = { resources: { devices: [{ allow: false, access: 'rwm' }] }, namespaces }

/** No limits by a control group, which an ordinary user may not make; devices that are not the user's stay closed without. */
function forUser({ uids, gids }: NonNullable<RuntimeOptions['idMaps']>) {
  const format = ({ inner, outer, count }: IdMapping) => ({ containerID: inner, hostID: outer, size: count })
  return {
    namespaces: [...namespaces, { type: 'user' }],
    uidMappings: uids.map(format),
    gidMappings: gids.map(format),
  }
}

/** Groups cannot be changed where there is but one ID. */
function isSingle(idMaps: RuntimeOptions['idMaps']): boolean {
  return idMaps !== undefined && idMaps.gids.length === 1
}

function adaptMount(mount: (typeof mounts)[number], isSingle: boolean): (typeof mounts)[number][] {
  if (mount.type === 'cgroup') return []
  const options = isSingle ? mount.options.filter(option => !option.startsWith('gid=')) : mount.options
  return [{ ...mount, options }]
}

/** Files through which a container could read or disturb the host's kernel. */
const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
]

const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']
