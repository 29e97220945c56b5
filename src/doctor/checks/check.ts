import type { HostView } from '../../sys/host-view.ts'
import type { ProcessTable } from '../../sys/process-files.ts'
import type { FindingCode } from '../catalogue.ts'
import type { Engine } from '../engines.ts'
import type { Finding } from '../finding.ts'
import type { RegistryVisit } from '../registry-visit.ts'

/** What every check may look at. */
export interface CheckContext {
  readonly host: HostView
  readonly engines: readonly Engine[]
  /** Every process, as it was when the visit began. */
  readonly table: ProcessTable
  readonly signal: AbortSignal
  /** Whether the user let the doctor try things: decompressors, and a sync of a small file. */
  readonly mayTry: boolean
  /** When the answer is due, on the host's clock: what is not ready by then is told as unfinished, unless the user asked for it. */
  readonly until?: number
  /** What is known of a program on this host by a probe. @param mayTry runs it, with our rights, if nothing is known */
  verdictOf(path: string, mayTry: boolean): Promise<string | undefined>
}

/** A directory that an engine keeps images in, or puts layers into on their way. */
export interface EngineDirectory {
  readonly engine: Engine
  readonly role: 'images' | 'temporary'
  /** As the engine names it, and as we reach it. */
  readonly name: string
  readonly path: string
}

/** What checks look at, one by one. */
interface Items {
  readonly host: Record<never, never>
  readonly engine: Engine
  readonly directory: EngineDirectory
  readonly registry: RegistryVisit
}

type ItemKind = keyof Items

/** `check` comes first, and where it found one of these for the same item, or for the engine or the host of it, there is no point in looking. */
interface Dependency {
  readonly check: string
  readonly unless: readonly FindingCode[]
}

/** Looks at one thing, and never changes anything. It gives up by itself within `boundMs`, or is given up. */
export interface CheckOf<Kind extends ItemKind> {
  /** Kebab-case, as its file. */
  readonly name: string
  readonly of: Kind
  readonly after?: readonly Dependency[]
  /** What of the same item is no finding of its own where this one finds a problem. */
  readonly explains?: readonly FindingCode[]
  /** Default 10 s. */
  readonly boundMs?: number
  look(item: Items[Kind], context: CheckContext): Promise<Finding[]> | Finding[]
}

export type Check = { [Kind in ItemKind]: CheckOf<Kind> }[ItemKind]

/** One item with what tells it from others. */
export interface Item<Kind extends ItemKind = ItemKind> {
  readonly kind: Kind
  readonly key: string
  /** The process of the engine that it belongs to. */
  readonly engine: number | undefined
  readonly value: Items[Kind]
  readonly doubt?: Doubt
}

/** Why what is found at an item is no problem for sure: it is told with it, as a note. */
export interface Doubt {
  readonly why: string
  /** What is sure all the same. */
  readonly stands: readonly FindingCode[]
}

export { describeEngine } from '../engines.ts'
