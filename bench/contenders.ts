/** Who is measured: how each gets ready outside the measured span, and the one command that is measured. */
import { join } from 'node:path'
import { startContainerd } from '../test/testbed/containerd.ts'
import { startDocker } from '../test/testbed/dockerd.ts'
import { openPodman } from '../test/testbed/podman.ts'
import { windlassProgram } from '../test/testbed/windlass.ts'
import type { Compression } from './images.ts'
import type { Command } from './measure.ts'

interface Round {
  /** Fresh and empty, on a filesystem of its own. */
  readonly directory: string
  /** `127.0.0.1:PORT` of the registry. */
  readonly host: string
  readonly compression: Compression
  /** The digests of the layers. */
  readonly layers: readonly string[]
}

export interface Contender {
  readonly name: string
  /** What it leaves out of the work that windlass does, for the notes below the table. */
  readonly leavesOut?: string
  readonly compressions: readonly Compression[]
  /** The programs that it needs. */
  readonly programs: readonly string[]
  prepare(round: Round): Promise<Prepared>
}

interface Prepared extends AsyncDisposable {
  readonly command: Command
  /** Processes that do the work on the command's behalf. */
  readonly daemons: readonly number[]
}

function ready(program: string, args: readonly string[], env: Record<string, string> = {}): Prepared {
  return { command: { program, args, env }, daemons: [], [Symbol.asyncDispose]: async () => {} }
}

function refer({ host, compression }: Round): string {
  return `${host}/bench:${compression}`
}

/** One layer after the other, straight into one directory. */
function streamToTar(decompressor: string, round: Round): Prepared {
  const script = `set -e; cd "$1"; shift; for url; do curl -sf "$url" | ${decompressor} | tar -xp --numeric-owner --recursive-unlink --exclude=./; done`
  const urls = round.layers.map(digest => `http://${round.host}/v2/bench/blobs/${digest}`)
  return ready('bash', ['-o', 'pipefail', '-c', script, 'bash', round.directory, ...urls])
}

/** Where daemons find the host's own decompressors. */
const hostPrograms = '/usr/bin'

function windlassInto(into: string, round: Round, env: Record<string, string>, route?: string): Command {
  const args = ['--root', join(round.directory, 'store'), '--progress', 'none', 'pull', '--into', into]
  const choice = route === undefined ? [] : ['--route', route]
  return { program: windlassProgram, args: [...args, ...choice, refer(round)], env }
}

/** windlass delivers into a daemon that could use the decompressors of the host, but need not. */
function intoDocker(route: string): Contender {
  return {
    name: `into docker by ${route}`,
    compressions: ['gzip'],
    programs: ['dockerd'],
    async prepare(round) {
      const daemon = await startDocker(join(round.directory, 'docker'), hostPrograms)
      return {
        command: windlassInto('docker', round, { DOCKER_HOST: `unix://${daemon.socket}` }, route),
        daemons: [daemon.pid],
        [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
      }
    },
  }
}

function intoPodman(route: string): Contender {
  return {
    name: `into podman by ${route}`,
    compressions: ['gzip', 'zstd'],
    programs: ['podman'],
    async prepare(round) {
      const podman = await openPodman(join(round.directory, 'podman'))
      return {
        command: windlassInto('podman', round, { ...podman.env, TMPDIR: round.directory }, route),
        daemons: [],
        [Symbol.asyncDispose]: () => podman[Symbol.asyncDispose](),
      }
    },
  }
}

const noVerify = 'verifies nothing, keeps no blobs, handles no whiteouts, does not sync'

export const contenders: readonly Contender[] = [
  {
    name: 'windlass',
    compressions: ['gzip', 'zstd'],
    programs: [],
    prepare: async round =>
      ready(windlassProgram, ['--root', join(round.directory, 'store'), '--progress', 'none', 'pull', refer(round)]),
  },
  {
    name: 'curl+igzip+tar',
    leavesOut: noVerify,
    compressions: ['gzip'],
    programs: ['curl', 'igzip', 'tar'],
    prepare: async round => streamToTar('igzip -dc', round),
  },
  {
    name: 'curl+zstd+tar',
    leavesOut: noVerify,
    compressions: ['zstd'],
    programs: ['curl', 'zstd', 'tar'],
    prepare: async round => streamToTar('zstd -dc', round),
  },
  {
    name: 'docker',
    leavesOut: 'keeps no blobs, does not sync layer data',
    compressions: ['gzip'],
    programs: ['docker', 'dockerd'],
    async prepare(round) {
      const daemon = await startDocker(join(round.directory, 'docker'), hostPrograms)
      return {
        ...ready('docker', ['-H', `unix://${daemon.socket}`, 'pull', '-q', refer(round)]),
        daemons: [daemon.pid],
        [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
      }
    },
  },
  intoDocker('registry'),
  intoDocker('load'),
  {
    name: 'podman',
    leavesOut: 'keeps no blobs, does not sync layer data',
    compressions: ['gzip', 'zstd'],
    programs: ['podman'],
    prepare: async round => {
      const places = ['--root', join(round.directory, 'podman'), '--runroot', join(round.directory, 'run')]
      const pull = ['pull', '-q', '--tls-verify=false', refer(round)]
      return ready('podman', [...places, '--storage-driver', 'overlay', ...pull], { TMPDIR: round.directory })
    },
  },
  intoPodman('registry'),
  intoPodman('files'),
  {
    name: 'containerd',
    leavesOut: 'does not sync layer data',
    compressions: ['gzip', 'zstd'],
    programs: ['containerd', 'ctr'],
    async prepare(round) {
      const daemon = await startContainerd(join(round.directory, 'containerd'), hostPrograms)
      return {
        ...ready('ctr', ['-a', daemon.socket, 'images', 'pull', '--plain-http', refer(round)]),
        daemons: [daemon.pid],
        [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
      }
    },
  },
  {
    name: 'into containerd',
    compressions: ['gzip', 'zstd'],
    programs: ['containerd'],
    async prepare(round) {
      const daemon = await startContainerd(join(round.directory, 'containerd'), hostPrograms)
      return {
        command: windlassInto('containerd', round, { CONTAINERD_ADDRESS: daemon.socket }),
        daemons: [daemon.pid],
        [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
      }
    },
  },
  {
    name: 'skopeo+umoci',
    leavesOut: 'makes one flat tree, does not sync',
    compressions: ['gzip'],
    programs: ['skopeo', 'umoci'],
    prepare: async round => {
      const script =
        'set -e; skopeo copy -q --src-tls-verify=false "docker://$2" "oci:$1/layout:bench"; umoci unpack --image "$1/layout:bench" "$1/bundle"'
      return ready('bash', ['-c', script, 'bash', round.directory, refer(round)], { TMPDIR: round.directory })
    },
  },
]
