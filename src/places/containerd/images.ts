import { randomBytes } from 'node:crypto'
import type { Descriptor } from '../../oci/descriptor.ts'
import type { Digest } from '../../oci/digest.ts'
import { parseDocument } from '../../oci/manifest.ts'
import { isManifestType } from '../../oci/media-types.ts'
import { hasEnded, ownIdentity } from '../../sys/process-identity.ts'
import type { Document } from '../place.ts'
import { type ContainerdClient, isAlreadyExists } from './client.ts'
import { writeContent } from './content.ts'
import { type Image, type Labels, methods } from './messages.ts'

/** A lease of a process that died ends by itself, if no other delivery ends it before. */
const leaseHours = 24
const leasePrefix = 'windlass-'
/** The process that a lease belongs to. */
const ownerLabel = 'windlass.owner'

/**
 * Until it is disposed of, containerd collects nothing of what is made through this client. What deliveries left that were killed is let go of.
 * @throws WindlassError
 */
export async function openLease(client: ContainerdClient, signal: AbortSignal): Promise<AsyncDisposable> {
  await endDeadLeases(client, signal)
  const id = `${leasePrefix}${randomBytes(8).toString('hex')}`
  const expires = new Date(Date.now() + leaseHours * 3_600_000).toISOString()
  const context = { signal, doing: `Cannot take a lease from ${client.name}` }
  const labels = { 'containerd.io/gc.expire': expires, [ownerLabel]: ownIdentity() }
  await client.call(methods.createLease, { id, labels }, context)
  client.lease = id
  return {
    [Symbol.asyncDispose]: async () => {
      const ending = { signal, ms: 10_000, doing: `Cannot give the lease back to ${client.name}` }
      await client.leave(methods.deleteLease, { id, sync: false }, ending)
    },
  }
}

async function endDeadLeases(client: ContainerdClient, signal: AbortSignal): Promise<void> {
  const doing = `Cannot let go of what a dead delivery left in ${client.name}`
  const { leases } = await client.call(methods.listLeases, {}, { signal, doing })
  for (const { id, labels } of leases) {
    if (!id.startsWith(leasePrefix) || !hasEnded(labels[ownerLabel] ?? '')) continue
    // Another one may do the same.
    await client.find(methods.deleteLease, { id, sync: true }, { signal, doing })
  }
}

export interface ImageDocuments {
  /** From the one that the name stands for down to the manifest. */
  readonly documents: readonly [Document, ...Document[]]
  readonly config: Document
  readonly layers: readonly Descriptor[]
  readonly snapshotter: string
  /** The chain ID of the uppermost layer; absent for an image without layers. */
  readonly top: Digest | undefined
  /** Put on each of them. */
  readonly labels: Labels
}

/**
 * Puts manifest, config and index into the content store. Their labels say what they refer to, since containerd's collector does not read documents
 * (containerd docs, "Garbage Collection Labels").
 * @throws WindlassError
 */
export async function writeDocuments(
  client: ContainerdClient,
  { documents, config, layers, snapshotter, top, labels }: ImageDocuments,
  signal: AbortSignal,
): Promise<void> {
  const write = ({ descriptor, bytes }: Document, references: Labels) =>
    writeContent(client, { digest: descriptor.digest, size: bytes.length }, () => once(bytes), {
      labels: { ...labels, ...references },
      signal,
    })
  await write(config, top === undefined ? {} : { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: top })
  const children = layers.map(({ digest }, at) => [`containerd.io/gc.ref.content.l.${at}`, digest])
  const ofManifest = {
    'containerd.io/gc.ref.content.config': config.descriptor.digest,
    ...Object.fromEntries(children),
  }
  for (const document of documents.toReversed()) await write(document, indexReferences(document) ?? ofManifest)
}

/**
 * An index refers to everything that it names, by its place among its like, whether that is there or not: so does containerd's own pull, of whatever platform
 * (`SetChildrenMappedLabels`), and no pull of another platform takes a reference away.
 */
function indexReferences({ descriptor, bytes }: Document): Labels | undefined {
  const document = parseDocument(bytes, { descriptor })
  if (document.kind !== 'index') return undefined
  const labels: Record<string, string> = {}
  const counts = new Map<string, number>()
  for (const { mediaType, digest } of document.manifests) {
    const kind = isManifestType(mediaType) ? 'm.' : ''
    const at = counts.get(kind) ?? 0
    counts.set(kind, at + 1)
    labels[`containerd.io/gc.ref.content.${kind}${at}`] = digest
  }
  return labels
}

/** The image of that name. @throws WindlassError */
export async function findImage(
  client: ContainerdClient,
  name: string,
  signal: AbortSignal,
): Promise<Image | undefined> {
  const context = { signal, doing: `Cannot look ${name} up in ${client.name}` }
  return (await client.find(methods.getImage, { name }, context))?.image ?? undefined
}

/** All images of the namespace. @throws WindlassError */
export async function listImages(client: ContainerdClient, signal: AbortSignal): Promise<readonly Image[]> {
  const context = { signal, doing: `Cannot list the images of ${client.name}` }
  return (await client.call(methods.listImages, {}, context)).images
}

/** Takes a name away, and waits until what nothing else refers to is gone. @throws WindlassError */
export async function removeImage(client: ContainerdClient, name: string, signal: AbortSignal): Promise<void> {
  await client.find(
    methods.deleteImage,
    { name, sync: true },
    { signal, doing: `Cannot remove ${name} from ${client.name}` },
  )
}

/** Names what is in the content store; a name that is there points to this from then on. @throws WindlassError */
export async function putImage(client: ContainerdClient, image: Image, signal: AbortSignal): Promise<void> {
  const context = { signal, doing: `Cannot name ${image.name} in ${client.name}` }
  try {
    await client.call(methods.createImage, { image }, context)
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
    await client.call(methods.updateImage, { image }, context)
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
