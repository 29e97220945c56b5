import { availableParallelism } from 'node:os'
import type { DecompressorPlan } from '../codec/external/plan.ts'
import { WindlassError } from '../errors.ts'
import { type BlameLimits, defaultBlameLimits, type Verdict } from '../flow/blame.ts'
import { Gate } from '../flow/gate.ts'
import type { KernelFacts } from '../flow/stage.ts'
import { UnpackThreads } from '../layer/unpack.ts'
import type { Digest } from '../oci/digest.ts'
import type { Store } from '../places/store/store.ts'
import { readDiskSpace } from '../sys/disk.ts'
import type { Network } from './blob-stream.ts'
import type { FallbackFacts, LayerPhase, PullEvent, RetryFacts } from './events.ts'
import { LayerPull, type LayerSession } from './pull-layer.ts'
import type { ResolvedImage } from './resolve.ts'
import { diskVerdicts, engineHint, engineMsDefault, type Stuck, stuckHint } from './stuck.ts'

/** How often a running layer tells where it is: as fast as an eye can use it. */
const progressMs = 100
const stagesMs = 250
/** An external decompressor is judged by whoever feeds it, in half that time; the watch speaks up for the one in process. */
const decompressorIdleMs = 20_000

export type Emit = (event: PullEvent) => void

/** What may be chosen for the layers of a pull. */
export interface LayersOptions {
  /** Layers at a time; cores + 1, at most 6, if absent. */
  readonly layersMax?: number
  /** External programs that decompress; in process if absent. `planDecompressors` makes one. */
  readonly decompressors?: DecompressorPlan
  /** Tell four times a second what each stage of each layer does. */
  readonly tellStages?: boolean
  readonly patience?: LayersPatience
  /** What the process of the engine does that the image goes into, as far as that can be seen from here. Asked for only when it seems to stand still. */
  readonly engineTask?: (() => KernelFacts | undefined) | undefined
}

/** How long layers wait for what, in milliseconds, where that is not the default. */
export interface LayersPatience {
  /** How long a disk that does not answer is waited for, after it was named; five minutes if absent. */
  readonly diskMs?: number
  /** How long an engine that stands still is waited for, after it was named; ten minutes if absent: it may have much to sync, in silence. */
  readonly engineMs?: number
  /** How long an external decompressor may give nothing out although it could; 10 s if absent. */
  readonly decompressorMs?: number
  readonly blame?: Partial<BlameLimits>
}

/** An engine that takes layers while they are fetched. */
interface LayerTaker {
  readonly name: string
  /** The content of a layer, to be read to its end; more than once if it proved damaged on its way. It must not outlive the signal, whatever the engine does. */
  take(at: number, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>
}

/** What all layers of one pull share. */
export interface LayersContext {
  readonly network: Network
  readonly session: LayerSession
  readonly store: Store
  readonly options: LayersOptions
  readonly signal: AbortSignal
  readonly emit: Emit
  readonly stuck: Stuck
  readonly startedMs: number
  /** Some may have been started ahead. */
  readonly threads?: UnpackThreads
  /** The layers are for an engine that unpacks them by itself, and has those with these chain IDs. */
  readonly engineLayers?: ReadonlySet<Digest>
  readonly engine?: LayerTaker
  /** Told of each layer as it starts, in chain order; its promise is fulfilled when the layer is where it should be. */
  readonly onStart?: (at: number, pull: LayerPull, done: Promise<void>) => void
}

/** All layers, a few at a time, the largest first; each is published after the one below. The first failure ends all. */
export async function pullLayers(image: ResolvedImage, context: LayersContext): Promise<LayerPull[]> {
  await checkSpace(image, context)
  const failure = new AbortController()
  const signal = AbortSignal.any([context.signal, failure.signal])
  const gate = new Gate(context.options.layersMax ?? Math.min(availableParallelism() + 1, 6))
  const { threads = new UnpackThreads() } = context
  await using _own = context.threads === undefined ? threads : undefined
  const active = new Map<number, LayerPull>()
  const pulls: LayerPull[] = []
  const holders = new Set<number | undefined>()
  const taker = context.engine
  const published = image.layers.map(() => Promise.withResolvers<void>())
  const firstTaken = Promise.withResolvers<void>()
  for (const [at, layer] of image.layers.entries()) {
    const { descriptor } = layer
    const tellHolder = (who: string): void => {
      const message = `layer ${at + 1} is being made by ${who}; waiting for it`
      context.emit({ type: 'notice', message, layer: at })
    }
    const tell = (phase: LayerPhase): void => {
      if (phase === 'pulling') active.set(at, pull)
      context.emit({ type: 'layer', layer: at, digest: descriptor.digest, size: descriptor.size, phase })
    }
    const pull: LayerPull = new LayerPull({
      network: context.network,
      session: context.session,
      engine: context.engineLayers && {
        hasLayer: context.engineLayers.has(layer.chainId),
        ...(taker !== undefined && {
          name: taker.name,
          task: context.options.engineTask,
          take: async content => {
            await taker.take(at, content, signal)
            if (at === 0) firstTaken.resolve()
          },
        }),
      },
      gate,
      threads,
      layer,
      parent: image.layers[at - 1]?.chainId,
      parentDone: published[at - 1]?.promise ?? Promise.resolve(),
      signal,
      spoolPath: `the partial of ${descriptor.digest} in ${context.store.root}`,
      decompressors: context.options.decompressors,
      decompressorMs: context.options.patience?.decompressorMs,
      blameLimits: readLimits(context.options.patience),
      onPhase: tell,
      ...layerReporter(at, context, failure),
      onHolder: ({ pid, description }) => {
        // One process may make many layers: it is told of once.
        if (!holders.has(pid)) tellHolder(description)
        holders.add(pid)
      },
    })
    tell('waiting')
    pulls.push(pull)
    context.onStart?.(at, pull, (published[at] as PromiseWithResolvers<void>).promise)
  }
  const runs = startOrder(image, context).map(async at => {
    try {
      // Such an engine unpacks one layer after the other: while the first one comes it has nothing to do, and the others would only slow that down.
      if (taker !== undefined && at > 0) await Promise.race([firstTaken.promise, published[0]?.promise])
      await pulls[at]?.run()
      published[at]?.resolve()
    } catch (error) {
      failure.abort(error)
      published[at]?.reject(error)
      throw error
    } finally {
      active.delete(at)
      context.stuck.end(at)
    }
  })
  for (const { promise } of published) promise.catch(() => {})
  using _ticker = startTicker(active, image, context)
  const outcomes = await Promise.allSettled(runs)
  context.signal.throwIfAborted()
  if (failure.signal.aborted) throw failure.signal.reason
  if (outcomes.some(({ status }) => status === 'rejected'))
    throw new WindlassError('FAILED', 'Cannot pull: a layer failed')
  return pulls
}

/** Who was told to wait only so long for the disk waits no longer for another process. */
export function readLimits({ diskMs = Infinity, blame }: LayersPatience = {}): BlameLimits {
  const lockIdleMs = Math.min(defaultBlameLimits.lockIdleMs, diskMs)
  return { ...defaultBlameLimits, decompressorIdleMs, lockIdleMs, ...blame }
}

/** What is begun last ends last: a large layer must not be left over when the small ones are done. An engine takes them in chain order. */
function startOrder({ layers }: ResolvedImage, { engineLayers }: LayersContext): number[] {
  const size = (at: number): number => layers[at]?.descriptor.size ?? 0
  const inChain = layers.map((_, at) => at)
  return engineLayers === undefined ? inChain.sort((a, b) => size(b) - size(a)) : inChain
}

function startTicker(
  active: ReadonlyMap<number, LayerPull>,
  image: ResolvedImage,
  { emit, options, startedMs }: LayersContext,
): Disposable {
  const progress = setInterval(() => {
    for (const [layer, pull] of active) {
      const { digest, size } = (image.layers[layer] as ResolvedImage['layers'][number]).descriptor
      emit({ type: 'progress', layer, digest, size, ...pull.progress })
    }
  }, progressMs)
  const tellStages = (): void => {
    const atMs = Math.round(performance.now() - startedMs)
    for (const [layer, pull] of active) emit({ type: 'stages', layer, atMs, stages: pull.stages.facts() })
  }
  const stages = options.tellStages ? setInterval(tellStages, stagesMs) : undefined
  return {
    [Symbol.dispose]: () => {
      clearInterval(progress)
      clearInterval(stages)
    },
  }
}

/** What one layer tells, as events. */
function layerReporter(layer: number, context: LayersContext, failure: AbortController) {
  const { emit, startedMs } = context
  const now = (): number => Math.round(performance.now() - startedMs)
  return {
    ...stallReporter(layer, context, failure),
    onWarning: (message: string): void => emit({ type: 'warning', message, layer }),
    onRetry: (retry: RetryFacts): void => emit({ type: 'retry', layer, atMs: now(), ...retry }),
    onFallback: ({ program, error, bytesProven, redone }: FallbackFacts): void => {
      const evidence = Object.entries(error.facts).map(([name, value]) => `${name}: ${value}`)
      emit({ type: 'fallback', layer, atMs: now(), program, message: error.message, evidence, bytesProven, redone })
    },
  }
}

/** What is told when somebody holds up a layer, or the image as a whole; and the end of a pull whose disk does not answer. */
export function stallReporter(
  layer: number | undefined,
  { emit, stuck, startedMs, options }: Pick<LayersContext, 'emit' | 'stuck' | 'startedMs' | 'options'>,
  failure: AbortController,
) {
  const place = { ...(layer !== undefined && { layer }) }
  const name = layer === undefined ? 'the image' : `layer ${layer + 1}`
  const now = (): number => Math.round(performance.now() - startedMs)
  return {
    onVerdict: ({ stage = 'unknown', kind, confidence, sinceMs, evidence, facts }: Verdict): void => {
      emit({ type: 'stall', ...place, atMs: now(), stage, kind, confidence, sinceMs, evidence })
      if (stage === 'engine') {
        const message = `Cannot go on with ${name}: ${evidence.join('; ')}`
        const error = new WindlassError('STALLED', message, { facts: { ...facts, engine: true }, hint: engineHint })
        return stuck.begin(layer, error, failure, options.patience?.engineMs ?? engineMsDefault)
      }
      if (!diskVerdicts.has(kind) || stage === 'lock') return
      const message = `Cannot go on with ${name}: stage ${stage} stands still; ${evidence.join('; ')}`
      stuck.begin(layer, new WindlassError('STALLED', message, { facts, hint: stuckHint }), failure)
    },
    onRecovered: ({ stage = 'unknown' }: Verdict): void => {
      stuck.end(layer)
      emit({ type: 'recovered', ...place, atMs: now(), stage })
    },
  }
}

/** The compressed bytes alone must fit, before the first of them is asked for. */
async function checkSpace(image: ResolvedImage, { session, store, engineLayers }: LayersContext): Promise<void> {
  const isHere = (chainId: Digest) => engineLayers?.has(chainId) ?? session.findLayer(chainId) !== undefined
  const missing = image.layers.filter(({ chainId }) => !isHere(chainId))
  const blobs = new Map(missing.map(({ descriptor: { digest, size } }) => [digest, size - session.bytesHere(digest)]))
  const bytes = [...blobs.values()].reduce((sum, left) => sum + Math.max(0, left), 0)
  const { bytesFree: free } = await readDiskSpace(store.root)
  if (bytes <= free) return
  throw new WindlassError(
    'NO_SPACE',
    `Cannot pull into ${store.root}: ${free} bytes are free; the compressed layers alone need ${bytes}, ${bytes - free} more`,
    {
      facts: { free, needed: bytes, missing: bytes - free },
    },
  )
}
