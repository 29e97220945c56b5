/**
 * Engines of another Debian in a folder, such as debootstrap makes it: the newest docker, containerd and podman beside those of the host. A program of the folder is run
 * with a root of its own, in which the host's /tmp, the testbed and this repository are at the paths that they have outside, so that sockets, data roots and decompressors have one name.
 * The folder is not written to: what a program puts elsewhere goes with it.
 */
import { join } from 'node:path'
import { cacheDirectory } from './cache.ts'
import { type CommandOptions, run } from './command.ts'

/** A command line that what is run is added to: none for the host's own engines. */
export type Engines = readonly string[]

export const hostEngines: Engines = []

/** The engines of the folder that `WINDLASS_PEERS_ROOT` names, or undefined. */
export function newestEngines(): Engines | undefined {
  const root = process.env['WINDLASS_PEERS_ROOT']
  return root === undefined || root === '' ? undefined : enginesIn(root)
}

/**
 * @param root made by `debootstrap --variant=minbase --include=docker.io,docker-cli,containerd,podman,skopeo,umoci,crane,pigz,isal,iptables,runc,crun,ca-certificates`
 *   and further packages that are wanted; an absolute path
 */
export function enginesIn(root: string): Engines {
  const repository = join(import.meta.dirname, '../..')
  return [
    'unshare',
    '--mount',
    '--propagation',
    'slave',
    'sh',
    '-ec',
    enter,
    'enter',
    root,
    cacheDirectory(),
    repository,
  ]
}

/** The root is an overlay: dockerd wants its root to be a mount point. It ends as the program itself, with the process ID that was started. */
const enter = `
  root=$1 cache=$2 repository=$3; shift 3
  mount -t tmpfs tmpfs /mnt
  mkdir /mnt/upper /mnt/work /mnt/root
  mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
  cd /mnt/root
  for shared in /proc /sys /dev /tmp "$cache" "$repository"; do
    mkdir -p ".$shared"
    mount --rbind "$shared" ".$shared"
  done
  exec chroot . "$@"`

/** Runs a program of these engines, which must succeed. @returns its stdout without the last newline */
export function runOf(engines: Engines, command: readonly string[], options?: CommandOptions): Promise<string> {
  const [program = '', ...args] = [...engines, ...command]
  return run(program, args, options)
}
