/** What is mounted, and the overlay mount with its short relative paths. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { SystemError } from './libc.ts'
import { startThread } from './thread.ts'
import { isInUserNamespace } from './user-namespace.ts'

/** One line of mountinfo, proc_pid_mountinfo(5). */
export interface MountPoint {
  readonly target: string
  /** `major:minor` of what lies below it, as in /proc/diskstats; `0:N` where that is no block device. */
  readonly device: string
  /** Options of this mount, such as `ro` and `nosuid`. */
  readonly options: readonly string[]
  readonly type: string
  /** What stands where a device would: free text for overlay and tmpfs. */
  readonly source: string
  /** Options of the filesystem itself: `ro` where the kernel gave it up after an error. */
  readonly superOptions: readonly string[]
}

/** The mounts of a process's mount namespace, oldest first. */
export function readMounts(process: number | 'self' = 'self'): MountPoint[] {
  return parseMountInfo(readFileSync(`/proc/${process}/mountinfo`, 'utf8'))
}

/** Reads mountinfo, in which names are what they are, but for a few bytes. */
export function parseMountInfo(text: string): MountPoint[] {
  return text.split('\n').flatMap(line => {
    const fields = line.split(' ')
    const separator = fields.indexOf('-', 6)
    const [target, options, type, source] = [fields[4], fields[5], fields[separator + 1], fields[separator + 2]]
    const superOptions = (fields[separator + 3] ?? '').split(',')
    if (separator < 0 || target === undefined || type === undefined || source === undefined) return []
    const names = { target: decodeField(target), device: fields[2] ?? '', type, source: decodeField(source) }
    return [{ ...names, options: (options ?? '').split(','), superOptions }]
  })
}

/** The kernel writes space, tab, newline and backslash as three octal digits; filesystems in user space may do so with any byte. */
function decodeField(field: string): string {
  return field.replace(/(?:\\[0-7]{3})+/g, run =>
    Buffer.from(
      run
        .slice(1)
        .split('\\')
        .map(octal => Number.parseInt(octal, 8)),
    ).toString(),
  )
}

/** The mounts of all mount namespaces that some process lives in and that may be looked into: containers and services have their own. */
export function readMountsEverywhere(): MountPoint[] {
  const mounts = readMounts()
  const seen = new Set([namespaceOf('self')])
  for (const name of readdirSync('/proc')) {
    const namespace = /^[0-9]+$/.test(name) ? namespaceOf(name) : undefined
    if (namespace === undefined || seen.has(namespace)) continue
    try {
      mounts.push(...readMounts(Number(name)))
      seen.add(namespace)
    } catch {} // the process has ended meanwhile; another of its namespace may follow
  }
  return mounts
}

function namespaceOf(process: string): string | undefined {
  try {
    return readlinkSync(`/proc/${process}/ns/mnt`)
  } catch {
    return undefined
  }
}

/** The mount that holds a path: the longest target that the path lies under. */
export function findMountOf(path: string, mounts: readonly MountPoint[]): MountPoint | undefined {
  let found: MountPoint | undefined
  for (const mount of mounts) {
    if (isUnder(path, mount.target) && mount.target.length >= (found?.target.length ?? 0)) found = mount
  }
  return found
}

/** True for a type of filesystem behind which a server or a program stands. */
export function isServed(type: string): boolean {
  return /^(nfs|cifs|smb|ceph|glusterfs|9p|fuse)/.test(type)
}

/** True if the path is the directory or lies below it; both absolute and without symlinks. */
export function isUnder(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory.endsWith('/') ? directory : `${directory}/`)
}

/** Overlayfs' own attributes: those of `trusted.` are for root alone, so it takes `user.` ones from others (Linux 5.11, option userxattr). */
const overlayXattrs = isInUserNamespace ? 'user.overlay.' : 'trusted.overlay.'

/** Marks a directory that hides its lower namesake, with the value `y`. */
export const opaqueXattr = `${overlayXattrs}opaque`

/**
 * Overlay options that a host may have switched on and that a layer of a stranger must not use: with them, attributes in a lower layer redirect to other
 * directories. Only what the kernel knows can be named.
 */
export function listSafeOverlayOptions(): string[] {
  const wanted = [
    ['index', 'off'],
    ['metacopy', 'off'],
    ['redirect_dir', 'nofollow'],
  ] as const
  const known = wanted.filter(([name]) => existsSync(`/sys/module/overlay/parameters/${name}`))
  return [...(isInUserNamespace ? ['userxattr'] : []), ...known.map(pair => pair.join('='))]
}

/** What `mountFrom` hands to mount(2). */
export interface MountCall {
  /** Relative paths in `data` start here. */
  readonly directory: string
  readonly source: string
  /** Absolute. */
  readonly target: string
  readonly type: string
  readonly flags: number
  readonly data: string
}

/** The kernel copies one page of options and wants a NUL at its end; 4 KiB is the smallest page. */
export const mountDataMax = 4095

/** Beside this file, as source or compiled. */
const threadUrl = new URL(import.meta.url.endsWith('.ts') ? './mount-thread.ts' : './mount-thread.js', import.meta.url)

/**
 * mount(2) with a working directory of its own: in a thread that no longer shares it with the process (unshare(CLONE_FS)), because relative paths are what
 * lets a hundred layers fit into the one page of options.
 * @throws SystemError
 */
export async function mountFrom(call: MountCall): Promise<void> {
  const worker = startThread(threadUrl, { workerData: call })
  const failure = await new Promise<MountFailure | undefined>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('the mount thread ended without an answer')))
  })
  if (failure !== undefined) throw new SystemError(failure.syscall, failure.errno)
}

/** How the mount thread tells of a failed call. */
export interface MountFailure {
  readonly syscall: string
  readonly errno: number
}
