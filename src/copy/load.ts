import { WindlassError } from '../errors.ts'
import { Channel } from '../flow/channel.ts'
import type { Digest } from '../oci/digest.ts'
import { parsePlatform } from '../oci/platform.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import type { Source } from '../places/place.ts'
import { noCredentials } from '../places/registry/credentials.ts'
import { Store } from '../places/store/store.ts'
import type { Session } from '../places/store/types.ts'
import { BlobHosts } from './blob-hosts.ts'
import type { PullEvent } from './events.ts'
import { namelessDomain } from './places.ts'
import { checkRoot } from './privilege.ts'
import {
  admit,
  checkPlatform,
  documentCache,
  emitResolved,
  openNetwork,
  type PullOptions,
  putImage,
  settle,
  tell,
} from './pull.ts'
import { type Emit, type LayersContext, pullLayers } from './pull-layers.ts'
import { type ResolvedImage, readHostPlatform, resolveImage } from './resolve.ts'
import { diskMsDefault, Stuck } from './stuck.ts'
import type { PolicySubject } from './trust/policy.ts'

/** An image to be taken into the store, and the names that it gets there. */
export interface ImageToLoad {
  readonly source: Source
  /** What it is called at the source, where that has several. */
  readonly reference?: Reference
  readonly names: readonly Reference[]
  /** Where it comes from and what it is called there, once for each name: what a policy speaks of. */
  readonly subjects?: readonly PolicySubject[]
}

export type LoadOptions = Pick<
  PullOptions,
  'root' | 'platform' | 'layersMax' | 'patience' | 'decompressors' | 'signal' | 'minSpeed' | 'gatekeeper'
>

/** An image that is in the store now. */
export interface LoadedImage {
  readonly imageId: Digest
  readonly digest: Digest
  readonly names: readonly string[]
}

/** A load that is under way; each image begins with an event of type `start`. */
export interface LoadRun extends AsyncIterable<PullEvent> {
  readonly result: Promise<readonly LoadedImage[]>
}

/**
 * Takes images from any source into the store: verified, unpacked, durable. None of them is visible before all are complete. The caller closes
 * the sources.
 * @param from how messages name what they come from
 */
export function load(from: string, images: readonly ImageToLoad[], options: LoadOptions): LoadRun {
  const events = new Channel<PullEvent>()
  const stuck = new Stuck(options.patience?.diskMs ?? diskMsDefault)
  const running = Promise.race([runLoad(from, images, options, event => tell(events, event), stuck), stuck.given])
  return settle(events, running, `Cannot load ${from}`, options)
}

async function runLoad(
  from: string,
  images: readonly ImageToLoad[],
  options: LoadOptions,
  emit: Emit,
  stuck: Stuck,
): Promise<readonly LoadedImage[]> {
  checkRoot(`Cannot load ${from}`)
  await using store = await Store.open(options.root, options.signal === undefined ? {} : { signal: options.signal })
  await using session = await store.openSession()
  const context = { store, session, options, emit, stuck }
  const resolved: { image: ResolvedImage; toLoad: ImageToLoad; reference: Reference }[] = []
  for (const [at, toLoad] of images.entries()) {
    const reference = toLoad.reference ?? toLoad.names[0] ?? { domain: namelessDomain, path: `image-${at + 1}` }
    resolved.push({ image: await resolveAdmitted(toLoad, reference, context), toLoad, reference })
  }
  await checkComplete(from, resolved, context)
  const staged: { image: ResolvedImage; names: readonly string[] }[] = []
  for (const { image, toLoad, reference } of resolved) {
    await pullLayers(image, openLayers(image, { ...context, source: toLoad.source, reference }))
    staged.push({ image, names: toLoad.names.map(formatReference) })
  }
  for (const { image, names } of staged) {
    for (const document of [...image.documents, image.config]) await session.putDocument(document)
    if (names.length === 0) await putImage(session, image)
    for (const name of names) await putImage(session, image, name)
  }
  return staged.map(({ image, names }) => ({
    imageId: image.config.descriptor.digest,
    digest: image.documents[0].descriptor.digest,
    names,
  }))
}

/** What is at hand for the images of one run. */
export interface LoadContext {
  readonly store: Store
  readonly session: Session
  readonly options: LoadOptions
  readonly emit: Emit
  readonly stuck: Stuck
}

/** Layers that archives left out must be in the store: all of them, before anything is unpacked. */
async function checkComplete(
  from: string,
  resolved: readonly { image: ResolvedImage; toLoad: ImageToLoad; reference: Reference }[],
  { store, session }: LoadContext,
): Promise<void> {
  const missing = new Map<Digest, string>()
  for (const { image, toLoad, reference } of resolved)
    for (const [at, { chainId, descriptor }] of image.layers.entries()) {
      const known = session.findLayer(chainId)
      const isHere = (known !== undefined && session.hasIntactBlob(known)) || session.findBlob(descriptor.digest)
      if (isHere || (await toLoad.source.hasBlob?.(descriptor)) !== false) continue
      missing.set(descriptor.digest, `layer ${at + 1} (${descriptor.digest}) of ${formatReference(reference)}`)
    }
  const [first] = missing.values()
  if (first === undefined) return
  const others = missing.size === 1 ? '' : `; so are ${missing.size - 1} more`
  const state = `${first} is neither in it nor in the store ${store.root}${others}`
  throw new WindlassError('INCOMPLETE', `Cannot load ${from}: ${state}`, { facts: { missing: missing.size } })
}

function retryingOf({ options, emit }: LoadContext) {
  return {
    signal: options.signal ?? new AbortController().signal,
    onRetry: (error: WindlassError): void => emit({ type: 'warning', message: error.message }),
  }
}

/** One image of a source, if the policy lets it in. */
export async function resolveAdmitted(
  { source, subjects = [] }: Omit<ImageToLoad, 'names'>,
  reference: Reference,
  context: LoadContext,
): Promise<ResolvedImage> {
  const image = await resolve(source, reference, context)
  const { gatekeeper } = context.options
  const retrying = retryingOf(context)
  const documents = await admit(gatekeeper, image.documents, { ...context, subjects, sources: [source], retrying })
  return { ...image, documents }
}

async function resolve(source: Source, reference: Reference, context: LoadContext): Promise<ResolvedImage> {
  const { store, session, options, emit } = context
  const wanted = options.platform === undefined ? undefined : parsePlatform(options.platform, readHostPlatform())
  const image = await resolveImage(new BlobHosts(source), reference, wanted ?? readHostPlatform(), {
    ...retryingOf(context),
    cache: documentCache(store, session),
  })
  checkPlatform(image, formatReference(reference), options.platform, emit)
  return image
}

/** All that `pullLayers` needs to bring the layers of an image. */
export function openLayers(
  image: ResolvedImage,
  { source, reference, ...context }: LoadContext & { readonly source: Source; readonly reference: Reference },
): LayersContext {
  const { options, emit } = context
  const startedMs = performance.now()
  const name = formatReference(reference)
  emit({ type: 'start', reference: name, registry: source.name })
  const pullOptions = { ...options, credentials: noCredentials }
  emitResolved(image, name, emit)
  const network = openNetwork(new BlobHosts(source), pullOptions)
  return { ...context, network, options: pullOptions, signal: retryingOf(context).signal, startedMs }
}
