import type { Descriptor } from '../../oci/descriptor.ts'
import type { Digest } from '../../oci/digest.ts'
import { parseDocument } from '../../oci/manifest.ts'
import { isManifestType } from '../../oci/media-types.ts'
import type { Document } from '../place.ts'
import { type ContainerdClient, isAlreadyExists } from './client.ts'
import { writeContent } from './content.ts'
import { type Image, type Labels, methods } from './messages.ts'

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

/** Names what is in the content store; a name that is there points to this from then on, and keeps the labels that others gave it. @throws WindlassError */
export async function putImage(client: ContainerdClient, image: Image, signal: AbortSignal): Promise<void> {
  const context = { signal, doing: `Cannot name ${image.name} in ${client.name}` }
  try {
    await client.call(methods.createImage, { image }, context)
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
    const paths = ['target', ...Object.keys(image.labels).map(name => `labels.${name}`)]
    await client.call(methods.updateImage, { image, mask: { paths } }, context)
  }
}

/** What says under which name an image came is not true of another name. */
const nameLabels: ReadonlySet<string> = new Set(['io.containerd.image.name', 'org.opencontainers.image.ref.name'])

/**
 * As docker does it: an image that is about to lose its last name to another one gets one of its own, of a prefix and its digest, and so stays.
 * @throws WindlassError
 */
export async function keepReplaced(
  client: ContainerdClient,
  { name, target }: Pick<Image, 'name' | 'target'>,
  prefix: string,
  signal: AbortSignal,
): Promise<void> {
  const images = await listImages(client, signal)
  const replaced = images.find(image => image.name === name)
  if (replaced === undefined || replaced.target.digest === target.digest) return
  const { digest } = replaced.target
  if (images.some(image => image.name !== name && image.target.digest === digest)) return
  const labels = Object.fromEntries(Object.entries(replaced.labels).filter(([label]) => !nameLabels.has(label)))
  await putImage(client, { name: prefix + digest, labels, target: replaced.target }, signal)
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
