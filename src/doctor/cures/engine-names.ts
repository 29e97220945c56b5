/** The names of images in an engine: read, proven, removed. Loaded where it is needed alone: what speaks to engines takes long to load. */
import { isWindlassError } from '../../errors.ts'
import { isDigest } from '../../oci/digest.ts'
import { formatFamiliar, formatReference, parseReference, repositoryName } from '../../oci/reference.ts'
import { ContainerdClient } from '../../places/containerd/client.ts'
import { listImages, removeImage } from '../../places/containerd/images.ts'
import { DockerClient } from '../../places/docker/client.ts'
import { findImage, recordDigest, removeName as removeFromDocker } from '../../places/docker/images.ts'
import type { DeliveryPlace, ExpectedImage, Names } from './deliver.ts'

const answerMs = 2000
const defaultNamespace = 'default'

/** Among the sockets of a containerd there are some that speak another protocol, and do not answer. */
export async function findContainerd(paths: readonly string[]): Promise<string | undefined> {
  for (const socket of paths.filter(path => !path.endsWith('.ttrpc'))) {
    using client = new ContainerdClient({ socket, namespace: defaultNamespace })
    try {
      await client.readVersion(AbortSignal.timeout(answerMs))
      return socket
    } catch {} // not this one
  }
  return undefined
}

/** Of docker the name alone; of containerd all, since in the namespace of a kubelet an image has several. */
export async function readNames(place: DeliveryPlace, signal: AbortSignal): Promise<Names> {
  if (place.engine === 'dockerd') {
    using client = await connectDocker(place, signal)
    const image = await findImage(client, nameOf(place), signal)
    return image === undefined ? {} : { [nameOf(place)]: image.id }
  }
  using client = openContainerd(place)
  const images = await listImages(client, signal)
  return Object.fromEntries(images.map(({ name, target }) => [name, target.digest]))
}

export async function removeName(place: DeliveryPlace, name: string, signal: AbortSignal): Promise<void> {
  if (place.engine === 'dockerd') {
    using client = await connectDocker(place, signal)
    await removeFromDocker(client, name, signal)
  } else {
    using client = openContainerd(place)
    await removeImage(client, name, signal)
  }
}

/**
 * docker is made to pull it itself: what it has all of ends at once, whatever its decompressor does.
 * @param digest what the reference stands for at the registry
 */
export async function proveDelivery(place: DeliveryPlace, digest: string, signal: AbortSignal) {
  const found = (await readNames(place, signal))[nameOf(place)]
  if (found === undefined) return { isProven: false, text: `${place.engine} does not show ${nameOf(place)}` }
  if (place.engine === 'dockerd') return await proveByPull(place, { found, digest }, signal)
  const where = `containerd, in namespace ${place.namespace ?? defaultNamespace},`
  const isProven = found === digest
  const text = isProven ? `${where} has it as ${digest}, unpacked` : `${where} has it as ${found}, not as ${digest}`
  return { isProven, text }
}

async function proveByPull(
  place: DeliveryPlace,
  { found, digest }: { readonly found: string; readonly digest: string },
  signal: AbortSignal,
) {
  try {
    if (!isDigest(digest)) throw new TypeError(digest)
    const repository = repositoryName(parseReference(place.reference))
    using client = await connectDocker(place, signal)
    await recordDigest(client, { repository, digest, platform: undefined, auth: undefined, signal })
    return { isProven: true, text: `docker has it (${found}), and its own pull of ${digest} ends well` }
  } catch (error) {
    signal.throwIfAborted()
    if (!isWindlassError(error)) throw error
    const text = `docker has it (${found}); its own pull of ${digest} was not seen to end: ${error.message}`
    return { isProven: false, text }
  }
}

/** As the engine itself lists it. */
export function nameOf({ engine, reference }: DeliveryPlace): string {
  const parsed = parseReference(reference)
  return engine === 'dockerd' ? formatFamiliar(parsed) : formatReference(parsed)
}

/** What a delivery brings at most; in the namespace of a kubelet an image has three names. */
export function namesOf(place: DeliveryPlace, { digest, config }: ExpectedImage): string[] {
  if (place.engine === 'dockerd') return [nameOf(place)]
  return [...new Set([nameOf(place), `${repositoryName(parseReference(place.reference))}@${digest}`, config])]
}

async function connectDocker({ socket: path }: DeliveryPlace, signal: AbortSignal): Promise<DockerClient> {
  return await DockerClient.connect({ kind: 'unix', path }, { env: {}, signal })
}

function openContainerd({ socket, namespace = defaultNamespace }: DeliveryPlace): ContainerdClient {
  return new ContainerdClient({ socket, namespace })
}
