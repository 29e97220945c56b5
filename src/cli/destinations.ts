import type { Destination } from '../copy/destination.ts'
import type { DockerRoute } from '../copy/into-docker.ts'
import type { PodmanRoute } from '../copy/into-podman.ts'
import { WindlassError } from '../errors.ts'
import { quote } from '../oci/quote.ts'
import type { Context } from './command.ts'

/** The engine that `--into` names. */
export interface Into {
  readonly destination: Destination
  /** Its socket, if it runs on this host. */
  readonly socket?: string
}

/**
 * Reads `--into`; undefined for the store.
 * @throws WindlassError USAGE for a name that is none, or an address of docker that makes no sense
 */
export async function openInto(
  { env }: Pick<Context, 'env'>,
  into: string,
  route: string | undefined,
): Promise<Into | undefined> {
  checkRoute(into, route)
  const [engine, namespace] = into.split(/:(.*)/s, 2)
  if (into === 'store') return undefined
  if (into === 'docker') {
    const { intoDocker } = await import('../copy/into-docker.ts')
    const { findEndpoint } = await import('../places/docker/endpoint.ts')
    const endpoint = await findEndpoint({ env })
    return {
      destination: intoDocker({ env, endpoint, route: route as DockerRoute | undefined }),
      ...(endpoint.kind === 'unix' && { socket: endpoint.path }),
    }
  }
  if (into === 'podman') {
    const { intoPodman } = await import('../copy/into-podman.ts')
    return { destination: intoPodman({ env, route: route as PodmanRoute | undefined }) }
  }
  if (engine !== 'containerd') {
    const wanted = 'store, docker, containerd[:NAMESPACE] or podman'
    throw new WindlassError('USAGE', `Cannot pull into ${quote(into)}: there is no such place; wanted ${wanted}`)
  }
  const { intoContainerd } = await import('../copy/into-containerd.ts')
  const { readContainerdAddress } = await import('../places/containerd/client.ts')
  const address = readContainerdAddress(env)
  const destination = intoContainerd({
    ...address,
    ...(namespace && { namespace }),
    snapshotter: env['CONTAINERD_SNAPSHOTTER'] || 'overlayfs',
  })
  return { destination, socket: address.socket }
}

const routes: Readonly<Record<string, readonly string[]>> = {
  docker: ['auto', 'registry', 'load', 'containerd'] satisfies DockerRoute[],
  podman: ['auto', 'registry', 'files'] satisfies PodmanRoute[],
}

function checkRoute(into: string, route: string | undefined): void {
  if (route === undefined || routes[into]?.includes(route)) return
  const known = routes[into]
  const state = known === undefined ? 'it is for --into docker and podman' : `${into} has ${known.join(', ')}`
  throw new WindlassError('USAGE', `Cannot use option --route ${quote(route)} with --into ${quote(into)}: ${state}`)
}
