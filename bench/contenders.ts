/** Who is measured: how each gets ready outside the measured span, and the commands that are measured. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startContainerd } from '../test/testbed/containerd.ts'
import { startDocker } from '../test/testbed/dockerd.ts'
import { type Engines, enginesIn, hostEngines } from '../test/testbed/newest.ts'
import { openPodman } from '../test/testbed/podman.ts'
import type { Compression } from './images.ts'
import { installedProgram } from './installed.ts'
import type { Command } from './measure.ts'

/** An image as it can be pulled. */
export interface RemoteImage {
  /** `127.0.0.1:PORT` of the registry, or of what stands before it. */
  readonly host: string
  readonly repository: string
  readonly tag: string
  /** The digests of the layers. */
  readonly layers: readonly string[]
}

export interface Contender {
  readonly name: string
  /** `pipeline`: what the machine can do with plain tools, in one process after the other. `delivery`: windlass, into an engine. */
  readonly role: 'windlass' | 'peer' | 'pipeline' | 'delivery'
  /** What it leaves out of the work that windlass does, for the notes below the table. */
  readonly leavesOut?: string
  readonly compressions: readonly Compression[]
  /** The programs that it needs. */
  readonly programs: readonly string[]
  /** Whose they are. */
  readonly engines: Engines
  /** @param directory fresh and empty, on a filesystem of its own */
  prepare(directory: string): Promise<Prepared>
}

export interface Prepared extends AsyncDisposable {
  pull(image: RemoteImage): Command
  /** Processes that do the work on the command's behalf. */
  readonly daemons: readonly number[]
}

/** @param peersRoot a Debian in a folder whose engines are measured, too */
export function listContenders(peersRoot?: string): Contender[] {
  const newest = peersRoot === undefined ? [] : contendersOf(enginesIn(peersRoot), '-new')
  return [windlass, ...pipelines, ...contendersOf(hostEngines, ''), skopeoUmoci, ...deliveries, ...newest]
}

function ready(pull: Prepared['pull']): Prepared {
  return { pull, daemons: [], [Symbol.asyncDispose]: async () => {} }
}

function refer({ host, repository, tag }: RemoteImage): string {
  return `${host}/${repository}:${tag}`
}

/** Where daemons find their decompressors. */
const programs = '/usr/bin'

const windlass: Contender = {
  name: 'windlass',
  role: 'windlass',
  compressions: ['gzip', 'zstd'],
  programs: [],
  engines: hostEngines,
  async prepare(directory) {
    const program = await installedProgram()
    const args = ['--root', join(directory, 'store'), '--progress', 'none', 'pull']
    return ready(image => ({ program, args: [...args, refer(image)] }))
  },
}

const pipelines: readonly Contender[] = [
  pipeline('igzip', ['gzip']),
  pipeline('unpigz', ['gzip']),
  pipeline('zstd', ['zstd']),
]

/** One layer after the other, straight into one directory. */
function pipeline(decompressor: string, compressions: readonly Compression[]): Contender {
  const script = `set -e; cd "$1"; shift; for url; do curl -sf "$url" | ${decompressor} -dc | tar -xp --numeric-owner --recursive-unlink --exclude=./; done`
  return {
    name: `curl+${decompressor}+tar`,
    role: 'pipeline',
    leavesOut: 'verifies nothing, keeps no blobs, handles no whiteouts, does not sync',
    compressions,
    programs: ['curl', decompressor, 'tar'],
    engines: hostEngines,
    prepare: async directory =>
      ready(({ host, repository, layers }) => {
        const urls = layers.map(digest => `http://${host}/v2/${repository}/blobs/${digest}`)
        return { program: 'bash', args: ['-o', 'pipefail', '-c', script, 'bash', directory, ...urls] }
      }),
  }
}

function contendersOf(engines: Engines, suffix: string): Contender[] {
  const by = (...line: string[]): Pick<Command, 'program' | 'args'> => {
    const [program = '', ...args] = [...engines, ...line]
    return { program, args }
  }
  return [
    {
      name: `docker${suffix}`,
      role: 'peer',
      leavesOut: 'keeps no blobs, does not sync layer data',
      // Since 29 docker pulls zstd, too; the ones measured so far do not use it.
      compressions: ['gzip'],
      programs: ['docker', 'dockerd'],
      engines,
      async prepare(directory) {
        const daemon = await startDocker(join(directory, 'docker'), programs, engines)
        return {
          pull: image => by('docker', '-H', `unix://${daemon.socket}`, 'pull', '-q', refer(image)),
          daemons: [daemon.pid],
          [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
        }
      },
    },
    {
      name: `podman${suffix}`,
      role: 'peer',
      leavesOut: 'keeps no blobs, does not sync layer data',
      compressions: ['gzip', 'zstd'],
      programs: ['podman'],
      engines,
      async prepare(directory) {
        const runroot = await mkdtemp(join(tmpdir(), 'windlass-podman-run-')) // short: it holds sockets
        const places = ['--root', join(directory, 'podman'), '--runroot', runroot, '--storage-driver', 'overlay']
        return {
          pull: image => ({
            ...by('podman', ...places, 'pull', '-q', '--tls-verify=false', refer(image)),
            env: { TMPDIR: directory },
          }),
          daemons: [],
          [Symbol.asyncDispose]: () => rm(runroot, { recursive: true, force: true }),
        }
      },
    },
    {
      name: `containerd${suffix}`,
      role: 'peer',
      leavesOut: 'does not sync layer data',
      compressions: ['gzip', 'zstd'],
      programs: ['containerd', 'ctr'],
      engines,
      async prepare(directory) {
        const daemon = await startContainerd(join(directory, 'containerd'), programs, engines)
        return {
          pull: image => by('ctr', '-a', daemon.socket, 'images', 'pull', '--plain-http', refer(image)),
          daemons: [daemon.pid],
          [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
        }
      },
    },
  ]
}

const skopeoUmoci: Contender = {
  name: 'skopeo+umoci',
  role: 'peer',
  leavesOut: 'makes one flat tree, does not sync',
  compressions: ['gzip'],
  programs: ['skopeo', 'umoci'],
  engines: hostEngines,
  prepare: async directory => {
    const script =
      'set -e; skopeo copy -q --src-tls-verify=false "docker://$2" "oci:$1/layout:bench"; umoci unpack --image "$1/layout:bench" "$1/bundle"'
    return ready(image => ({
      program: 'bash',
      args: ['-c', script, 'bash', directory, refer(image)],
      env: { TMPDIR: directory },
    }))
  },
}

const deliveries: readonly Contender[] = [
  intoDocker('registry'),
  intoDocker('load'),
  intoPodman('registry'),
  intoPodman('files'),
  {
    name: 'into containerd',
    role: 'delivery',
    compressions: ['gzip', 'zstd'],
    programs: ['containerd'],
    engines: hostEngines,
    async prepare(directory) {
      const daemon = await startContainerd(join(directory, 'containerd'), programs)
      return {
        pull: await windlassInto('containerd', directory, { CONTAINERD_ADDRESS: daemon.socket }),
        daemons: [daemon.pid],
        [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
      }
    },
  },
]

async function windlassInto(
  into: string,
  directory: string,
  env: Record<string, string>,
  route?: string,
): Promise<Prepared['pull']> {
  const program = await installedProgram()
  const args = ['--root', join(directory, 'store'), '--progress', 'none', 'pull', '--into', into]
  const choice = route === undefined ? [] : ['--route', route]
  return image => ({ program, args: [...args, ...choice, refer(image)], env })
}

/** windlass delivers into a daemon that could use the decompressors of the host, but need not. */
function intoDocker(route: string): Contender {
  return {
    name: `into docker by ${route}`,
    role: 'delivery',
    compressions: ['gzip'],
    programs: ['dockerd'],
    engines: hostEngines,
    async prepare(directory) {
      const daemon = await startDocker(join(directory, 'docker'), programs)
      return {
        pull: await windlassInto('docker', directory, { DOCKER_HOST: `unix://${daemon.socket}` }, route),
        daemons: [daemon.pid],
        [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
      }
    },
  }
}

function intoPodman(route: string): Contender {
  return {
    name: `into podman by ${route}`,
    role: 'delivery',
    compressions: ['gzip', 'zstd'],
    programs: ['podman'],
    engines: hostEngines,
    async prepare(directory) {
      const podman = await openPodman(join(directory, 'podman'))
      return {
        pull: await windlassInto('podman', directory, { ...podman.env, TMPDIR: directory }, route),
        daemons: [],
        [Symbol.asyncDispose]: () => podman[Symbol.asyncDispose](),
      }
    },
  }
}
