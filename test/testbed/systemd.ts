/**
 * A systemd of the test's own: the first process of a PID namespace, with a /run, control groups and units that are its own. Nothing that it does reaches the host's.
 * Its directory outlives it, so that it can be started again as after a reboot.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { readIfThere } from '../read-if-there.ts'
import { run, waitUntil } from './command.ts'

export interface TestSystemd extends AsyncDisposable {
  /** What runs a program beside it. */
  readonly enter: readonly string[]
  systemctl(...args: string[]): Promise<string>
}

/**
 * @param directory on a disk; `units` in it is /etc/systemd/system, and stays
 * @param name of its control groups
 */
export async function bootSystemd(directory: string, name: string): Promise<TestSystemd> {
  mkdirSync(join(directory, 'units'), { recursive: true })
  writeFileSync(join(directory, 'boot-id'), `${randomUUID()}\n`)
  const log = openSync(join(directory, 'log'), 'a')
  const child = spawn('unshare', ['--mount', 'sh', '-ec', isolate, 'sh', directory, name], {
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  try {
    const pid = await findFirst(child, directory)
    const enter = ['nsenter', '-t', String(pid), '-m', '-p', '-i', '-u', '-C', '--']
    const systemctl = (...args: string[]) => run('nsenter', [...enter.slice(1), 'systemctl', ...args])
    await waitUntil('systemd is ready', 30_000, () =>
      systemctl('is-active', 'windlass-test.target').then(
        () => true,
        () => false,
      ),
    )
    return { enter, systemctl, [Symbol.asyncDispose]: () => halt(child, pid, name) }
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
}

/** The shell has children of its own before it becomes `unshare`, whose child is systemd. */
async function findFirst(child: ChildProcess, directory: string): Promise<number> {
  let pid = 0
  await waitUntil('systemd is started', 30_000, () => {
    if (child.exitCode !== null) throw new Error(readFileSync(join(directory, 'log'), 'utf8').slice(-4000))
    pid = Number(readIfThere(`/proc/${child.pid}/task/${child.pid}/children`).split(' ')[0])
    return pid > 0 && readIfThere(`/proc/${pid}/comm`) === 'systemd\n'
  })
  return pid
}

/** As a machine loses its power; the kernel ends all that ran in the namespace. */
async function halt(child: ChildProcess, pid: number, name: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, 'exit')
    process.kill(pid, 'SIGKILL')
    await ended
  }
  for (const hierarchy of ['systemd', 'unified', '.']) {
    const group = join('/sys/fs/cgroup', hierarchy, name)
    await waitUntil('its control groups are empty', 10_000, () => removeGroups(group))
  }
}

/** @returns whether it is gone: the kernel keeps it as long as it has processes */
function removeGroups(group: string): boolean {
  if (!existsSync(group)) return true
  try {
    for (const entry of readdirSync(group, { withFileTypes: true }))
      if (entry.isDirectory()) removeGroups(join(group, entry.name))
    rmdirSync(group)
    return true
  } catch {
    return false
  }
}

/** Control groups of the old kind where the host has them; only those that a docker asks for beside systemd's. */
const isolate = `
  directory=$1 name=$2
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /etc/systemd
  mkdir -p /run/systemd/system /etc/systemd/system
  printf '[Manager]\\nDefaultTasksAccounting=no\\nDefaultMemoryAccounting=no\\n' >/etc/systemd/system.conf
  mount --bind "$directory/units" /etc/systemd/system
  # Of the targets that units stand on by default there is the name alone.
  mkdir /run/targets
  for target in sysinit basic shutdown multi-user windlass-test; do
    printf '[Unit]\\nDefaultDependencies=no\\n' >/run/targets/$target.target
  done
  groups=
  for group in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    case $group in /sys/fs/cgroup) [ -z "$groups" ] || continue ;; *) [ -d $group ] || continue ;; esac
    mkdir -p $group/$name
    echo $$ >$group/$name/cgroup.procs
    groups="$groups $group"
  done
  exec unshare --cgroup --pid --ipc --uts --fork --kill-child --mount-proc sh -ec '
    mount --bind "$1/boot-id" /proc/sys/kernel/random/boot_id
    if [ -d /sys/fs/cgroup/systemd ]; then
      mount -t tmpfs tmpfs /sys/fs/cgroup
      mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup/devices
      mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
      mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
      mount -t cgroup -o devices cgroup /sys/fs/cgroup/devices
    else
      umount /sys/fs/cgroup # the kernel does not mount it over itself
      mount -t cgroup2 cgroup2 /sys/fs/cgroup
    fi
    export container=windlass-test SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/targets SYSTEMD_GENERATOR_PATH=/nonexistent
    exec /usr/lib/systemd/systemd --system --unit=windlass-test.target --log-target=console
  ' sh "$directory"`
