/** Engines as the tests of deliveries see them, whichever they are: one that is healthy, and one whose decompressors are whatever a test plants. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startContainerd } from './containerd.ts'
import { startDocker } from './dockerd.ts'
import { type Engines, hostEngines } from './newest.ts'
import { openPodman } from './podman.ts'

export interface TestEngine extends AsyncDisposable {
  /** What `--into` calls it. */
  readonly into: string
  /** By which windlass finds it. */
  readonly env: Record<string, string>
  /** Its own pull, as a command. */
  pullCommand(reference: string): readonly string[]
  /** What it says of an image, as far as two of its kind must say the same. */
  describe(reference: string): Promise<unknown>
  /** Starts a container from it. @returns what `echo alive` says there */
  runIn(reference: string): Promise<string>
  /** Removes an image with all its names. */
  remove(reference: string): Promise<void>
}

export interface EngineKind {
  readonly name: string
  /** Its own pull of gzip layers starts one of the decompressors that are planted. */
  readonly startsDecompressor: boolean
  /** @param path where it finds its decompressors; without it, it is healthy */
  start(directory: string, path?: string): Promise<TestEngine>
}

/** @param features whether docker keeps its images in containerd: a choice since 23, the default since 29 */
export function dockerKind(name: string, engines: Engines = hostEngines, features?: 'containerd'): EngineKind {
  return {
    name,
    startsDecompressor: true,
    start: (directory, path) => startDockerEngine({ directory, path, engines, features }),
  }
}

interface DockerStart {
  readonly directory: string
  readonly path: string | undefined
  readonly engines: Engines
  readonly features: 'containerd' | undefined
}

async function startDockerEngine({ directory, path, engines, features }: DockerStart): Promise<TestEngine> {
  const flags = ['--feature', 'containerd-snapshotter=true', '--storage-driver', 'overlayfs']
  let count = 0
  const open = () => startDocker(join(directory, `${count++}`), path, engines, features === undefined ? [] : flags)
  let daemon = await open()
  const host = () => `unix://${daemon.socket}`
  return {
    into: 'docker',
    get env() {
      return { DOCKER_HOST: host() }
    },
    pullCommand: reference => [...engines, 'docker', '-H', host(), 'pull', '-q', reference],
    async describe(reference) {
      const [image] = JSON.parse(await daemon.docker(['image', 'inspect', reference]))
      const { Id, RepoTags, RepoDigests, RootFS, Config, Architecture } = image
      return { Id, RepoTags, RepoDigests, RootFS, Config, Architecture }
    },
    runIn: reference => daemon.docker(['run', '--rm', '--network', 'none', reference, 'echo', 'alive']),
    async remove(reference) {
      if (features === undefined) return void (await daemon.docker(['rmi', '-f', reference]))
      // A pull that hung keeps there what it has begun, and the image with it.
      await daemon[Symbol.asyncDispose]()
      daemon = await open()
    },
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  }
}

/** Each image that is removed takes its namespace along: a pull that hung keeps what it has begun. */
export function containerdKind(name: string, engines: Engines = hostEngines): EngineKind {
  return {
    name,
    startsDecompressor: true,
    async start(directory, path) {
      const daemon = await startContainerd(directory, path, engines)
      const { socket } = daemon
      let count = 0
      const namespace = () => `namespace-${count}`
      const ctr = (...args: string[]) => daemon.ctr('-n', namespace(), ...args)
      return {
        get into() {
          return `containerd:${namespace()}`
        },
        env: { CONTAINERD_ADDRESS: socket },
        pullCommand: reference => [
          ...engines,
          'ctr',
          '-a',
          socket,
          '-n',
          namespace(),
          'images',
          'pull',
          '--plain-http',
          reference,
        ],
        async describe(reference) {
          const fields = async (...args: string[]) => (await ctr(...args)).split('\n').at(-1)?.trim().split(/\s+/)
          const image = (await fields('images', 'ls', `name==${reference}`))?.slice(0, 3)
          const check = (await fields('images', 'check', `name==${reference}`))?.slice(2, 5)
          const snapshots = (await ctr('snapshots', 'ls')).split('\n').map(line => line.trim().split(/\s+/))
          // What a pull that hangs has begun is none of ours.
          return { image, check, snapshots: snapshots.filter(line => line.at(-1) === 'Committed').sort() }
        },
        runIn: reference => daemon.runIn(reference, 'alive', namespace()),
        async remove() {
          count++
        },
        [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
      }
    },
  }
}

/** @param startsDecompressor since podman 5.2 */
export function podmanKind(name: string, engines: Engines = hostEngines, startsDecompressor = false): EngineKind {
  return {
    name,
    startsDecompressor,
    async start(directory, path) {
      const storage = await openPodman(directory, path, engines)
      const { podman } = storage
      const program = engines.length === 0 ? undefined : await plantPodman(join(directory, 'bin'), engines)
      const env =
        program === undefined
          ? storage.env
          : { ...storage.env, PATH: `${program}:${storage.env['PATH'] ?? process.env['PATH']}` }
      const runtime = ['--runtime', 'runc', '--cgroup-manager', 'cgroupfs']
      const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000'] // more than that, a machine may refuse
      return {
        into: 'podman',
        env,
        pullCommand: reference => [
          'env',
          ...Object.entries(storage.env).map(([key, value]) => `${key}=${value}`),
          ...engines,
          'podman',
          'pull',
          '-q',
          '--tls-verify=false',
          reference,
        ],
        async describe(reference) {
          const [image] = JSON.parse(await podman('image', 'inspect', reference))
          const { Id, Digest, RepoTags, RepoDigests, RootFS, Config } = image
          return { Id, Digest, RepoTags, RepoDigests: RepoDigests.sort(), RootFS, Config }
        },
        runIn: reference =>
          podman(...runtime, 'run', '--rm', '--network', 'none', ...limits, reference, 'echo', 'alive'),
        remove: async reference => void (await podman('rmi', '-f', reference)),
        [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
      }
    },
  }
}

/** A podman of other engines for who looks for it on the PATH: it is run with the PATH that it was called with. */
async function plantPodman(directory: string, engines: Engines): Promise<string> {
  await mkdir(directory, { recursive: true })
  const quoted = engines.map(word => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
  const way = `exec /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin ${quoted} /usr/bin/env "PATH=$PATH" /usr/bin/podman "$@"`
  await writeFile(join(directory, 'podman'), `#!/bin/sh\n${way}\n`, { mode: 0o755 })
  return directory
}
