/** A containerd of the test's own: its directories and its socket, all gone afterwards. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CommandOptions, startDaemon } from './command.ts'
import { unmountAll } from './mounts.ts'
import { type Engines, hostEngines, runOf } from './newest.ts'

const disabled = ['io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs']

export interface TestContainerd extends AsyncDisposable {
  readonly pid: number
  readonly socket: string
  /** Runs `ctr` against it. @returns its stdout */
  ctr(...args: string[]): Promise<string>
  /** Starts a container of an image, once by this name. @returns what `echo alive` says there */
  runIn(reference: string, name: string, namespace?: string): Promise<string>
}

/**
 * @param directory where the images go; best on a filesystem of its own, since it holds many inodes
 * @param path directories in which the daemon finds its decompressors before those of the host; without it, it decompresses by itself
 * @param engines whose containerd and ctr are run
 * @param options `hasCri`: with what a kubelet talks to
 */
export async function startContainerd(
  directory: string,
  path?: string,
  engines: Engines = hostEngines,
  { hasCri = false }: { readonly hasCri?: boolean } = {},
): Promise<TestContainerd> {
  const base = await mkdtemp(join(tmpdir(), 'windlass-containerd-'))
  const socket = join(base, 's')
  const config = [
    'version = 2',
    `root = "${directory}/root"`,
    `state = "${base}/state"`,
    `disabled_plugins = ${JSON.stringify(hasCri ? disabled : [...disabled, 'io.containerd.grpc.v1.cri'])}`,
    `[grpc]\naddress = "${socket}"`,
    `[ttrpc]\naddress = "${base}/t"`,
  ]
  await writeFile(join(base, 'config.toml'), `${config.join('\n')}\n`)
  const options: CommandOptions =
    path === undefined
      ? { env: { CONTAINERD_DISABLE_PIGZ: 'true', CONTAINERD_DISABLE_IGZIP: 'true' } }
      : { env: { PATH: `${path}:${process.env['PATH']}:/usr/sbin:/sbin` } }
  const ctr = (...args: string[]) => runOf(engines, ['ctr', '-a', socket, ...args])
  const [program = '', ...flags] = [...engines, 'containerd', '--config', join(base, 'config.toml')]
  const daemon = await startDaemon(program, flags, {
    ...options,
    logFile: join(base, 'log'),
    isReady: () =>
      ctr('version').then(
        () => true,
        () => false,
      ),
  })
  return {
    pid: daemon.pid,
    socket,
    ctr,
    runIn(reference, name, namespace = 'default') {
      const pipes = ['--fifo-dir', join(base, 'fifo')] // where daemon and client both are
      return ctr('-n', namespace, 'run', '--rm', ...pipes, reference, name, 'echo', 'alive')
    },
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]()
      unmountAll(directory)
      unmountAll(base)
      await rm(base, { recursive: true, force: true })
    },
  }
}
