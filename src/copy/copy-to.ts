import { WindlassError } from '../errors.ts'
import { Channel } from '../flow/channel.ts'
import type { Digest } from '../oci/digest.ts'
import { present } from '../oci/json.ts'
import { parsePlatform } from '../oci/platform.ts'
import type { Reference } from '../oci/reference.ts'
import { Store } from '../places/store/store.ts'
import { type CopyResult, copyImages } from './copy-image.ts'
import type { PullEvent } from './events.ts'
import { type LoadedImage, type LoadOptions, load, openLayers, resolveAdmitted } from './load.ts'
import { type OpenedSource, openTarget, type PlaceOptions, type Target } from './places.ts'
import { checkRoot } from './privilege.ts'
import { type PullOptions, settle, tell } from './pull.ts'
import type { Emit } from './pull-layers.ts'
import { diskMsDefault, Stuck } from './stuck.ts'
import type { Transport } from './transport.ts'
import type { PolicySubject } from './trust/policy.ts'

export interface CopyToOptions extends PlaceOptions {
  /** How messages name what is copied. */
  readonly from: string
  readonly layersMax?: number | undefined
  /** One platform of an index; all if absent, or this machine's where the place takes only one. */
  readonly platform?: string | undefined
  readonly patience?: PullOptions['patience']
  /** Copy signatures and whatever else refers to the image, too, where the place can keep them. */
  readonly referrers?: boolean | undefined
  readonly gatekeeper?: PullOptions['gatekeeper']
  /** Where it comes from and what it is called there, and what it is to be called here: what a policy speaks of. All of them must let it in. */
  readonly subjects?: readonly PolicySubject[] | undefined
  /** Repositories at the destination's registry that may have its blobs already. */
  readonly mountFrom?: readonly string[] | undefined
}

/** What an engine has now. */
export interface DeliveredImage {
  readonly digest: Digest
  readonly imageId: Digest
  /** False if it was there under this name. */
  readonly changed: boolean
}

export type CopiedImage = CopyResult | LoadedImage | DeliveredImage

export interface CopyToRun extends AsyncIterable<PullEvent> {
  readonly result: Promise<CopiedImage>
}

/** Copies an image to any place, in the manner that the place takes it. The caller closes the source. */
export function copyTo(image: OpenedSource, to: Transport, options: CopyToOptions): CopyToRun {
  const events = new Channel<PullEvent>()
  const running = runCopyTo(image, to, options, event => tell(events, event))
  return settle(events, running, `Cannot copy ${options.from}`, options)
}

async function runCopyTo(image: OpenedSource, to: Transport, options: CopyToOptions, emit: Emit): Promise<CopiedImage> {
  if (options.referrers) checkKeepsReferrers(to.kind)
  const target = await openTarget(to, options)
  if (target.manner === 'sink') return await copyIntoSink(image, target, options, emit)
  if (target.manner === 'engine') return await deliver(image, target, options, emit)
  const { from } = options
  const toLoad = { ...sourceOf(image, options), names: [target.reference] }
  return first(await relay(load(from, [toLoad], choicesOf(options)), emit))
}

const keepsReferrers: ReadonlySet<Transport['kind']> = new Set(['docker', 'oci', 'oci-archive', 'docker-archive'])

/** @throws WindlassError UNSUPPORTED for a place that has no room for what refers to an image */
export function checkKeepsReferrers(kind: Transport['kind']): void {
  if (keepsReferrers.has(kind)) return
  const hint = 'copy to an OCI layout, an OCI archive or a registry'
  throw new WindlassError('UNSUPPORTED', `Cannot copy referrers to ${kind}: it has no place for them`, { hint })
}

/** What the stories of loading and delivering take. */
function choicesOf({ root, signal, layersMax, platform, patience, gatekeeper }: CopyToOptions): LoadOptions {
  return { root, signal, ...present({ layersMax, platform, patience, gatekeeper }) }
}

function sourceOf({ source, reference }: OpenedSource, { subjects = [] }: CopyToOptions) {
  return { source, reference, subjects }
}

type SinkTarget = Extract<Target, { readonly manner: 'sink' }>

async function copyIntoSink(
  { source, reference }: OpenedSource,
  { sink, placement }: SinkTarget,
  options: CopyToOptions,
  emit: Emit,
): Promise<CopyResult> {
  await using _sink = sink
  const { platform, referrers, mountFrom, subjects } = options
  const image = { source, reference, placements: [placement] as const, ...present({ mountFrom, subjects }) }
  const choices = {
    ...choicesOf(options),
    referrers,
    platform: platform === undefined ? platform : parsePlatform(platform),
  }
  return first(await relay(copyImages([image], sink, choices), emit))
}

type EngineTarget = Extract<Target, { readonly manner: 'engine' }>

/** As a pull into an engine, from any source. The store keeps what came, for the next time. */
async function deliver(
  image: OpenedSource,
  { destination, reference: name }: EngineTarget,
  options: CopyToOptions,
  emit: Emit,
): Promise<DeliveredImage> {
  const { from, root, signal, registry } = options
  if (destination.needsRoot) checkRoot(`Cannot copy ${from}`)
  const stuck = new Stuck(diskMsDefault)
  const running = async (): Promise<DeliveredImage> => {
    await using store = await Store.open(root, { signal })
    await using session = await store.openSession(`copy ${from}`)
    const context = { store, session, options: choicesOf(options), emit, stuck }
    const { source, reference } = image
    const resolved = await resolveAdmitted(sourceOf(image, options), reference, context)
    const layers = openLayers(resolved, { ...context, source, reference })
    const isRenamed = source.isLocal === true || !isSame(reference, name)
    const delivery = { ...layers, session, reference: name, credentials: registry.credentials, isRenamed }
    const { changed } = await destination.deliver(resolved, delivery)
    return { digest: resolved.documents[0].descriptor.digest, imageId: resolved.config.descriptor.digest, changed }
  }
  return await Promise.race([running(), stuck.given])
}

function isSame(a: Reference, b: Reference): boolean {
  return a.domain === b.domain && a.path === b.path && a.tag === b.tag
}

/** Hands the events of a run on, until its result. */
async function relay<Result>(
  run: AsyncIterable<PullEvent> & { readonly result: Promise<Result> },
  emit: Emit,
): Promise<Result> {
  run.result.catch(() => {})
  for await (const event of run) emit(event)
  return await run.result
}

function first<Result>([result]: readonly Result[]): Result {
  if (result === undefined) throw new WindlassError('FAILED', 'Cannot copy: nothing was copied')
  return result
}
