import { isWindlassError, WindlassError, wrapError } from '../errors.ts'
import { Channel } from '../flow/channel.ts'
import { cancelledError, type RetryOptions } from '../flow/retry.ts'
import { defaultSpeedFloor } from '../flow/speed.ts'
import { Throttle } from '../flow/throttle.ts'
import { UnpackThreads } from '../layer/unpack.ts'
import type { Digest } from '../oci/digest.ts'
import { formatPlatform, parsePlatform } from '../oci/platform.ts'
import { parseReference, type Reference, registryHost, repositoryName } from '../oci/reference.ts'
import type { Source } from '../places/place.ts'
import type { ConnectionOptions } from '../places/registry/connection.ts'
import type { CredentialSource } from '../places/registry/credentials.ts'
import { readAheadBytes, type Timeouts } from '../places/registry/limits.ts'
import { openRegistry, parseMirror } from '../places/registry/registry.ts'
import { Store } from '../places/store/store.ts'
import type { Session } from '../places/store/types.ts'
import { readDiskSpace } from '../sys/disk.ts'
import { BlobHosts } from './blob-hosts.ts'
import { RangeBudget } from './blob-ranges.ts'
import type { Network } from './blob-stream.ts'
import type { Delivered, Destination } from './destination.ts'
import type { PullEvent, PullResult } from './events.ts'
import { checkRoot } from './privilege.ts'
import { type Emit, type LayersContext, type LayersOptions, type LayersPatience, pullLayers } from './pull-layers.ts'
import { type DocumentCache, type ResolvedImage, readHostPlatform, resolveImage } from './resolve.ts'
import { diskMsDefault, Stuck } from './stuck.ts'
import { type Gatekeeper, nameWithDigest } from './trust/gatekeeper.ts'
import type { PolicySubject } from './trust/policy.ts'
import { watchCommit } from './watch-commit.ts'

export interface PullOptions extends LayersOptions {
  /** Directory of the store. */
  readonly root: string
  /** `os/arch[/variant]`; the host's if absent. */
  readonly platform?: string
  readonly credentials: CredentialSource
  /**
   * Hosts (`host[:port]`) that serve the same repository: asked before the origin, for tags too, with what `credentials` has for them, never
   * with the origin's. What a mirror says a tag means is believed, as by docker; a reference with a digest believes nobody.
   */
  readonly mirrors?: readonly string[]
  /** How registries are reached: proxies, certificates. The certificate of `certFile` is for the registry of the reference, not for mirrors. */
  readonly connections?: ConnectionOptions
  /** Bytes per second; a connection that is slower while the pull waits for it is given up. 1 KiB/s if absent; 0 lets all pass. */
  readonly minSpeed?: number
  /** Bytes per second for all layers together; no limit if absent. */
  readonly limitRate?: number
  /** Ranges of one large layer that are fetched at a time when the network is what the pull waits for; 4 if absent, 1 for never. */
  readonly rangesMax?: number
  readonly patience?: PullPatience
  /** Where the image goes instead of the store, which then only keeps what was downloaded, for the next time. */
  readonly into?: Destination
  /** Decides whether the image may come in, before any of its layers is fetched. */
  readonly gatekeeper?: Gatekeeper | undefined
  /** Where threads that unpack come from, some of them started ahead perhaps; the caller disposes them. The pull has its own if absent. */
  readonly threads?: UnpackThreads | undefined
  readonly signal?: AbortSignal
}

/** How long a pull waits for what, in milliseconds, where that is not the default. */
export interface PullPatience extends Partial<Timeouts>, LayersPatience {
  /** The first pause before another attempt. */
  readonly pauseMs?: number
  /** The time over which `minSpeed` is judged. */
  readonly speedMs?: number
}

/** A pull that is under way: its events as they come, and what it ends with. */
export interface PullRun extends AsyncIterable<PullEvent> {
  /** @throws WindlassError of any code of the table; CANCELLED when the signal aborts. */
  readonly result: Promise<PullResult>
}

/**
 * Pulls an image from its registry into the store: verified, unpacked, durable, or not at all. It starts at once; the events may be
 * read or not. What a failed or cancelled pull downloaded stays in the store for the next one.
 */
export function pull(reference: string, options: PullOptions): PullRun {
  const events = new Channel<PullEvent>()
  const stuck = new Stuck(options.patience?.diskMs ?? diskMsDefault)
  const running = Promise.race([runPull(reference, options, event => tell(events, event), stuck), stuck.given])
  return settle(events, running, `Cannot pull ${reference}`, options)
}

/** Ties the events to the result: they end with it. */
export function settle<Event, Result>(
  events: Channel<Event>,
  running: Promise<Result>,
  doing: string,
  options: Pick<PullOptions, 'root' | 'signal'>,
): AsyncIterable<Event> & { readonly result: Promise<Result> } {
  const result = running
    .catch(async error => Promise.reject(await explain(error, doing, options)))
    .finally(() => events.close())
  // Whoever reads only the events learns of the failure from `result`; it must not end the process meanwhile.
  result.catch(() => {})
  return { result, [Symbol.asyncIterator]: () => events[Symbol.asyncIterator]() }
}

/** Who does not read must not make events pile up: of a layer's progress only the newest is kept. */
export function tell(events: Channel<PullEvent>, event: PullEvent): void {
  if (event.type === 'progress') events.replace(`layer ${event.layer}`, event)
  else events.push(event)
}

/** Whatever the first thing was that noticed a cancelled pull, the pull was cancelled. */
async function explain(
  error: unknown,
  doing: string,
  { root, signal }: Pick<PullOptions, 'root' | 'signal'>,
): Promise<WindlassError> {
  if (signal?.aborted && !isWindlassError(signal.reason)) return cancelledError(doing)
  const wrapped = wrapError(error, doing)
  return wrapped.code === 'NO_SPACE' && wrapped.facts['engine'] === undefined && wrapped.facts['output'] === undefined
    ? await addFreeSpace(wrapped, root)
    : wrapped
}

/** A disk is full when it has no blocks or no inodes left: which of them it is, and how much there is, must be said. */
async function addFreeSpace(error: WindlassError, root: string): Promise<WindlassError> {
  const space = await readDiskSpace(root).catch(() => undefined)
  if (space === undefined || error.facts['free'] !== undefined) return error
  const { bytesFree: free, inodesFree } = space
  const message = `${error.message}; the filesystem of ${root} has ${free} bytes and ${inodesFree} inodes free`
  return new WindlassError('NO_SPACE', message, { cause: error, facts: { ...error.facts, free, inodesFree } })
}

async function runPull(text: string, options: PullOptions, emit: Emit, stuck: Stuck): Promise<PullResult> {
  const startedMs = performance.now()
  const reference = parseReference(text)
  if (options.into?.needsRoot !== false) checkRoot(`Cannot pull ${text}`)
  const wanted = options.platform === undefined ? undefined : parsePlatform(options.platform, readHostPlatform())
  const signal = options.signal ?? new AbortController().signal
  await using store = await Store.open(options.root, { signal })
  // Only now: what is shown from here on is that the registry is waited for.
  emit({ type: 'start', reference: text, registry: registryHost(reference) })
  await using _decompressors = { [Symbol.asyncDispose]: async () => await options.decompressors?.settled() }
  await using session = await store.openSession(`pull ${text}`)
  const isNew = options.into === undefined && findDigest(store, reference) === undefined
  const { threads = new UnpackThreads() } = options
  await using _own = options.threads === undefined ? threads : undefined
  if (isNew) await threads.prepare()
  const registryOptions = {
    ...options.connections,
    credentials: options.credentials,
    timeouts: options.patience ?? {},
    readAheadBytes: options.limitRate === undefined ? undefined : Math.min(options.limitRate, readAheadBytes),
  }
  await using source = openRegistry(reference, registryOptions)
  await using opened = new AsyncDisposableStack()
  const mirrors = (options.mirrors ?? []).map(host =>
    opened.use(
      openRegistry(parseMirror(host, reference), { ...registryOptions, certFile: undefined, keyFile: undefined }),
    ),
  )
  const retrying: RetryOptions = {
    signal,
    onRetry: error => emit({ type: 'warning', message: error.message }),
    pauseMs: options.patience?.pauseMs,
  }
  const cache = documentCache(store, session)
  const hosts = new BlobHosts(source, mirrors)
  const found = await resolveImage(hosts, reference, wanted ?? readHostPlatform(), { ...retrying, cache })
  checkPlatform(found, text, options.platform, emit)
  const admission = { subjects: [{ transport: 'docker', reference }], sources: [...mirrors, source], retrying, emit }
  const image = { ...found, documents: await admit(options.gatekeeper, found.documents, admission) }
  const name = `${repositoryName(reference)}${reference.tag === undefined ? '' : `:${reference.tag}`}`
  emitResolved(image, name, emit)
  const network = openNetwork(hosts, options)
  const layers = { network, session, store, options, signal, emit, stuck, startedMs, threads }
  const { pulls, changed } =
    options.into === undefined
      ? await storeImage(image, { ...layers, session, text, reference })
      : await options.into.deliver(image, { ...layers, reference, credentials: options.credentials })
  const totals = pulls.map(({ progress }) => progress)
  const result: PullResult = {
    reference: `${name}@${image.documents[0].descriptor.digest}`,
    digest: image.documents[0].descriptor.digest,
    imageId: image.config.descriptor.digest,
    changed,
    bytesDownloaded: pulls.reduce((sum, { bytesFetched }) => sum + bytesFetched, 0),
    entries: totals.reduce((sum, { entries }) => sum + entries, 0),
    elapsedMs: Math.round(performance.now() - startedMs),
  }
  emit({ type: 'done', ...result })
  return result
}

interface Admission {
  /** All of them must let it in; with none, nothing is asked. */
  readonly subjects: readonly PolicySubject[]
  /** Where signatures may be. */
  readonly sources: readonly Source[]
  readonly retrying: RetryOptions
  readonly emit: Emit
}

type Documents = ResolvedImage['documents']

/**
 * Asks whether an image may come in. What is fetched afterwards is named by these very documents.
 * @param documents from the one that the reference named down to the manifest
 * @returns those that may be kept: the first of them is what the policy let in, so that an index that nobody signed is left out
 */
export async function admit(
  gatekeeper: Gatekeeper | undefined,
  documents: Documents,
  admission: Admission,
): Promise<Documents> {
  const { subjects, emit } = admission
  if (gatekeeper === undefined || subjects.length === 0) return documents
  const [{ descriptor }, next, ...below] = documents
  try {
    await askGatekeeper(gatekeeper, documents, admission)
    return documents
  } catch (error) {
    // Who asks for the index by its digest gets the index or nothing.
    const isPinned = subjects.some(({ reference }) => reference?.digest === descriptor.digest)
    if (next === undefined || isPinned || !isWindlassError(error, 'POLICY_REFUSED')) throw error
    const kept = await admit(gatekeeper, [next, ...below], admission).catch((refusal: unknown) => {
      // That of the document that has signatures at all says what they lack.
      const isTelling = isWindlassError(refusal) && !hasSignatures(error) && hasSignatures(refusal)
      throw isTelling || !isWindlassError(refusal, 'POLICY_REFUSED') ? refusal : error
    })
    const message = `The index ${descriptor.digest} is not what was signed: kept without it, as ${kept[0].descriptor.digest}`
    emit({ type: 'notice', message })
    return kept
  }
}

function hasSignatures({ facts }: WindlassError): boolean {
  return Number(facts['signatures'] ?? 0) > 0
}

async function askGatekeeper(
  gatekeeper: Gatekeeper,
  documents: Documents,
  { subjects, sources, retrying, emit }: Admission,
): Promise<void> {
  const { digest } = documents[0].descriptor
  const notices = new Set<string>()
  for (const subject of subjects) {
    const { reference } = subject
    const name = reference === undefined ? `image ${digest}` : nameWithDigest(reference, digest)
    const told = await gatekeeper.check({ name, reference, documents, sources }, subject, retrying)
    if (told !== undefined) notices.add(told)
  }
  for (const message of notices) emit({ type: 'notice', message })
}

/** Layers first, then the documents, then the name. */
async function storeImage(
  image: ResolvedImage,
  context: LayersContext & { session: Session; text: string; reference: Reference },
): Promise<Delivered> {
  const { store, session, text, reference } = context
  const before = findDigest(store, reference)
  const pulls = await pullLayers(image, context)
  await watchCommit(context, async commit => {
    for (const document of [...image.documents, image.config]) {
      await commit(`document ${document.descriptor.digest} in ${store.root}`, session.putDocument(document))
    }
    await commit(`the name ${text} in ${store.root}`, putImage(session, image, text))
  })
  return { pulls, changed: before !== image.manifest.descriptor.digest }
}

export function openNetwork(
  hosts: BlobHosts,
  {
    minSpeed,
    limitRate,
    rangesMax,
    patience = {},
  }: Pick<PullOptions, 'minSpeed' | 'limitRate' | 'rangesMax' | 'patience'>,
): Network {
  return {
    hosts,
    floor: {
      bytesPerSecond: minSpeed ?? defaultSpeedFloor.bytesPerSecond,
      windowMs: patience.speedMs ?? defaultSpeedFloor.windowMs,
    },
    throttle: limitRate === undefined ? undefined : new Throttle(limitRate),
    ranges: new RangeBudget({ rangesMax }),
    pauseMs: patience.pauseMs,
  }
}

/** Documents of the store; one that is damaged counts as absent, and is fetched and stored again. */
export function documentCache(store: Store, session: Session): DocumentCache {
  return async descriptor => {
    if (session.findBlob(descriptor.digest)?.size !== descriptor.size) return undefined
    const bytes = await store.readBlob(descriptor.digest).catch(() => undefined)
    return bytes && { descriptor, bytes }
  }
}

/** @throws WindlassError PLATFORM_MISSING if the image, which no index vouches for, is for another platform than the one asked for */
export function checkPlatform(
  { isForPlatform, imageConfig }: ResolvedImage,
  name: string,
  asked: string | undefined,
  emit: Emit,
): void {
  if (isForPlatform) return
  const is = formatPlatform(imageConfig)
  if (asked !== undefined) {
    const state = `it is for ${is} only`
    throw new WindlassError('PLATFORM_MISSING', `Cannot choose an image of ${name} for ${asked}: ${state}`)
  }
  emit({ type: 'warning', message: `${name} is for ${is}, not for this machine's platform` })
}

/** @param name without a digest */
export function emitResolved(image: ResolvedImage, name: string, emit: Emit): void {
  const { os, architecture, variant } = image.imageConfig
  emit({
    type: 'resolved',
    reference: name,
    digest: image.documents[0].descriptor.digest,
    imageId: image.config.descriptor.digest,
    platform: { os, architecture, ...(variant !== undefined && { variant }) },
    layers: image.layers.map(({ descriptor }) => descriptor),
  })
}

/** The manifest that the name points to now. */
function findDigest(store: Store, reference: Reference): Digest | undefined {
  const name = `${repositoryName(reference)}${reference.digest === undefined ? `:${reference.tag}` : `@${reference.digest}`}`
  return store.listImages().find(({ names, repoDigests }) => names.includes(name) || repoDigests.includes(name))?.digest
}

/** Gives the image a name; without one it is known by its ID only. */
export async function putImage(session: Session, image: ResolvedImage, reference?: string): Promise<void> {
  const { os, architecture, variant, created } = image.imageConfig
  await session.putImage({
    ...(reference !== undefined && { reference }),
    target: image.documents[0].descriptor,
    manifest: image.manifest.descriptor,
    config: image.config.descriptor,
    platform: { os, architecture, ...(variant !== undefined && { variant }) },
    created,
    layers: image.layers,
  })
}
