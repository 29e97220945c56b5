/** Engines by their routes, as tests of interrupted deliveries look at them. */
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startContainerd } from '../testbed/containerd.ts'
import { startDocker } from '../testbed/dockerd.ts'
import { openPodman } from '../testbed/podman.ts'

/** An engine by one route, as far as these tests look at it. */
export interface Subject extends AsyncDisposable {
  readonly into: readonly string[]
  readonly env: Record<string, string>
  /** The daemon, if it has one. */
  readonly pid?: number
  /** What an unfinished delivery may have made: names of files, snapshots, images, leases. Empty if there is nothing. */
  left(): Promise<readonly string[]>
  /** False if what is left goes with the next delivery only, or after a day. */
  readonly isSwept?: false
  /** The engine has begun to take something. */
  hasBegun(): Promise<boolean>
}

async function list(directory: string, pattern = /./): Promise<string[]> {
  const names = await readdir(directory).catch(() => [])
  return names.filter(name => pattern.test(name))
}

const docker =
  (route: string) =>
  async (directory: string): Promise<Subject> => {
    const daemon = await startDocker(directory)
    const temporary = () => list(join(directory, 'tmp'), /^(GetImageBlob|docker-import-)/)
    return {
      into: ['docker', '--route', route],
      env: { DOCKER_HOST: `unix://${daemon.socket}` },
      pid: daemon.pid,
      hasBegun: async () => (await temporary()).length > 0,
      async left() {
        const images = (await daemon.docker(['images', '-aq'])).split('\n').filter(Boolean)
        const layers = await list(join(directory, 'overlay2'), /^[0-9a-f]{64}/)
        return [...images, ...layers, ...(await temporary())]
      },
      [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
    }
  }

async function containerd(directory: string): Promise<Subject> {
  const daemon = await startContainerd(directory)
  const rows = async (...args: string[]) => (await daemon.ctr(...args)).split('\n').slice(1)
  return {
    into: ['containerd'],
    isSwept: false,
    env: { CONTAINERD_ADDRESS: daemon.socket },
    pid: daemon.pid,
    hasBegun: async () => (await rows('snapshots', 'ls')).length > 0,
    left: async () => [
      ...(await rows('images', 'ls')),
      ...(await rows('snapshots', 'ls')),
      ...(await rows('leases', 'ls')),
    ],
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  }
}

async function podman(directory: string): Promise<Subject> {
  const storage = await openPodman(directory)
  const temporary = join(directory, 'tmp')
  await mkdir(temporary)
  return {
    into: ['podman'],
    env: { ...storage.env, TMPDIR: temporary },
    hasBegun: async () => (await list(temporary, /^(storage|container_images)/)).length > 0,
    async left() {
      const layers = (await list(join(directory, 'graph/overlay'))).filter(name => /^[0-9a-f]{64}/.test(name))
      return [...(await storage.podman('images', '-aq')).split('\n').filter(Boolean), ...layers]
    },
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

export const subjects: Readonly<Record<string, (directory: string) => Promise<Subject>>> = {
  'docker by registry': docker('registry'),
  'docker by load': docker('load'),
  containerd,
  podman,
}
