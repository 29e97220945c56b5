import { isWindlassError, WindlassError } from '../errors.ts'
import { Channel } from '../flow/channel.ts'
import { Gate } from '../flow/gate.ts'
import { Patience, type RetryOptions, retry } from '../flow/retry.ts'
import { verified } from '../flow/verify.ts'
import type { Descriptor, Platform } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { type Index, indexDepthMax, type Manifest, manifestSizeMax, parseDocument } from '../oci/manifest.ts'
import { isForeignLayer, isImageConfigType, isIndexType, isManifestType } from '../oci/media-types.ts'
import { formatPlatform } from '../oci/platform.ts'
import { formatFamiliar, formatReference, type Reference } from '../oci/reference.ts'
import type { BlobReader, Document, Placement, Referrer, Sink, Source } from '../places/place.ts'
import { BlobHosts } from './blob-hosts.ts'
import { type Network, passingStream } from './blob-stream.ts'
import type { LayerPhase, PullEvent } from './events.ts'
import { admit, checkPlatform, openNetwork, type PullOptions, settle, tell } from './pull.ts'
import { type ResolvedImage, readHostPlatform, resolveImage } from './resolve.ts'
import { type Known, readLayers } from './since.ts'
import type { PolicySubject } from './trust/policy.ts'

/** One image to be copied. */
export interface ImageToCopy {
  readonly source: Source
  /** What it is called at the source. */
  readonly reference: Reference
  /** What it is to be called in the sink, once for each name; one without a tag if there is none. */
  readonly placements: readonly [Placement, ...Placement[]]
  /** Repositories at the sink's registry that may have its blobs already. */
  readonly mountFrom?: readonly string[]
  /** Where it comes from and what it is called there: what a policy speaks of. Without any, none is asked. */
  readonly subjects?: readonly PolicySubject[]
  /** Other places that may know what refers to the image; asked only if referrers are to be copied. */
  readonly referrersFrom?: readonly Source[]
}

export interface CopyOptions
  extends Pick<PullOptions, 'root' | 'layersMax' | 'minSpeed' | 'limitRate' | 'patience' | 'signal' | 'gatekeeper'> {
  /** One platform of an index; all if absent, or this machine's where the sink takes only one. */
  readonly platform?: Platform | undefined
  /** Copy signatures, attestations and whatever else refers to the image, or to one of its platforms, too. */
  readonly referrers?: boolean | undefined
  /** What the other side has: these layers are named, but left out. */
  readonly since?: Known | undefined
}

/** What a copy ends with, for each image. */
export interface CopyResult {
  readonly digest: Digest
  readonly mediaType: string
  /** Of blobs that went to the sink. */
  readonly bytesCopied: number
  readonly blobsCopied: number
  readonly blobsPresent: number
  /** Layers that the other side has, and that are not among those. */
  readonly blobsLeftOut: number
  /** Documents that refer to the image, or to one of those that refer to it. */
  readonly referrersCopied: number
}

export interface CopyRun extends AsyncIterable<PullEvent> {
  readonly result: Promise<readonly CopyResult[]>
}

type Emit = (event: PullEvent) => void

/** Blobs that are on their way at a time. */
const blobsMaxDefault = 4
/** As of a pull: an attempt that brings less is none. */
const progressMin = 64 * 1024

/**
 * Copies images from source to sink, digests and all: blobs that the sink lacks, then documents from the leaves upwards, then names. Nothing is named
 * before it is complete. The caller closes source and sink.
 */
export function copyImages(images: readonly ImageToCopy[], sink: Sink, options: CopyOptions): CopyRun {
  const events = new Channel<PullEvent>()
  const running = runCopy(images, sink, options, event => tell(events, event))
  return settle(events, running, `Cannot copy to ${sink.name}`, options)
}

async function runCopy(
  images: readonly ImageToCopy[],
  sink: Sink,
  options: CopyOptions,
  emit: Emit,
): Promise<readonly CopyResult[]> {
  const signal = options.signal ?? new AbortController().signal
  if (options.referrers && sink.keepsReferrers !== true) {
    const hint = 'an OCI layout, an OCI archive or a registry keeps them'
    throw new WindlassError('UNSUPPORTED', `Cannot copy referrers to ${sink.name}: it has no place for them`, { hint })
  }
  const results: CopyResult[] = []
  for (const image of images) results.push(await new ImageCopy(image, sink, { ...options, signal, emit }).run())
  await sink.commit(signal)
  return results
}

type Context = CopyOptions & {
  readonly signal: AbortSignal
  readonly emit: Emit
  /** Of documents that refer to documents that refer to the image. */
  readonly depth?: number
  /** How many such documents may still come, all depths together. */
  readonly budget?: { left: number }
}

/** A signature of a bill of materials of an image: nobody goes further. */
const referrersDepthMax = 3
/** Each costs requests, and a stranger says how many there are. */
const referrersMax = 1000

/**
 * Documents of one image, all of which are held until the last is put, since a document may be put only after what it names: an index of every platform
 * with an attestation for each has some 40, at a few KiB. A stranger says how many there are, and each may have 4 MiB.
 */
const documentsMax = 1000
const documentBytesMax = 64 * 1024 * 1024

/** The documents of an image, the leaves first, and the blobs that they name. */
interface Plan {
  readonly documents: Document[]
  /** Read, though not all may be among `documents` yet. */
  documentsRead: number
  documentBytes: number
  readonly blobs: Map<Digest, Descriptor>
}

class ImageCopy {
  readonly #image: ImageToCopy
  readonly #sink: Sink
  readonly #context: Context
  readonly #hosts: BlobHosts
  readonly #network: Network
  readonly #budget: { left: number }
  #bytesCopied = 0
  #blobsCopied = 0
  #referrersCopied = 0

  constructor(image: ImageToCopy, sink: Sink, context: Context) {
    this.#image = image
    this.#sink = sink
    this.#context = context
    this.#hosts = new BlobHosts(image.source)
    this.#network = openNetwork(this.#hosts, context)
    this.#budget = context.budget ?? { left: referrersMax }
  }

  async run(): Promise<CopyResult> {
    const { source, reference, placements } = this.#image
    const { emit, signal } = this.#context
    emit({ type: 'start', reference: formatReference(reference), registry: source.name, to: this.#sink.name })
    const found = await findDocuments(this.#hosts, reference, {
      ...this.#context,
      onePlatform: this.#sink.onePlatform === true,
      retrying: this.#retrying,
    })
    const top = found.at(-1) as Document
    await this.#admit(found)
    const plan: Plan = { documents: [], documentsRead: 0, documentBytes: 0, blobs: new Map() }
    await this.#plan(top, plan, 1)
    const leftOut = await this.#findLeftOut(plan)
    const blobs = [...plan.blobs.values()]
    this.#tellResolved(top, blobs)
    await this.#putBlobs(blobs, leftOut)
    for (const document of plan.documents.slice(0, -1)) await this.#putDocument(document, { isPart: true })
    // Before the name: who finds the image finds its signature.
    if (this.#context.referrers) await this.#copyReferrers(plan.documents)
    for (const placement of placements) await this.#putDocument(top, placement)
    signal.throwIfAborted()
    const { digest, mediaType } = top.descriptor
    const blobsCopied = this.#blobsCopied
    return {
      digest,
      mediaType,
      bytesCopied: this.#bytesCopied,
      blobsCopied,
      blobsPresent: blobs.length - blobsCopied - leftOut.size,
      blobsLeftOut: leftOut.size,
      referrersCopied: this.#referrersCopied,
    }
  }

  async #copyReferrers(documents: readonly Document[]): Promise<void> {
    const { depth = 1 } = this.#context
    if (depth > referrersDepthMax) return
    for (const source of [this.#image.source, ...(this.#image.referrersFrom ?? [])])
      for (const { descriptor } of documents)
        for (const referrer of await this.#listReferrers(source, descriptor.digest)) {
          const document = await this.#readReferrer(source, descriptor.digest, referrer)
          if (document !== undefined) await this.#copyReferrer(source, document, referrer.tag)
        }
  }

  async #listReferrers(source: Source, subject: Digest): Promise<readonly Referrer[]> {
    const { signal } = this.#context
    const list = async () => (await source.listReferrers?.(subject, signal)) ?? []
    const referrers = await retry(list, this.#retrying)
    this.#budget.left -= referrers.length
    if (this.#budget.left >= 0) return referrers
    const state = `${source.name} has more than ${referrersMax} of them, and of what refers to those`
    throw new WindlassError('LIMIT_EXCEEDED', `Cannot copy the referrers of ${subject}: ${state}`)
  }

  /** An image of its own, whose progress is not that of this one. */
  async #copyReferrer(source: Source, document: Document, tag: string | undefined): Promise<void> {
    const { depth = 1, emit } = this.#context
    const tell: Emit = event => event.type === 'warning' && emit({ type: 'warning', message: event.message })
    const image = {
      source: withTop(source, document),
      reference: this.#image.reference,
      placements: [{ tag }] as const,
    }
    const own = { platform: undefined, since: undefined, depth: depth + 1, budget: this.#budget, emit: tell }
    const { referrersCopied } = await new ImageCopy(image, this.#sink, { ...this.#context, ...own }).run()
    this.#referrersCopied += 1 + referrersCopied
  }

  /** The list is the place's word; that a document refers to the image must be the document's own, or that of its tag. */
  async #readReferrer(source: Source, subject: Digest, { descriptor, tag }: Referrer): Promise<Document | undefined> {
    const { signal, emit } = this.#context
    const bare = { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size }
    const leaveOut = (state: string): undefined => {
      emit({
        type: 'warning',
        message: `Left out ${descriptor.digest}, which ${source.name} lists for ${subject}: ${state}`,
      })
    }
    try {
      const read = () => source.readDocument(bare, { sizeMax: manifestSizeMax, signal })
      const document = await retry(read, this.#retrying)
      const parsed = this.#parse(document)
      const artifactType = parsed.artifactType ?? (parsed.kind === 'manifest' ? parsed.config.mediaType : undefined)
      if (tag === undefined && parsed.subject?.digest !== subject) return leaveOut('it refers to something else')
      return { ...document, descriptor: { ...bare, ...(artifactType !== undefined && { artifactType }) } }
    } catch (error) {
      if (!isWindlassError(error) || !['NOT_FOUND', 'UNSUPPORTED', 'INCOMPLETE'].includes(error.code)) throw error
      return leaveOut(error.message)
    }
  }

  /** Of one platform, its manifest alone is put: that an index names it, which is signed, is enough. */
  async #admit(documents: Documents): Promise<void> {
    const { subjects = [], source } = this.#image
    const { gatekeeper, emit } = this.#context
    await admit(gatekeeper, documents, { subjects, sources: [source], retrying: this.#retrying, emit })
  }

  /** Depth first. An index may name the same manifest twice. */
  async #plan(document: Document, plan: Plan, depth: number): Promise<void> {
    this.#count(document, plan)
    const parsed = this.#parse(document)
    if (parsed.kind === 'index') await this.#planIndex(parsed, plan, depth)
    else for (const blob of blobsOf(parsed)) plan.blobs.set(blob.digest, blob)
    plan.documents.push(document)
  }

  #count({ bytes }: Document, plan: Plan): void {
    plan.documentsRead++
    plan.documentBytes += bytes.length
    const isFit = plan.documentsRead <= documentsMax && plan.documentBytes <= documentBytesMax
    if (isFit) return
    const state = `its indexes lead to more than ${documentsMax} documents or ${documentBytesMax} bytes of them`
    const hint = 'copy one platform (--platform)'
    const name = formatReference(this.#image.reference)
    throw new WindlassError('LIMIT_EXCEEDED', `Cannot copy ${name}: ${state}`, { hint })
  }

  async #planIndex({ manifests }: Index, plan: Plan, depth: number): Promise<void> {
    const { source } = this.#image
    const { signal } = this.#context
    const name = formatReference(this.#image.reference)
    if (depth > indexDepthMax)
      throw new WindlassError('LIMIT_EXCEEDED', `Cannot copy ${name}: indexes nest deeper than ${indexDepthMax}`)
    for (const descriptor of manifests) {
      if (plan.documents.some(known => known.descriptor.digest === descriptor.digest)) continue
      if (!isManifestType(descriptor.mediaType) && !isIndexType(descriptor.mediaType)) {
        plan.blobs.set(descriptor.digest, descriptor)
        continue
      }
      const options = { sizeMax: manifestSizeMax, signal }
      await this.#plan(await retry(() => source.readDocument(descriptor, options), this.#retrying), plan, depth + 1)
    }
  }

  #parse({ descriptor, bytes }: Document): Manifest | Index {
    return parseDocument(bytes, { contentType: descriptor.mediaType })
  }

  #tellResolved(top: Document, blobs: readonly Descriptor[]): void {
    this.#context.emit({
      type: 'resolved',
      reference: formatReference(this.#image.reference),
      digest: top.descriptor.digest,
      imageId: top.descriptor.digest,
      platform: this.#context.platform ?? { os: 'unknown', architecture: 'unknown' },
      layers: blobs,
    })
  }

  /** Layers that the other side has; not those that another image of the index, whose layers below it lacks, needs. */
  async #findLeftOut({ documents }: Plan): Promise<ReadonlySet<Digest>> {
    const { since, signal } = this.#context
    if (since === undefined) return new Set()
    const known = new Set<Digest>()
    const needed = new Set<Digest>()
    for (const document of documents) {
      const manifest = this.#parse(document)
      if (manifest.kind === 'index') continue
      const layers = await readLayers(this.#image.source, manifest, signal)
      const there = new Set(since.layersOf(layers, { byBlob: !this.#sink.onePlatform }))
      for (const layer of layers) (there.has(layer) ? known : needed).add(layer.descriptor.digest)
    }
    return known.difference(needed)
  }

  /** A few at a time; the first that fails ends the others. */
  async #putBlobs(blobs: readonly Descriptor[], leftOut: ReadonlySet<Digest>): Promise<void> {
    const failure = new AbortController()
    const signal = AbortSignal.any([this.#context.signal, failure.signal])
    const gate = new Gate(this.#sink.isOnePass ? 1 : (this.#context.layersMax ?? blobsMaxDefault))
    const runs = blobs.map(async (blob, at) => {
      try {
        using _slot = await gate.enter(signal, blob.size)
        await this.#putBlob(blob, at, { signal, isLeftOut: leftOut.has(blob.digest) })
      } catch (error) {
        failure.abort(error)
        throw error
      }
    })
    await Promise.allSettled(runs)
    this.#context.signal.throwIfAborted()
    if (failure.signal.aborted) throw failure.signal.reason
  }

  async #putBlob(
    descriptor: Descriptor,
    at: number,
    { signal, isLeftOut }: { signal: AbortSignal; isLeftOut: boolean },
  ): Promise<void> {
    const { emit } = this.#context
    const { digest, size } = descriptor
    const tellPhase = (phase: LayerPhase): void => emit({ type: 'layer', layer: at, digest, size, phase })
    const patience = new Patience({ ...this.#retrying, signal })
    let tries = 0
    let stood = 0
    while (true) {
      const attempt = new BlobAttempt(this.#network, descriptor, {
        isLocal: this.#image.source.isLocal === true,
        mountFrom: this.#image.mountFrom?.[tries++],
        signal,
        onBytes: bytes => {
          this.#bytesCopied += bytes
          emit({ type: 'progress', layer: at, digest, size, ...attempt.progress })
        },
        onWarning: message => emit({ type: 'warning', message, layer: at }),
      })
      try {
        if (isLeftOut) await this.#sink.leaveOut?.(descriptor, attempt, signal)
        if (isLeftOut || (await this.#sink.hasBlob(descriptor, signal))) return tellPhase('exists')
        tellPhase('copying')
        await this.#sink.putBlob(descriptor, attempt, signal)
        // Mounted, or brought by somebody else.
        if (attempt.isUsed) this.#blobsCopied++
        return tellPhase(attempt.isUsed ? 'copied' : 'exists')
      } catch (error) {
        if (this.#sink.isOnePass) throw error
        // What went into a connection that broke may never have come: what counts is where the other side wanted to go on.
        if (attempt.startedAt >= stood + progressMin) patience.progressed()
        stood = Math.max(stood, attempt.startedAt)
        await patience.wait(error)
      }
    }
  }

  async #putDocument(document: Document, placement: Placement): Promise<void> {
    const { signal } = this.#context
    await retry(() => this.#sink.putDocument(document, placement, signal), this.#retrying)
  }

  get #retrying() {
    const { signal, emit, patience } = this.#context
    return {
      signal,
      pauseMs: patience?.pauseMs,
      onRetry: (error: WindlassError) => emit({ type: 'warning', message: error.message }),
    }
  }
}

type Documents = ResolvedImage['documents']

interface Finding {
  readonly platform?: Platform | undefined
  /** Whether this machine's platform is chosen where none is asked for. */
  readonly onePlatform: boolean
  readonly retrying: RetryOptions
  readonly emit: Emit
}

/** From what the reference names down to the document that is to be copied with all below it. */
export async function findDocuments(
  hosts: BlobHosts,
  reference: Reference,
  { platform, onePlatform, retrying, emit }: Finding,
): Promise<Documents> {
  const top = await retry(() => hosts.origin.resolve(reference, retrying.signal), retrying)
  const parsed = parseDocument(top.bytes, { contentType: top.descriptor.mediaType })
  const isChoice = platform !== undefined || (parsed.kind === 'index' && onePlatform)
  const isArtifact = parsed.kind === 'manifest' && !isImageConfigType(parsed.config.mediaType)
  if (!isChoice || isArtifact) return [top]
  const cache = async () => undefined
  const wanted = platform ?? readHostPlatform()
  const image = await resolveImage(hosts, reference, wanted, { ...retrying, cache })
  checkPlatform(image, formatFamiliar(reference), formatPlatform(wanted), emit)
  return image.documents
}

/** The same place, whose image is this document. */
function withTop(source: Source, document: Document): Source {
  return {
    name: source.name,
    ...(source.isLocal !== undefined && { isLocal: source.isLocal }),
    resolve: async () => document,
    readDocument: (descriptor, options) => source.readDocument(descriptor, options),
    openBlob: (descriptor, options) => source.openBlob(descriptor, options),
    listReferrers: async (digest, signal) => (await source.listReferrers?.(digest, signal)) ?? [],
    [Symbol.asyncDispose]: async () => {},
  }
}

/** Layers that no registry needs to hold stay where their `urls` say. */
function blobsOf({ config, layers }: Manifest): Descriptor[] {
  return [config, ...layers.filter(({ mediaType, urls }) => !(isForeignLayer(mediaType) && (urls?.length ?? 0) > 0))]
}

interface AttemptOptions {
  readonly isLocal: boolean
  readonly mountFrom: string | undefined
  readonly signal: AbortSignal
  readonly onBytes: (bytes: number) => void
  readonly onWarning: (message: string) => void
}

/** A blob as one attempt of a sink reads it. */
class BlobAttempt implements BlobReader {
  readonly isLocal: boolean
  readonly mountFrom: string | undefined
  readonly #network: Network
  readonly #descriptor: Descriptor
  readonly #options: AttemptOptions
  /** Handed to the sink. */
  bytes = 0
  /** Where the sink had it begin. */
  startedAt = 0
  isUsed = false

  constructor(network: Network, descriptor: Descriptor, options: AttemptOptions) {
    this.#network = network
    this.#descriptor = descriptor
    this.#options = options
    this.isLocal = options.isLocal
    this.mountFrom = options.mountFrom
  }

  get progress() {
    return {
      bytesDownloaded: Math.min(this.bytes, this.#descriptor.size),
      bytesResumed: 0,
      bytesUnpacked: 0,
      entries: 0,
    }
  }

  open(offset: number): AsyncIterable<Uint8Array> {
    if (!this.isUsed) this.startedAt = offset
    this.isUsed = true
    this.bytes = offset
    const bytes = this.#read(offset)
    if (offset > 0) return bytes
    return verified(bytes, { ...this.#descriptor, subject: `blob ${this.#descriptor.digest}` })
  }

  #read(offset: number): AsyncIterable<Uint8Array> {
    const { signal, onBytes, onWarning } = this.#options
    return passingStream(this.#network, this.#descriptor, offset, {
      signal,
      onBytes: bytes => {
        this.bytes += bytes
        onBytes(bytes)
      },
      onRetry: error => onWarning(error.message),
    })
  }
}
