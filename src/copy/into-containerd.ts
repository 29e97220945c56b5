import { engineSpaceHint, isWindlassError, WindlassError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { formatReference, type Reference, repositoryName } from '../oci/reference.ts'
import { type ContainerdAddress, ContainerdClient } from '../places/containerd/client.ts'
import { findContent, holdContent, sourceLabelPrefix, writeContent } from '../places/containerd/content.ts'
import { findImage, keepReplaced, putImage, removeImage, writeDocuments } from '../places/containerd/images.ts'
import { openLease } from '../places/containerd/leases.ts'
import { Snapshots } from '../places/containerd/snapshots.ts'
import type { BlobIngest, LayerIdentity, LayerRecord, LockWait, Session } from '../places/store/types.ts'
import { readDiskSpace } from '../sys/disk.ts'
import type { Delivered, DeliveryContext, Destination } from './destination.ts'
import type { LayerBlob, LayerSession, LayerTarget } from './pull-layer.ts'
import { pullLayers } from './pull-layers.ts'
import type { ResolvedImage } from './resolve.ts'
import { engineSilenceMs } from './stuck.ts'
import { watchEngine } from './watch-engine.ts'

export interface ContainerdOptions extends ContainerdAddress {
  readonly snapshotter: string
  /** Where an image that loses its last name to another one is kept: under this and its digest. */
  readonly danglingPrefix?: string
}

/**
 * Into a running containerd, as its own pull would leave it, but without its decompressor: the blobs in its content store under their own digests, the
 * layers unpacked by windlass into snapshots that containerd prepares and commits, all of it under a lease until the name is there.
 */
export function intoContainerd(options: ContainerdOptions): Destination {
  return { needsRoot: true, deliver: (image, context) => deliver(image, context, options) }
}

/** Whoever watches the calls is given the time to say what it has seen. */
const graceMs = 10_000

/** Kubernetes' namespace: its image service looks for images under these names, and with this label. */
const criNamespace = 'k8s.io'
const criLabels = { 'io.cri-containerd.image': 'managed' }

async function deliver(image: ResolvedImage, context: DeliveryContext, options: ContainerdOptions): Promise<Delivered> {
  const { reference, emit } = context
  const silenceMs = engineSilenceMs(context.options.patience?.engineMs)
  using client = new ContainerdClient({ ...options, ...(silenceMs !== undefined && { callMs: silenceMs + graceMs }) })
  using watched = watchEngine(context, client.name)
  client.meter = watched.meter
  const signal = AbortSignal.any([context.signal, watched.signal])
  const version = await client.readVersion(signal)
  const message = `Delivering into ${client.name} (${version}): unpacked here, into the snapshots of ${options.snapshotter}`
  emit({ type: 'delivery', engine: 'containerd', route: 'snapshots', message })
  await using _lease = await openLease(client, signal)
  const [{ descriptor: target }] = image.documents
  const before = await findImage(client, formatReference(reference), signal)
  const snapshots = new Snapshots(client, options.snapshotter, signal)
  const session = await openSession(image, { ...context, signal }, client, snapshots)
  const pulls = await pullLayers(image, { ...context, session, signal })
  const source = sourceLabel(reference)
  await writeDocuments(
    client,
    {
      documents: image.documents,
      config: image.config,
      layers: image.layers.map(({ descriptor }) => descriptor),
      snapshotter: options.snapshotter,
      top: image.layers.at(-1)?.chainId,
      labels: source,
    },
    signal,
  )
  await checkComplete(image, client, snapshots, signal)
  const isCri = options.namespace === criNamespace
  const names = isCri ? criNames(image, reference) : [formatReference(reference)]
  const { danglingPrefix } = options
  for (const name of names) {
    if (danglingPrefix !== undefined) await keepReplaced(client, { name, target }, danglingPrefix, signal)
    await putImage(client, { name, labels: isCri ? criLabels : {}, target }, signal)
  }
  if (danglingPrefix !== undefined) await removeImage(client, danglingPrefix + target.digest, signal)
  return { pulls, changed: before?.target.digest !== target.digest }
}

/** Whoever removes things by hand asks no lease. @throws WindlassError FAILED if something that the name would refer to is not there */
async function checkComplete(
  image: ResolvedImage,
  client: ContainerdClient,
  snapshots: Snapshots,
  signal: AbortSignal,
): Promise<void> {
  const gone = (what: string): never => {
    const message = `Cannot name the image in ${client.name}: ${what} is not there any more`
    throw new WindlassError('FAILED', message, {
      hint: 'something removes it meanwhile: see what does, and pull again',
    })
  }
  const descriptors = [...image.documents, image.config, ...image.layers].map(({ descriptor }) => descriptor)
  for (const { digest } of descriptors) {
    if ((await findContent(client, digest, signal)) === undefined) gone(digest)
  }
  const top = image.layers.at(-1)?.chainId
  if (top !== undefined && !(await snapshots.has(top))) gone(`the unpacked layer ${top}`)
}

/** What the CRI plugin gives an image that it pulls itself: the tag, the digest, and the image's ID. */
function criNames(image: ResolvedImage, reference: Reference): string[] {
  const byDigest = `${repositoryName(reference)}@${image.documents[0].descriptor.digest}`
  return [...new Set([formatReference(reference), byDigest, image.config.descriptor.digest])]
}

function sourceLabel({ domain, path }: Reference): Record<string, string> {
  return { [`${sourceLabelPrefix}${domain.replace(/:\d+$/, '')}`]: path }
}

/** What containerd has is looked up before, since a layer's pull asks for it without waiting. */
async function openSession(
  image: ResolvedImage,
  context: DeliveryContext,
  client: ContainerdClient,
  snapshots: Snapshots,
): Promise<LayerSession> {
  const { signal, reference } = context
  const unpacked = new Set<Digest>()
  const blobs = new Set<Digest>()
  for (const { chainId, descriptor } of image.layers) {
    if (await snapshots.has(chainId)) unpacked.add(chainId)
    if ((await holdContent(client, descriptor.digest, signal)) !== undefined) blobs.add(descriptor.digest)
  }
  return new ContainerdSession(
    image,
    { client, snapshots, unpacked, blobs, labels: sourceLabel(reference) },
    context.session,
  )
}

interface Parts {
  readonly client: ContainerdClient
  readonly snapshots: Snapshots
  /** Layers that were there before, by chain ID. */
  readonly unpacked: ReadonlySet<Digest>
  readonly blobs: ReadonlySet<Digest>
  readonly labels: Readonly<Record<string, string>>
}

/** Blobs go through the store, which keeps what an interrupted pull has, into containerd; layers go into its snapshots. */
class ContainerdSession implements LayerSession {
  readonly isEngine = true
  readonly #image: ResolvedImage
  readonly #parts: Parts
  readonly #store: Session
  /** The end of what is under way for a blob. */
  readonly #passing = new Map<Digest, Promise<void>>()

  constructor(image: ResolvedImage, parts: Parts, store: Session) {
    this.#image = image
    this.#parts = parts
    this.#store = store
  }

  findLayer(chainId: Digest): Pick<LayerRecord, 'blobDigest'> | undefined {
    const layer = this.#image.layers.find(layer => layer.chainId === chainId)
    return layer !== undefined && this.#parts.unpacked.has(chainId)
      ? { blobDigest: layer.descriptor.digest }
      : undefined
  }

  hasIntactBlob({ blobDigest }: Pick<LayerRecord, 'blobDigest'>): boolean {
    return this.#parts.blobs.has(blobDigest)
  }

  async setLayerBlob(): Promise<void> {}

  bytesHere(digest: Digest): number {
    return this.#store.bytesHere(digest)
  }

  async openBlob(descriptor: Descriptor, signal: AbortSignal, wait?: LockWait): Promise<LayerBlob> {
    const blob = await this.#store.openBlob(descriptor, signal, wait)
    const { labels } = this.#parts
    const diffId = this.#image.layers.find(layer => layer.descriptor.digest === descriptor.digest)?.diffId
    const all = { ...labels, ...(diffId !== undefined && { 'containerd.io/uncompressed': diffId }) }
    return new PassedOnBlob(blob, () => this.#passOnInTurn(descriptor, all, signal))
  }

  /** An image may have a layer twice: the second finds it there. */
  #passOnInTurn(descriptor: Descriptor, labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    const before = this.#passing.get(descriptor.digest) ?? Promise.resolve()
    const passed = before.catch(() => {}).then(() => this.#passOn(descriptor, labels, signal))
    this.#passing.set(descriptor.digest, passed)
    return passed
  }

  async #passOn(descriptor: Descriptor, labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    await using complete = await this.#store.openBlob(descriptor, signal)
    await writeContent(this.#parts.client, descriptor, () => complete.read(), { labels, signal })
  }

  async openLayer({ chainId, parent }: LayerIdentity): Promise<LayerTarget> {
    const snapshot = await this.#parts.snapshots.prepare(chainId, parent)
    return {
      existing: undefined,
      diffDirectory: snapshot.directory,
      get lowerDirectories() {
        return snapshot.lowerDirectories
      },
      sync: () => snapshot.sync(),
      commit: () => snapshot.commit(),
      explain: error => explainFullDisk(error, snapshot.directory),
      [Symbol.asyncDispose]: () => snapshot[Symbol.asyncDispose](),
    }
  }
}

/** A full disk of containerd's is not that of the store. */
async function explainFullDisk(error: unknown, directory: string): Promise<unknown> {
  if (!isWindlassError(error, 'NO_SPACE')) return error
  const { bytesFree: free, inodesFree } = await readDiskSpace(directory)
  const state = `the filesystem of containerd's snapshots has ${free} bytes and ${inodesFree} inodes free`
  return new WindlassError('NO_SPACE', `${error.message}: no space left on device; ${state}`, {
    cause: error,
    facts: { ...error.facts, engine: 'containerd', free, inodesFree },
    hint: engineSpaceHint,
  })
}

/** A blob of the store that goes on to the engine once it is committed. */
class PassedOnBlob implements LayerBlob {
  readonly #blob: BlobIngest
  readonly #passOn: () => Promise<void>

  constructor(blob: BlobIngest, passOn: () => Promise<void>) {
    this.#blob = blob
    this.#passOn = passOn
  }

  get complete(): boolean {
    return this.#blob.complete
  }

  get size(): number {
    return this.#blob.size
  }

  read(): AsyncIterable<Uint8Array> {
    return this.#blob.read()
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#blob.write(chunk)
  }

  restart(): Promise<void> {
    return this.#blob.restart()
  }

  commit(): Promise<void> {
    return this.#blob.commit()
  }

  handOn(): Promise<void> {
    return this.#passOn()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#blob[Symbol.asyncDispose]())
  }
}
