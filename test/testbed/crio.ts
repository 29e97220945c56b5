/** A CRI-O of the test's own, with crictl: its directories and its socket, all gone afterwards. No Debian has either. It pulls, and starts no pods. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run, startDaemon } from './command.ts'
import { unmountAll } from './mounts.ts'

export interface TestCrio extends AsyncDisposable {
  readonly pid: number
  readonly socket: string
  /** A command line that what crictl shall do is added to. */
  readonly crictl: readonly string[]
  /** The same for an image that shall go, with all that was pulled of it. */
  readonly remove: readonly string[]
}

/** A pull that was cancelled takes its time to end, and leaves the layers that it has got: they go with the image that they are part of. */
const forget = `
  pid=$1 layers=$2 crictl=$3 socket=unix://$4 reference=$5 rounds=0
  crictl() { "$crictl" -t 60s -r "$socket" -i "$socket" "$@"; }
  while [ $rounds -lt 200 ] && ls -l "/proc/$pid/fd" | grep -q /container_images_storage; do
    sleep 0.1
    rounds=$((rounds + 1))
  done
  crictl rmi "$reference"
  grep -q '"id"' "$layers" || exit 0
  timeout 60 "$crictl" -r "$socket" -i "$socket" pull "$reference" && crictl rmi "$reference"`

/** The folder with `crio` and `crictl` that `WINDLASS_CRIO` names, or undefined. */
export function crioPrograms(): string | undefined {
  return process.env['WINDLASS_CRIO'] || undefined
}

/**
 * @param programs the folder in which its programs are
 * @param directory where the images go, and layers on their way
 * @param path directories in which the daemon finds its decompressors before those of the host
 */
export async function startCrio(programs: string, directory: string, path: string): Promise<TestCrio> {
  const base = await mkdtemp(join(tmpdir(), 'windlass-crio-')) // short: a socket's path has 107 bytes at most
  const socket = join(base, 's')
  await mkdir(join(directory, 'tmp'), { recursive: true })
  await mkdir(join(base, 'cni'))
  const files = {
    'crio.conf': configuration({ base, socket, directory }),
    'policy.json': '{"default":[{"type":"insecureAcceptAnything"}]}',
    'registries.conf': '[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n',
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(base, name), text)
  const crictl = [join(programs, 'crictl'), '-r', `unix://${socket}`, '-i', `unix://${socket}`]
  const layers = join(directory, 'root/overlay-layers/layers.json')
  const [client = '', ...asked] = [...crictl, 'version']
  const daemon = await startDaemon(
    join(programs, 'crio'),
    ['--config', join(base, 'crio.conf'), '--config-dir', '', '--registries-conf', join(base, 'registries.conf')],
    {
      logFile: join(base, 'log'),
      env: { PATH: `${path}:${process.env['PATH']}:/usr/sbin:/sbin` },
      isReady: () =>
        run(client, asked).then(
          () => true,
          () => false,
        ),
    },
  )
  return {
    pid: daemon.pid,
    socket,
    crictl,
    remove: ['sh', '-c', forget, 'sh', String(daemon.pid), layers, client, socket],
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]()
      unmountAll(directory)
      unmountAll(base)
      await rm(base, { recursive: true, force: true })
    },
  }
}

interface Places {
  readonly base: string
  readonly socket: string
  readonly directory: string
}

function configuration({ base, socket, directory }: Places): string {
  const table = (name: string, values: Readonly<Record<string, string | boolean>>) =>
    [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`)].join('\n')
  const at = (name: string) => join(base, name)
  const tables = [
    table('crio', {
      root: join(directory, 'root'),
      runroot: at('run'),
      storage_driver: 'overlay',
      log_dir: at('logs'),
      version_file: at('version'),
      version_file_persist: at('version-kept'),
      clean_shutdown_file: at('clean'),
    }),
    table('crio.api', { listen: socket, stream_address: '127.0.0.1', stream_port: '0' }),
    table('crio.runtime', {
      default_runtime: 'runc',
      cgroup_manager: 'cgroupfs',
      conmon_cgroup: 'pod',
      pinns_path: '/bin/true',
      namespaces_dir: at('namespaces'),
      container_exits_dir: at('exits'),
      container_attach_socket_dir: at('attach'),
      apparmor_profile: 'unconfined',
    }),
    table('crio.runtime.runtimes.runc', { runtime_path: '/usr/sbin/runc', runtime_root: at('runc') }),
    table('crio.image', { signature_policy: at('policy.json'), big_files_temporary_dir: join(directory, 'tmp') }),
    table('crio.network', { network_dir: at('cni') }),
    table('crio.nri', { enable_nri: false }),
  ]
  return `${tables.join('\n')}\n`
}
