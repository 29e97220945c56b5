import type { DecompressorPlan } from '../codec/external/plan.ts'
import { isRedo, ResilientDecompression } from '../codec/external/resilient.ts'
import { type ErrorCode, isWindlassError, WindlassError } from '../errors.ts'
import type { BlameLimits, Verdict } from '../flow/blame.ts'
import type { Gate } from '../flow/gate.ts'
import { readAhead } from '../flow/read-ahead.ts'
import type { KernelFacts } from '../flow/stage.ts'
import { verified } from '../flow/verify.ts'
import { watch } from '../flow/watch.ts'
import type { AppliedLayer } from '../layer/apply.ts'
import { adoptImplied } from '../layer/implied.ts'
import { listLosses } from '../layer/ordinary.ts'
import { openUnpack, type Unpack, type UnpackThreads } from '../layer/unpack.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { type Digest, digestAlgorithm } from '../oci/digest.ts'
import type { ImageLayer } from '../oci/image-config.ts'
import type { BlobIngest, LayerIdentity, LayerIngest, LayerRecord, LockWait, Session } from '../places/store/types.ts'
import { blobStream, type Network } from './blob-stream.ts'
import type { FallbackFacts, LayerPhase, LayerProgress, RetryFacts } from './events.ts'
import { LayerStages } from './layer-stages.ts'
import { type Holder, LockStage } from './lock-stage.ts'

/** A layer on its way to where it goes: of the store, or of an engine. */
export type LayerTarget = Pick<LayerIngest, 'diffDirectory' | 'lowerDirectories' | 'sync'> &
  AsyncDisposable & {
    /** Set if nothing is to be done any more. */
    readonly existing: object | undefined
    /** What an error says of a place that is not the store's. */
    explain?(error: unknown): Promise<unknown>
    commit(facts: { readonly size: number; readonly blobDigest: Digest }): Promise<unknown>
  }

/** A blob of the store that may have to go on from there. */
export interface LayerBlob extends BlobIngest {
  /** To the engine, once it is committed. */
  handOn?(): Promise<void>
}

/** What a layer needs of the place that it goes to; of the store, a session. */
export interface LayerSession extends Pick<Session, 'setLayerBlob' | 'bytesHere'> {
  /** Layers are opened and committed by an engine, which is watched as such: it is not our disk that is waited for. */
  readonly isEngine?: true
  openBlob(descriptor: Descriptor, signal: AbortSignal, wait?: LockWait): Promise<LayerBlob>
  findLayer(chainId: Digest): Pick<LayerRecord, 'blobDigest'> | undefined
  hasIntactBlob(layer: Pick<LayerRecord, 'blobDigest'>): boolean
  openLayer(layer: LayerIdentity, signal: AbortSignal, wait: LockWait): Promise<LayerTarget>
}

/** An engine that a layer is for. */
interface LayerEngine {
  readonly hasLayer: boolean
  /** How it is called in messages about who holds up the layer. */
  readonly name?: string | undefined
  readonly task?: (() => KernelFacts | undefined) | undefined
  /** Hands the content on while it is fetched; it must be read to its end, and what goes wrong with it only shows there. */
  readonly take?: ((content: AsyncIterable<Uint8Array>) => Promise<void>) | undefined
}

export interface LayerJob {
  readonly network: Network
  readonly session: LayerSession
  /** The layer is for an engine that unpacks it by itself: the blob is fetched and its content verified, unless the engine has the layer. */
  readonly engine?: LayerEngine | undefined
  readonly layer: ImageLayer
  /** Chain ID of the layer below. */
  readonly parent: Digest | undefined
  /** Resolves when the layer below is published, rejects when it cannot be. */
  readonly parentDone: Promise<unknown>
  /** Bounds the layers that are downloaded and unpacked at a time. */
  readonly gate: Gate
  /** Those of all layers. */
  readonly threads: UnpackThreads
  readonly signal: AbortSignal
  /** Which external program decompresses what; absent for in process. */
  readonly decompressors: DecompressorPlan | undefined
  readonly blameLimits: BlameLimits
  /** How long an external decompressor may give nothing out although it could; 10 s if absent. */
  readonly decompressorMs: number | undefined
  /** Where what is downloaded is written down, for people. */
  readonly spoolPath: string
  readonly onPhase: (phase: LayerPhase) => void
  readonly onWarning: (message: string) => void
  /** Another process makes this layer or its blob, and is waited for. */
  readonly onHolder: (holder: Holder) => void
  readonly onVerdict: (verdict: Verdict) => void
  readonly onRecovered: (verdict: Verdict) => void
  readonly onRetry: (retry: RetryFacts) => void
  readonly onFallback: (fallback: FallbackFacts) => void
}

/** One layer on its way from a source into the store. */
export class LayerPull {
  readonly stages: LayerStages
  readonly #job: LayerJob
  #network: Network
  #decompressors: DecompressorPlan | undefined
  #isMended = { damage: false, redo: false, loss: false }
  /** The compressed bytes of this attempt were read to their end, and are what the digest names. */
  #isBlobRight = false
  /** A sync failed: what this attempt wrote may be lost. */
  #isLost = false
  #unpack: Unpack | undefined
  /** From the network by this pull, all attempts together. */
  bytesFetched = 0
  /** Of the decompressed tar, once its content is verified; known only of a layer that was not unpacked. */
  bytesPlain = 0
  #bytesDownloaded = 0
  #bytesResumed = 0
  #finished: Pick<LayerProgress, 'bytesUnpacked' | 'entries'> = { bytesUnpacked: 0, entries: 0 }

  constructor(job: LayerJob) {
    this.#job = job
    const bytesHere = (): number => job.session.bytesHere(job.layer.descriptor.digest)
    this.stages = new LayerStages(new LockStage(bytesHere, job.onHolder), job.engine?.task)
    this.#network = job.network
    this.#decompressors = job.decompressors
  }

  get progress(): LayerProgress {
    const { bytesUnpacked, entries } = this.#unpack ?? this.#finished
    return { bytesDownloaded: this.#bytesDownloaded, bytesResumed: this.#bytesResumed, bytesUnpacked, entries }
  }

  /**
   * Downloads, verifies, unpacks and publishes the layer in one pass; nothing to do if the store has it. What was downloaded stays for
   * the next run, whatever happens.
   */
  async run(): Promise<void> {
    const { session, layer, signal, blameLimits, onPhase, onRecovered } = this.#job
    const onVerdict = (verdict: Verdict): void => this.#judge(verdict)
    if (this.#job.engine?.hasLayer) return onPhase('exists')
    const existing = session.findLayer(layer.chainId)
    const isBlobEnough = this.#job.engine !== undefined
    if (existing !== undefined && !isBlobEnough && session.hasIntactBlob(existing)) return onPhase('exists')
    const options = { signal, limits: blameLimits, onVerdict, onRecovered }
    using _watch = watch(closer => this.stages.sample(closer), options)
    while (true) {
      try {
        return existing === undefined && !isBlobEnough ? await this.#attempt() : await this.#fetchBlob()
      } catch (error) {
        if (!this.#mend(error)) throw error
      }
    }
  }

  /** Whoever makes the same and does not get on is not waited for. */
  #judge(verdict: Verdict): void {
    this.#job.onVerdict(verdict)
    const { lock } = this.stages
    if (verdict.stage === lock.meter.name) lock.leave()
  }

  /**
   * Decides whether another attempt may help, and prepares it; once for each reason. A decompressor that gave wrong bytes is used no more. What a sync
   * did not bring down is written anew: the kernel tells of a lost write whoever syncs first, whoever's it was. Damaged bytes are asked for once
   * more, from the origin: only who sends the same twice is to blame for them.
   */
  #mend(error: unknown): boolean {
    if (isRedo(error) && !this.#isMended.redo) {
      this.#isMended.redo = true
      this.#decompressors = undefined
      return true
    }
    if (this.#isLost && !this.#isMended.loss && !this.#job.signal.aborted) {
      this.#isLost = false
      this.#isMended.loss = true
      this.#job.onWarning(`${(error as Error).message}; bringing the layer to the disk anew`)
      return true
    }
    if (!this.#isDamage(error) || this.#isMended.damage) return false
    this.#isMended.damage = true
    this.#job.onWarning(`${(error as Error).message}; downloading the layer again, from its beginning`)
    this.#network = { ...this.#network, hosts: this.#network.hosts.withoutMirrors() }
    return true
  }

  /** The blob by itself: where the layer is there, but the blob that it was unpacked from is not, or where it is not to be unpacked. */
  async #fetchBlob(): Promise<void> {
    const { session, layer, gate, engine, signal, onPhase } = this.#job
    // An engine takes the layers in chain order.
    using slot = await gate.enter(signal, engine === undefined ? layer.descriptor.size : 0)
    await this.#withBlob(async blob => {
      // It may be another image's blob for the same content: that it is the same is only this image's word.
      this.bytesPlain = await this.#pass(blob, signal, async content => {
        const counter = { bytes: 0 }
        const counted = this.stages.meterEngine(countBytes(content, counter), engine?.name)
        if (engine?.take === undefined) for await (const _ of counted);
        else await engine.take(counted)
        return counter.bytes
      })
      // The disk's turn, as in `#fill`.
      slot[Symbol.dispose]()
      await this.#bringDown([blob.commit()])
      await blob.handOn?.()
    })
    if (engine === undefined) await session.setLayerBlob(layer.chainId, layer.descriptor.digest)
    onPhase('done')
  }

  async #attempt(): Promise<void> {
    const { session, layer, parent, gate, signal, onPhase } = this.#job
    // The lock comes before the slot: who has a slot waits for no other layer, in whatever order the layers are taken up.
    const { lock } = this.stages
    const identity = { chainId: layer.chainId, diffId: layer.diffId, parent }
    const opening = session.openLayer(identity, signal, lock.wait)
    await using target = await (session.isEngine ? opening : lock.take(opening))
    if (target.existing !== undefined) return onPhase('exists')
    using slot = await gate.enter(signal, layer.descriptor.size)
    this.stages.sync.item = target.diffDirectory
    const applied = await this.#fill(target, slot)
    await this.#publish(target, applied)
  }

  /** From the network to the disk. The blob is committed on its own: other layers, of this image too, may wait for it. */
  async #fill(target: LayerTarget, slot: Disposable): Promise<AppliedLayer> {
    return await this.#withBlob(async blob => {
      const applied = await this.#stream(blob, target).catch(async error => {
        throw (await target.explain?.(error)) ?? error
      })
      // The disk's turn: another layer may use the network and the cores meanwhile.
      slot[Symbol.dispose]()
      this.#job.onPhase('syncing')
      const committed = blob.commit()
      const handedOn = committed.then(() => blob.handOn?.())
      const isHandedOn = handedOn.catch(() => {})
      await this.#bringDown([committed, target.sync()]).finally(() => isHandedOn)
      await handedOn
      return applied
    })
  }

  /** All of it has ended when it fails: what is done next finds nobody at work. */
  async #bringDown(work: readonly Promise<void>[]): Promise<void> {
    const done = Promise.allSettled(work).then(results => {
      const failed = results.find(({ status }) => status === 'rejected')
      if (failed?.status === 'rejected') throw failed.reason
    })
    try {
      await this.stages.meterSync(done)
    } catch (error) {
      // EIO and ENOSPC: what the kernel keeps for the next who syncs. Nothing else is.
      this.#isLost = isWindlassError(error, 'FAILED') || isWindlassError(error, 'NO_SPACE')
      throw error
    }
  }

  /** Opens the blob for an attempt, with what is here of it already; what proves damaged is thrown away. */
  async #withBlob<T>(use: (blob: LayerBlob) => Promise<T>): Promise<T> {
    const { session, layer, signal, onPhase } = this.#job
    const { lock } = this.stages
    await using blob = await lock.take(session.openBlob(layer.descriptor, signal, lock.wait))
    this.#bytesDownloaded = this.#bytesResumed = blob.size
    this.#isBlobRight = false
    onPhase('pulling')
    try {
      return await use(blob)
    } catch (error) {
      if (this.#isDamage(error)) await lock.take(blob.restart())
      throw error
    }
  }

  async #stream(blob: BlobIngest, target: LayerTarget): Promise<AppliedLayer> {
    const { signal } = this.#job
    const stop = new AbortController()
    const onFailed = (): void => stop.abort()
    const { threads } = this.#job
    const { diffDirectory: directory } = target
    await using unpack = await openUnpack({ directory, mode: 'overlay', signal, onFailed, threads })
    this.#unpack = unpack
    this.stages.thread = unpack
    try {
      const applied = await this.#pass(blob, AbortSignal.any([signal, stop.signal]), async content => {
        try {
          for await (const chunk of readAhead(content)) await unpack.write(chunk)
          return await unpack.end()
        } catch (error) {
          // What the thread died of counts, not the wait for bytes that this cut short.
          throw stop.signal.aborted && !signal.aborted ? await unpack.end().catch(cause => cause) : error
        }
      })
      this.#tellLosses(applied)
      return applied
    } finally {
      this.#finished = { bytesUnpacked: unpack.bytesUnpacked, entries: unpack.entries }
      this.#unpack = this.stages.thread = undefined
    }
  }

  /** Hands the blob's content on, which ends well only if it is the right one. What a decompressor is guilty of is told, and remembered. */
  async #pass<T>(
    blob: BlobIngest,
    signal: AbortSignal,
    take: (content: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    const content = this.#decompress(blob, signal)
    try {
      return await take(this.#checked(content))
    } catch (error) {
      throw this.#suspect(content, error)
    } finally {
      const { fallback, isExonerated } = content
      if (fallback !== undefined && !isExonerated)
        this.#decompressors?.distrust(fallback.program, fallback.error.message)
      this.stages.program = undefined
    }
  }

  /** The decompressed bytes of the blob, which is verified on the way: its end is reached only if it is what its digest names. */
  #decompress(blob: BlobIngest, signal: AbortSignal): ResilientDecompression {
    const { layer, decompressorMs, onFallback } = this.#job
    const plan = this.#decompressors
    return new ResilientDecompression(
      {
        signal,
        recycle: true,
        ...(decompressorMs !== undefined && { idleMs: decompressorMs }),
        choose: compression => plan?.choose(compression),
        open: signal => this.stages.meterCompressed(this.#verifiedBlob(blob, signal)),
        onStart: program => {
          this.stages.program = program
        },
        onFallback: ({ program, error, bytesOut }) => {
          this.stages.program = undefined
          this.stages.beginAnew()
          onFallback({ program: program.path, error, bytesProven: bytesOut, redone: false })
        },
      },
      digestAlgorithm(layer.diffId),
    )
  }

  async *#verifiedBlob(blob: BlobIngest, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
    const { descriptor } = this.#job.layer
    yield* verified(this.#compressed(blob, signal), { ...descriptor, subject: `layer ${descriptor.digest}` })
    this.#isBlobRight = true
  }

  #compressed(blob: BlobIngest, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const { layer, onWarning, onRetry } = this.#job
    const { name: host } = this.#network.hosts.first()
    const { digest } = layer.descriptor
    const bytes = blobStream(this.#network, layer.descriptor, this.stages.meterSpool(blob, this.#job.spoolPath), {
      signal,
      onBytes: bytes => {
        this.#bytesDownloaded += bytes
        this.bytesFetched += bytes
        this.stages.source.bytesIn += bytes
      },
      onRetry: (error, pauseMs) => {
        this.stages.source.units++
        onRetry({ host: String(error.facts['host'] ?? host), message: error.message, pauseMs })
      },
      onRepeat: ({ name }, bytes) =>
        onWarning(`${name} gives ${digest} from its start only: the ${bytes} bytes here come again`),
    })
    return this.stages.meterSource(bytes, host)
  }

  /** @throws WindlassError DIGEST_MISMATCH at the end, if the right blob holds something else than the image's config promises */
  async *#checked(content: ResilientDecompression): AsyncGenerator<Uint8Array, void, void> {
    yield* this.stages.meterDecompressed(content)
    const { descriptor, diffId } = this.#job.layer
    const actual = `${digestAlgorithm(diffId)}:${content.digest}`
    if (actual === diffId) return
    const message = `Cannot verify content of layer ${descriptor.digest}: its bytes are ${actual}; wanted ${diffId}`
    throw new WindlassError('DIGEST_MISMATCH', message, { facts: { content: true } })
  }

  /** What seems damage may be the work of an external decompressor that gave wrong bytes and said nothing. */
  #suspect(content: ResilientDecompression, error: unknown): unknown {
    const { program } = content
    const isOfContent = isWindlassError(error) && (error.code === 'CORRUPT' || error.facts['content'] === true)
    if (program === undefined || content.isExonerated || !isOfContent) return error
    const message = `${program.path} gave wrong bytes: ${error.message}`
    this.#decompressors?.distrust(program, message)
    this.#job.onFallback({ program: program.path, error, bytesProven: 0, redone: true })
    if (isRedo(error)) return error
    return new WindlassError('CORRUPT', message, { cause: error, facts: { redo: true } })
  }

  #tellLosses(applied: AppliedLayer): void {
    for (const loss of listLosses(applied))
      this.#job.onWarning(`Left out of layer ${this.#job.layer.descriptor.digest}: ${loss}`)
  }

  /**
   * True for what the compressed bytes are guilty of, on their way, on the disk or in the registry; not for what an external program made of
   * them, and never once they are verified. Bytes that lay on the disk may be anything, so they may have caused any error.
   */
  #isDamage(error: unknown): boolean {
    if (!isWindlassError(error) || isRedo(error) || this.#isBlobRight) return false
    if (this.#bytesResumed > 0) return !innocent.has(error.code)
    return error.code === 'DIGEST_MISMATCH' || error.code === 'CORRUPT'
  }

  async #publish(target: LayerTarget, applied: AppliedLayer): Promise<void> {
    const { session, layer, parent, parentDone, onPhase } = this.#job
    if (parent !== undefined && applied.implied.length > 0) {
      await parentDone
      await adoptImplied(target.diffDirectory, target.lowerDirectories, applied.implied)
      await this.#bringDown([target.sync()])
    }
    await parentDone
    const facts = { size: applied.size, blobDigest: layer.descriptor.digest }
    const committed = target.commit(facts)
    await (session.isEngine ? committed : this.stages.meterCommit(target.diffDirectory, committed))
    onPhase('done')
  }
}

async function* countBytes(content: AsyncIterable<Uint8Array>, counter: { bytes: number }): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    counter.bytes += chunk.length
    yield chunk
  }
}

/** Nothing of the bytes: the way, the disk, or the user. */
const innocent: ReadonlySet<ErrorCode> = new Set([
  'NETWORK',
  'TLS',
  'RATE_LIMITED',
  'DENIED',
  'NOT_FOUND',
  'PROTOCOL',
  'STALLED',
  'NO_SPACE',
  'PERMISSION',
  'CANCELLED',
])
