import type { OpenedEngine } from '../copy/engines.ts'
import type { DockerRoute } from '../copy/into-docker.ts'
import type { PodmanRoute } from '../copy/into-podman.ts'
import { WindlassError } from '../errors.ts'
import { quote } from '../oci/quote.ts'
import type { Context } from './command.ts'

/**
 * Reads `--into`; undefined for the store.
 * @throws WindlassError USAGE for a name that is none, or an address of docker that makes no sense
 */
export async function openInto(
  { env }: Pick<Context, 'env'>,
  into: string,
  route: string | undefined,
): Promise<OpenedEngine | undefined> {
  checkRoute(into, route)
  if (into === 'store') return undefined
  const [engine, namespace] = into.split(/:(.*)/s, 2)
  const isEngine = engine === 'containerd' || ((engine === 'docker' || engine === 'podman') && engine === into)
  if (!isEngine) {
    const wanted = 'store, docker, containerd[:NAMESPACE] or podman'
    throw new WindlassError('USAGE', `Cannot pull into ${quote(into)}: there is no such place; wanted ${wanted}`)
  }
  const { openEngine } = await import('../copy/engines.ts')
  return await openEngine(engine, { env, route: route as DockerRoute | PodmanRoute | undefined, namespace })
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
