/** What a containerd itself says of a layer: the repository that it came from, and the images that need it. Loaded where it is needed alone: gRPC takes long to load. */
import { isDigest } from '../oci/digest.ts'
import { ContainerdClient } from '../places/containerd/client.ts'
import { findContent } from '../places/containerd/content.ts'
import { listImages } from '../places/containerd/images.ts'
import { listNamespaces } from '../places/containerd/namespaces.ts'
import { findContainerd } from './cures/engine-names.ts'

export interface LayerUse {
  readonly namespace: string
  /** `127.0.0.1/team/app`, from the labels of the layer; the port is not kept there. */
  readonly repositories: readonly string[]
  /** Names of images of this namespace with a manifest that lists the layer. */
  readonly images: readonly string[]
}

/** It only reads from its database; so long, and not longer. */
const answerMs = 2000
/** Of more images it is not asked. */
const imagesMax = 200
const namespacesMax = 16
const source = /^containerd\.io\/distribution\.source\.(.+)$/
const child = /^containerd\.io\/gc\.ref\.content\./

/** @param sockets of the engine, as we reach them. @returns nothing where it does not answer in time */
export async function findImagesOfLayer(
  sockets: readonly string[],
  digest: string,
  signal: AbortSignal,
): Promise<LayerUse[]> {
  const inTime = AbortSignal.any([signal, AbortSignal.timeout(answerMs)])
  try {
    const socket = await findFirst(sockets)
    if (socket === undefined || inTime.aborted) return []
    using first = new ContainerdClient({ socket, namespace: 'default' })
    const namespaces = (await listNamespaces(first, inTime)).slice(0, namespacesMax)
    const uses: LayerUse[] = []
    for (const namespace of namespaces) {
      using client = new ContainerdClient({ socket, namespace })
      const use = await findUse(client, digest, inTime)
      if (use !== undefined) uses.push({ namespace, ...use })
    }
    return uses
  } catch {
    signal.throwIfAborted()
    return [] // what it does not tell is not known
  }
}

/** Asked one after the other, each that speaks another protocol would take all the time. */
async function findFirst(sockets: readonly string[]): Promise<string | undefined> {
  const asked = sockets.map(async socket => (await findContainerd([socket])) ?? Promise.reject(new Error(socket)))
  return await Promise.any(asked).catch(() => undefined)
}

async function findUse(
  client: ContainerdClient,
  digest: string,
  signal: AbortSignal,
): Promise<Omit<LayerUse, 'namespace'> | undefined> {
  const labels = await labelsOf(client, digest, signal)
  if (labels === undefined) return undefined
  const repositories = Object.entries(labels).flatMap(([name, value]) => {
    const [, host] = source.exec(name) ?? []
    return host === undefined ? [] : value.split(',').map(repository => `${host}/${repository}`)
  })
  const images: string[] = []
  for (const { name, target } of (await listImages(client, signal)).slice(0, imagesMax))
    if (await lists(client, target.digest, digest, signal)) images.push(name)
  return { repositories, images }
}

/** Whether a manifest lists the layer, or an index one that does: containerd notes in labels what each of them needs. */
async function lists(client: ContainerdClient, of: string, digest: string, signal: AbortSignal): Promise<boolean> {
  const children = await childrenOf(client, of, signal)
  if (children.includes(digest)) return true
  for (const manifest of children.slice(0, imagesMax))
    if ((await childrenOf(client, manifest, signal)).includes(digest)) return true
  return false
}

async function childrenOf(client: ContainerdClient, digest: string, signal: AbortSignal): Promise<string[]> {
  const labels = (await labelsOf(client, digest, signal)) ?? {}
  return Object.entries(labels).flatMap(([name, value]) => (child.test(name) ? [value] : []))
}

async function labelsOf(client: ContainerdClient, digest: string, signal: AbortSignal) {
  return isDigest(digest) ? (await findContent(client, digest, signal))?.labels : undefined
}
