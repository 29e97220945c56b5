/** A docker daemon of the test's own: its directories, its socket and its containerd, all gone afterwards. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CommandOptions, startDaemon, waitUntil } from './command.ts'
import { unmountAll } from './mounts.ts'
import { type Engines, hostEngines, runOf } from './newest.ts'

export interface TestDocker extends AsyncDisposable {
  readonly pid: number
  readonly socket: string
  readonly dataRoot: string
  /** Runs the docker client against this daemon. @returns its stdout */
  docker(args: readonly string[], options?: CommandOptions): Promise<string>
}

/**
 * @param dataRoot where the images go; best on a filesystem of its own, since it holds many inodes
 * @param path directories in which the daemon finds its decompressors before those of the host; without it, it decompresses by itself
 * @param engines whose dockerd and docker are run
 * @param flags of dockerd, besides its places
 */
export async function startDocker(
  dataRoot: string,
  path?: string,
  engines: Engines = hostEngines,
  flags: readonly string[] = [],
): Promise<TestDocker> {
  const base = await mkdtemp(join(tmpdir(), 'windlass-dockerd-')) // short: a socket's path has 107 bytes at most
  const socket = join(base, 's')
  const docker = (args: readonly string[], options?: CommandOptions) =>
    runOf(engines, ['docker', '-H', `unix://${socket}`, ...args], options)
  const [program = '', ...args] = [...engines, 'dockerd', ...daemonFlags(base, dataRoot), ...flags]
  const daemon = await startDaemon(program, args, {
    logFile: join(base, 'log'),
    env:
      path === undefined ? { MOBY_DISABLE_PIGZ: 'true' } : { PATH: `${path}:${process.env['PATH']}:/usr/sbin:/sbin` },
    isReady: () =>
      docker(['version']).then(
        () => true,
        () => false,
      ),
  })
  return {
    pid: daemon.pid,
    socket,
    dataRoot,
    docker,
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]()
      await stopContainerd(join(base, 'exec'))
      unmountAll(dataRoot)
      unmountAll(base)
      await rm(base, { recursive: true, force: true })
    },
  }
}

function daemonFlags(base: string, dataRoot: string): string[] {
  const places = ['--data-root', dataRoot, '--exec-root', join(base, 'exec'), '-p', join(base, 'pid')]
  const network = ['--iptables=false', '--bridge=none', '--insecure-registry', '127.0.0.0/8']
  return [...places, '-H', `unix://${join(base, 's')}`, ...network, '--storage-driver', 'overlay2']
}

/** dockerd takes its containerd with it, unless it was killed itself. */
async function stopContainerd(execRoot: string): Promise<void> {
  const pid = Number(await readFile(join(execRoot, 'containerd/containerd.pid'), 'utf8').catch(() => '0'))
  if (pid === 0) return
  const isOurs = async () => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(execRoot)
  if (!(await isOurs())) return
  process.kill(pid, 'SIGKILL')
  await waitUntil('containerd is gone', 5000, async () => !(await isOurs()))
}
