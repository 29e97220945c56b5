import { WindlassError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { formatPlatform } from '../oci/platform.ts'
import { formatReference } from '../oci/reference.ts'
import { isDeliveryName } from '../places/loopback/registry.ts'
import { Podman } from '../places/podman/podman.ts'
import type { Delivered, DeliveryContext, Destination } from './destination.ts'
import type { Transfer } from './engine-transfer.ts'
import { serveToPodman } from './podman-serve.ts'
import type { LayerPull } from './pull-layer.ts'
import { pullLayers } from './pull-layers.ts'
import type { ResolvedImage } from './resolve.ts'
import { engineSilenceMs } from './stuck.ts'

export interface PodmanDestinationOptions {
  /** podman is found on the PATH in it, and finds its storage by it. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly idleMs?: number
  /** `auto` if absent. */
  readonly route?: PodmanRoute | undefined
}

/**
 * `registry`: podman pulls from windlass, on loopback, and unpacks the first layers while the next ones come. `files`: from a directory, when all is there.
 */
export type PodmanRoute = 'auto' | 'registry' | 'files'

/**
 * Into the storage of this user's podman: podman takes the image from what is here and verified, without a network, on a PATH that has no decompressor.
 * Its digests are those of its own pull.
 */
export function intoPodman(options: PodmanDestinationOptions): Destination {
  return { needsRoot: false, deliver: (image, context) => deliver(image, context, options) }
}

async function deliver(
  image: ResolvedImage,
  context: DeliveryContext,
  { env, idleMs, route = 'auto' }: PodmanDestinationOptions,
): Promise<Delivered> {
  const { signal, reference, emit } = context
  const silenceMs = idleMs ?? engineSilenceMs(context.options.patience?.engineMs)
  await using podman = await Podman.open({ env, signal, ...(silenceMs !== undefined && { idleMs: silenceMs }) })
  const name = reference.digest === undefined ? formatReference(reference) : undefined
  const { digest } = image.documents[0].descriptor
  const id = image.config.descriptor.digest
  const before = await podman.find(id)
  const isThere = before?.digest === digest || before?.repoDigests.some(known => known.endsWith(`@${digest}`)) === true
  const present = isThere ? new Set(image.layers.map(({ chainId }) => chainId)) : new Set<Digest>()
  const pulls = isThere
    ? await pullLayers(image, { ...context, engineLayers: present })
    : await bring(podman, { image, context, present }, route)
  const isNamed = name !== undefined && before?.names.includes(name) === true
  if (name === undefined) {
    const state = 'podman names no image by its digest alone'
    emit({ type: 'warning', message: `${state}: use its ID, ${id}, or pull it by a tag` })
  } else if (!isNamed) await podman.tag(id, name)
  await removeDeliveryNames(podman, id)
  const found = await podman.find(name ?? id)
  if (found === undefined || `sha256:${found.id}` !== id)
    throw new WindlassError(
      'FAILED',
      `Cannot deliver into podman: ${name ?? id} is not what was delivered: ${found?.id}`,
    )
  return { pulls, changed: !isThere || (name !== undefined && !isNamed) }
}

/** By its own pull from a registry of ours; where it does not come there, since its policy or registries.conf keeps it away, from files. */
async function bring(podman: Podman, transfer: Transfer, route: PodmanRoute): Promise<readonly LayerPull[]> {
  const { emit } = transfer.context
  const tell = (taken: 'registry' | 'files', from: string) => {
    const how = `it unpacks by itself, from ${from}, on a PATH without decompressors`
    const message = `Delivering into podman ${podman.version}: ${how}`
    emit({ type: 'delivery', engine: 'podman', route: taken, message })
  }
  if (route !== 'files') {
    tell('registry', 'a registry of windlass on loopback')
    const served = await serveToPodman(transfer, podman)
    if (!('refused' in served)) return served.pulls
    if (route === 'registry') throw served.refused
    emit({ type: 'warning', message: `${served.refused.message}; going on with files` })
  }
  tell('files', 'verified files')
  const { image, context, present } = transfer
  const pulls = await pullLayers(image, { ...context, engineLayers: present })
  await take(podman, image, context.session)
  return pulls
}

/** The name under which podman pulled it from us; also one that a delivery left which was killed. */
async function removeDeliveryNames(podman: Podman, id: string): Promise<void> {
  const found = await podman.find(id)
  for (const name of found?.names.filter(isDeliveryName) ?? []) await podman.untag(id, name)
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
