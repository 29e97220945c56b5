/** The names of images in an engine: read, proven, removed. Loaded where it is needed alone: what speaks to engines takes long to load. */
import { isWindlassError } from '../../errors.ts'
import { isDigest } from '../../oci/digest.ts'
import { formatFamiliar, formatReference, parseReference, repositoryName } from '../../oci/reference.ts'
import { ContainerdClient } from '../../places/containerd/client.ts'
import { findContent } from '../../places/containerd/content.ts'
import { keepReplaced, listImages, putImage, removeImage } from '../../places/containerd/images.ts'
import type { Image } from '../../places/containerd/messages.ts'
import { listNamespaces } from '../../places/containerd/namespaces.ts'
import { hasSnapshot } from '../../places/containerd/snapshots.ts'
import { DockerClient } from '../../places/docker/client.ts'
import { findImage, recordDigest, removeName as removeFromDocker, tagImage } from '../../places/docker/images.ts'
import type { DeliveryPlace, ExpectedImage, Names } from './delivery-place.ts'

const answerMs = 2000
export const defaultNamespace = 'default'

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

/** containerd drops at once what no name stands for; docker keeps it until it is pruned. */
const keptPrefix = 'windlass-kept@'

/** The name under which what a name stands for has to be kept, so that it can be given back; undefined where that is not needed. */
export function keptName({ engine }: DeliveryPlace, names: Names, name: string): string | undefined {
  const old = names[name]
  if (engine === 'dockerd' || old === undefined) return undefined
  const isNamed = Object.entries(names).some(([other, target]) => other !== name && target === old)
  return isNamed ? undefined : keptPrefix + old
}

/** Before the name stands for that digest. @throws WindlassError */
export async function keepOld(
  place: DeliveryPlace,
  { name, digest }: { readonly name: string; readonly digest: string },
  signal: AbortSignal,
): Promise<void> {
  using client = openContainerd(place)
  await keepReplaced(client, { name, target: { mediaType: '', digest, size: 0 } }, keptPrefix, signal)
}

/** What a name can be given: an image ID of docker, the descriptor of containerd. */
type Target = string | Image['target']

/** @param id of the image that is looked for, as `readNames` tells it. @returns undefined if the engine no longer has it */
export async function findTarget(place: DeliveryPlace, id: string, signal: AbortSignal): Promise<Target | undefined> {
  if (place.engine === 'dockerd') {
    using client = await connectDocker(place, signal)
    return (await findImage(client, id, signal))?.id
  }
  using client = openContainerd(place)
  return (await listImages(client, signal)).find(({ target }) => target.digest === id)?.target
}

/** @throws WindlassError */
export async function giveName(place: DeliveryPlace, name: string, target: Target, signal: AbortSignal): Promise<void> {
  if (typeof target === 'string') {
    using client = await connectDocker(place, signal)
    const reference = parseReference(name)
    await tagImage(client, target, { repository: repositoryName(reference), tag: reference.tag ?? 'latest' }, signal)
  } else {
    using client = openContainerd(place)
    await putImage(client, { name, labels: {}, target }, signal)
  }
}

/**
 * docker is made to pull it itself: what it has all of ends at once, whatever its decompressor does. Of containerd it is looked up whether the snapshot is there.
 * @param image what the reference stands for at the registry, and the image's config
 */
export async function proveDelivery(
  place: DeliveryPlace,
  { digest, config }: { readonly digest: string; readonly config: string | undefined },
  signal: AbortSignal,
) {
  const found = (await readNames(place, signal))[nameOf(place)]
  if (found === undefined) return { isProven: false, text: `${place.engine} does not show ${nameOf(place)}` }
  if (place.engine === 'dockerd') return await proveByPull(place, { found, digest }, signal)
  const where = `containerd, in namespace ${place.namespace ?? defaultNamespace},`
  if (found !== digest) return { isProven: false, text: `${where} has it as ${found}, not as ${digest}` }
  const isProven = await isUnpacked(place, config, signal)
  const state = isProven ? 'unpacked' : 'and does not show that it is unpacked'
  return { isProven, text: `${where} has it as ${digest}, ${state}` }
}

/** Labels of an image's config say which snapshot is its uppermost layer; without layers it has none. */
const snapshotLabel = 'containerd.io/gc.ref.snapshot.'

async function isUnpacked(place: DeliveryPlace, config: string | undefined, signal: AbortSignal): Promise<boolean> {
  using client = openContainerd(place)
  const content = config !== undefined && isDigest(config) ? await findContent(client, config, signal) : undefined
  const labels = Object.entries(content?.labels ?? {}).filter(([label]) => label.startsWith(snapshotLabel))
  const found = labels.map(([label, chainId]) => {
    return hasSnapshot(client, { snapshotter: label.slice(snapshotLabel.length), key: chainId }, signal)
  })
  return content !== undefined && (await Promise.all(found)).every(Boolean)
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
    await recordDigest(client, { repository, digest, platform: place.platform, auth: undefined, signal })
    return { isProven: true, text: `docker has it (${found}), and its own pull of ${digest} ends well` }
  } catch (error) {
    signal.throwIfAborted()
    if (!isWindlassError(error)) throw error
    const text = `docker has it (${found}); its own pull of ${digest} was not seen to end: ${error.message}`
    return { isProven: false, text }
  }
}

/** The namespaces of a containerd; undefined if it does not tell. */
export async function readNamespaces(socket: string): Promise<readonly string[] | undefined> {
  using client = new ContainerdClient({ socket, namespace: defaultNamespace })
  return await listNamespaces(client, AbortSignal.timeout(answerMs)).catch(() => undefined)
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
