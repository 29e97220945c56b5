import type { LayerPhase, LayerProgress, PullEvent, PullResult } from '../../copy/events.ts'
import type { ErrorCode, WindlassError } from '../../errors.ts'
import type { Platform } from '../../oci/descriptor.ts'
import type { HostFacts } from './host.ts'
import { Samples, type StageSeries } from './series.ts'

/** Raised when a reader of the old form would misread the new one. */
const reportSchemaVersion = 1

/** A pull that retries for days must not grow without end; the first are the ones that explain. */
const happeningsMax = 500
/** Images of one command that are kept in full. */
const pullsMax = 20
/** Layers of one image; a manifest with more is refused anyway. */
const layersMax = 512
/** A layer that is done all over again goes through its phases anew. */
const phasesMax = 32
/** A stall's evidence is some ten sentences. */
const evidenceMax = 32
/** A path in a layer may have 4096 bytes. */
const textMax = 5000

/** All that one command did, as `--report FILE.json` writes it. Times `…Ms` count from the start of their pull. */
export interface Report {
  readonly schemaVersion: typeof reportSchemaVersion
  readonly command: string
  /** ISO 8601, UTC. */
  readonly startedAt: string
  readonly writtenAt: string
  readonly host: HostFacts
  readonly pulls: readonly PullRecord[]
  /** Images beyond those that are kept. */
  readonly pullsLeftOut: number
}

/** One pull. */
export interface PullRecord {
  readonly reference: string
  readonly registry?: string
  readonly startedAt: string
  /** Up to its end, or up to the moment when the report was written. */
  readonly elapsedMs: number
  readonly outcome: Outcome
  readonly image?: ImageFacts
  readonly layers: readonly LayerRecord[]
  /** In their order. */
  readonly happenings: readonly Happening[]
  readonly happeningsLeftOut: number
}

export type Outcome =
  | { readonly status: 'running' }
  | ({ readonly status: 'done' } & PullResult)
  | { readonly status: 'failed' | 'cancelled'; readonly error: ErrorFacts }

interface ErrorFacts {
  readonly code: ErrorCode
  readonly message: string
  readonly hint?: string
  readonly exitStatus: number
  readonly facts: Readonly<Record<string, string | number | boolean>>
}

interface ImageFacts {
  readonly digest: string
  readonly imageId: string
  readonly platform: Platform
}

/** One layer: where it stood when, its last counters, and the samples of its stages. */
export interface LayerRecord {
  readonly layer: number
  readonly digest: string
  readonly size: number
  readonly phases: readonly { readonly phase: LayerPhase; readonly atMs: number }[]
  readonly progress: LayerProgress
  readonly stages: readonly StageSeries[]
}

type EventOf<Type extends PullEvent['type']> = Extract<PullEvent, { type: Type }>

/** What is told as it happens: what went wrong and what was done about it. */
export type Happening =
  | EventOf<'stall' | 'recovered' | 'retry' | 'fallback'>
  | (EventOf<'warning' | 'notice'> & { readonly atMs: number })

interface RecordOptions {
  /** Milliseconds, monotonic. */
  readonly clock?: () => number
  /** Told when a stall was recorded. */
  readonly onStall?: () => void
}

/** Keeps what the events of one command tell, in bounded memory. */
export class ReportRecord {
  readonly #command: string
  readonly #host: HostFacts
  readonly #startedAt = new Date().toISOString()
  readonly #samples: Samples
  readonly #pulls: PullRecorder[] = []
  #pullsLeftOut = 0

  constructor(command: string, host: HostFacts, pointsMax?: number) {
    this.#command = redact(command)
    this.#host = host
    this.#samples = new Samples(pointsMax)
  }

  /** Opens the record of one more pull, which begins now. */
  openPull(reference: string, options: RecordOptions = {}): PullRecorder {
    const isKept = this.#pulls.length < pullsMax
    const pull = new PullRecorder(redact(reference), isKept ? this.#samples : new Samples(), options)
    if (isKept) this.#pulls.push(pull)
    else this.#pullsLeftOut++
    return pull
  }

  /** Ends the pulls that are under way. What they say themselves of their end, if they come to it, overrides this. */
  failOpen(error: WindlassError): void {
    for (const pull of this.#pulls) if (pull.record.outcome.status === 'running') pull.fail(error)
  }

  /** What is known by now, as plain data. Later events do not change it. */
  snapshot(): Report {
    return structuredClone({
      schemaVersion: reportSchemaVersion,
      command: this.#command,
      startedAt: this.#startedAt,
      writtenAt: new Date().toISOString(),
      host: this.#host,
      pulls: this.#pulls.map(pull => pull.record),
      pullsLeftOut: this.#pullsLeftOut,
    })
  }
}

interface OpenLayer extends LayerRecord {
  readonly phases: { readonly phase: LayerPhase; readonly atMs: number }[]
  progress: LayerProgress
  readonly stages: StageSeries[]
}

/** Keeps what the events of one pull tell. */
export class PullRecorder {
  readonly #reference: string
  readonly #samples: Samples
  readonly #clock: () => number
  readonly #onStall: (() => void) | undefined
  readonly #startedAt = new Date().toISOString()
  readonly #startedMs: number
  readonly #layers: OpenLayer[] = []
  readonly #happenings: Happening[] = []
  #happeningsLeftOut = 0
  #registry: string | undefined
  #image: ImageFacts | undefined
  #outcome: Outcome = { status: 'running' }
  #endedMs: number | undefined

  constructor(reference: string, samples: Samples, { clock = () => performance.now(), onStall }: RecordOptions) {
    this.#reference = reference
    this.#samples = samples
    this.#clock = clock
    this.#onStall = onStall
    this.#startedMs = clock()
  }

  get record(): PullRecord {
    return {
      reference: this.#reference,
      ...(this.#registry !== undefined && { registry: this.#registry }),
      startedAt: this.#startedAt,
      elapsedMs: this.#endedMs ?? this.#nowMs(),
      outcome: this.#outcome,
      ...(this.#image !== undefined && { image: this.#image }),
      layers: this.#layers.filter(layer => layer !== undefined),
      happenings: this.#happenings,
      happeningsLeftOut: this.#happeningsLeftOut,
    }
  }

  /** Takes one event in. */
  handle(event: PullEvent): void {
    if (event.type === 'start') this.#registry = event.registry
    else if (event.type === 'resolved') this.#resolve(event)
    else if (event.type === 'layer') this.#enter(event)
    else if (event.type === 'progress') this.#count(event)
    else if (event.type === 'stages') this.#sample(event)
    else if (event.type === 'done') this.#end({ ...withoutType(event), status: 'done' })
    else if (event.type !== 'delivery') this.#keep(event)
  }

  /** The pull has ended with an error, whatever the events said. */
  fail({ code, message, hint, exitStatus, facts }: WindlassError): void {
    this.#end({
      status: code === 'CANCELLED' ? 'cancelled' : 'failed',
      error: {
        code,
        message: redact(message),
        ...(hint !== undefined && { hint }),
        exitStatus,
        facts: redactAll(facts),
      },
    })
  }

  #nowMs(): number {
    return Math.round(this.#clock() - this.#startedMs)
  }

  #end(outcome: Outcome): void {
    this.#endedMs = this.#nowMs()
    this.#outcome = outcome
  }

  #resolve({ digest, imageId, platform, layers }: EventOf<'resolved'>): void {
    this.#image = { digest, imageId, platform }
    for (const [layer, { digest, size }] of layers.entries()) this.#layerOf({ layer, digest, size })
  }

  #enter(event: EventOf<'layer'>): void {
    const layer = this.#layerOf(event)
    if (layer === undefined || layer.phases.length >= phasesMax) return
    layer.phases.push({ phase: event.phase, atMs: this.#nowMs() })
  }

  #count(event: EventOf<'progress'>): void {
    const layer = this.#layerOf(event)
    const { bytesDownloaded, bytesResumed, bytesUnpacked, entries } = event
    if (layer !== undefined) layer.progress = { bytesDownloaded, bytesResumed, bytesUnpacked, entries }
  }

  #sample({ layer, atMs, stages }: EventOf<'stages'>): void {
    const found = this.#layers[layer]
    if (found !== undefined) this.#samples.add(found.stages, Math.round(atMs), stages)
  }

  #keep(event: EventOf<'stall' | 'recovered' | 'retry' | 'fallback' | 'warning' | 'notice'>): void {
    if (this.#happenings.length >= happeningsMax) {
      this.#happeningsLeftOut++
      return
    }
    const atMs = event.type === 'warning' || event.type === 'notice' ? this.#nowMs() : Math.round(event.atMs)
    this.#happenings.push(redactAll({ ...event, atMs }))
    if (event.type === 'stall') this.#onStall?.()
  }

  #layerOf({ layer, digest, size }: { layer: number; digest: string; size: number }): OpenLayer | undefined {
    if (layer >= layersMax) return undefined
    const progress = { bytesDownloaded: 0, bytesResumed: 0, bytesUnpacked: 0, entries: 0 }
    this.#layers[layer] ??= { layer, digest, size, phases: [], progress, stages: [] }
    return this.#layers[layer]
  }
}

function withoutType({ type: _, ...result }: EventOf<'done'>): PullResult {
  return result
}

/** Texts in bounded length and number, without secrets; all else unchanged. */
function redactAll<Value>(value: Value): Value {
  if (typeof value === 'string') return redact(value) as Value
  if (Array.isArray(value)) return value.slice(0, evidenceMax).map(redactAll) as Value
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, redactAll(field)])) as Value
}

/** Reports are sent around: what a user typed before an @, and the query of an address, which may be signed, stay here. */
function redact(text: string): string {
  const short = text.length > textMax ? `${text.slice(0, textMax)}…` : text
  return short.replace(/(\w:\/\/)[^/\s@]*@/g, '$1…@').replace(/(\w:\/\/[^\s?]*\?)[^\s"'`,;)]+/g, '$1…')
}
