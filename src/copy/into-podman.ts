import { WindlassError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { formatPlatform } from '../oci/platform.ts'
import { formatReference } from '../oci/reference.ts'
import { Podman } from '../places/podman/podman.ts'
import type { Delivered, DeliveryContext, Destination } from './destination.ts'
import { pullLayers } from './pull-layers.ts'
import type { ResolvedImage } from './resolve.ts'

export interface PodmanDestinationOptions {
  /** podman is found on the PATH in it, and finds its storage by it. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly idleMs?: number
}

/**
 * Into the storage of this user's podman: podman takes the image from files that are here and verified, without a network, on a PATH that has no decompressor.
 * Its digests are those of its own pull.
 */
export function intoPodman(options: PodmanDestinationOptions): Destination {
  return { needsRoot: false, deliver: (image, context) => deliver(image, context, options) }
}

async function deliver(
  image: ResolvedImage,
  context: DeliveryContext,
  { env, idleMs }: PodmanDestinationOptions,
): Promise<Delivered> {
  const { signal, reference, emit, session } = context
  await using podman = await Podman.open({ env, signal, ...(idleMs !== undefined && { idleMs }) })
  const name = reference.digest === undefined ? formatReference(reference) : undefined
  const { digest } = image.documents[0].descriptor
  const id = image.config.descriptor.digest
  const before = await podman.find(id)
  const isThere = before?.digest === digest || before?.repoDigests.some(known => known.endsWith(`@${digest}`)) === true
  const message = `Delivering into podman ${podman.version}: it unpacks by itself, on a PATH without decompressors`
  emit({ type: 'delivery', engine: 'podman', route: 'files', message })
  const all = isThere ? new Set(image.layers.map(({ chainId }) => chainId)) : new Set<Digest>()
  const pulls = await pullLayers(image, { ...context, engineLayers: all })
  if (!isThere) await take(podman, image, session)
  const isNamed = name !== undefined && before?.names.includes(name) === true
  if (name === undefined) {
    const state = 'podman names no image by its digest alone'
    emit({ type: 'warning', message: `${state}: use its ID, ${id}, or pull it by a tag` })
  } else if (!isNamed) await podman.tag(id, name)
  const found = await podman.find(name ?? id)
  if (found === undefined || `sha256:${found.id}` !== id)
    throw new WindlassError(
      'FAILED',
      `Cannot deliver into podman: ${name ?? id} is not what was delivered: ${found?.id}`,
    )
  return { pulls, changed: !isThere || (name !== undefined && !isNamed) }
}

/** An index names what podman would choose by itself, so that it keeps the digest of the index, too; one in another it does not read. */
async function take(podman: Podman, image: ResolvedImage, session: DeliveryContext['session']): Promise<void> {
  await session.putDocument(image.config)
  const digests = [image.config.descriptor.digest, ...image.layers.map(({ descriptor }) => descriptor.digest)]
  const blobs = new Map(digests.map(digest => [digest, session.blobFile(digest)] as const))
  const isOneIndex = image.documents.length === 2
  const documents = isOneIndex ? image.documents : image.documents.slice(-1)
  await podman.take(documents, blobs, isOneIndex ? formatPlatform(image.imageConfig) : undefined)
}
