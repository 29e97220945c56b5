import type { Destination } from './destination.ts'
import type { DockerRoute } from './into-docker.ts'
import type { PodmanRoute } from './into-podman.ts'

/** An engine of this host, or the docker that the environment names. */
export type EngineName = 'docker' | 'containerd' | 'podman'

/** An engine that images are delivered into. */
export interface OpenedEngine {
  readonly destination: Destination
  /** Its socket, if it runs on this host. */
  readonly socket?: string
}

export interface EngineOptions {
  /** Where engines are, as their own clients read it from there. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Of docker or podman. */
  readonly route?: DockerRoute | PodmanRoute | undefined
  /** Of containerd; its own default if absent. */
  readonly namespace?: string | undefined
}

/** What speaks to engines takes long to load, and few need it. @throws WindlassError USAGE for an address of docker that makes no sense */
export async function openEngine(engine: EngineName, { env, route, namespace }: EngineOptions): Promise<OpenedEngine> {
  if (engine === 'docker') {
    const { intoDocker } = await import('./into-docker.ts')
    const { findEndpoint } = await import('../places/docker/endpoint.ts')
    const endpoint = await findEndpoint({ env })
    const destination = intoDocker({ env, endpoint, route: route as DockerRoute | undefined })
    return { destination, ...(endpoint.kind === 'unix' && { socket: endpoint.path }) }
  }
  if (engine === 'podman') {
    const { intoPodman } = await import('./into-podman.ts')
    return { destination: intoPodman({ env, route: route as PodmanRoute | undefined }) }
  }
  const { intoContainerd } = await import('./into-containerd.ts')
  const { readContainerdAddress } = await import('../places/containerd/client.ts')
  const address = readContainerdAddress(env)
  const destination = intoContainerd({
    ...address,
    ...(namespace && { namespace }),
    snapshotter: env['CONTAINERD_SNAPSHOTTER'] || 'overlayfs',
  })
  return { destination, socket: address.socket }
}
