import type { PullEvent } from '../../copy/events.ts'
import { formatDuration } from './units.ts'

/** What goes wrong, and what is done about it. */
export type TroubleEvent = Extract<PullEvent, { type: 'stall' | 'recovered' | 'retry' | 'fallback' }>

/** The verdicts of the watch, as predicates of a sentence. */
const kinds: Readonly<Record<string, string>> = {
  'silent-source': 'received nothing',
  'trickling-source': 'received next to nothing',
  'stuck-decompressor': 'gave nothing out',
  'dribbling-decompressor': 'gave next to nothing out',
  stopped: 'was stopped by a signal',
  'disk-wait': 'hung in the kernel, waiting for the disk',
  'stuck-open': 'could not be opened in the store',
  'stuck-spool': 'could not write what was downloaded',
  'stuck-entry': 'did not get on with an entry',
  'stuck-sync': 'waited for a sync that did not return',
  'stuck-commit': 'could not be made visible',
  'stuck-lock': 'was held by a process that does nothing',
  'lost-wakeup': 'slept although there was input',
}

/** `was stopped by a signal`; the evidence has the details. */
export function describeKind(kind: string): string {
  return (Object.hasOwn(kinds, kind) ? kinds[kind] : undefined) ?? 'stood still'
}

/** True for an event that `Troubles` has a line for. */
export function isTrouble(event: PullEvent): event is TroubleEvent {
  return event.type === 'stall' || event.type === 'recovered' || event.type === 'retry' || event.type === 'fallback'
}

/** A line has room for the strongest evidence; a report keeps all of it. Of a disk also what it waits for, and with which entry: nothing else helps. */
const evidenceShown = 2
const diskEvidenceShown = 4
const diskKinds: ReadonlySet<string> = new Set([
  'disk-wait',
  'stuck-open',
  'stuck-spool',
  'stuck-entry',
  'stuck-sync',
  'stuck-commit',
])

/** Gives each trouble its line, and none to a stall that was told and lasts. */
export class Troubles {
  readonly #open = new Set<string>()

  /** @param name what a layer is called on the screen; undefined if it is not known */
  describe(event: TroubleEvent, name: (layer: number) => string | undefined): string[] {
    const text = this.#describe(event)
    if (text === undefined) return []
    const layer = event.layer === undefined ? '' : `layer ${name(event.layer) ?? event.layer}: `
    return [`! ${layer}${text}`]
  }

  #describe(event: TroubleEvent): string | undefined {
    if (event.type === 'retry') return describeRetry(event)
    if (event.type === 'fallback') return describeFallback(event, this.#closeAll(event.layer))
    const key = `${event.layer} ${event.stage}`
    if (event.type === 'recovered') return this.#open.delete(key) ? describeRecovery(event.stage) : undefined
    if (this.#open.has(key)) return undefined
    this.#open.add(key)
    const { stage, kind, sinceMs, evidence } = event
    const shown = evidence.slice(0, diskKinds.has(kind) ? diskEvidenceShown : evidenceShown)
    return [`${stage} ${describeKind(kind)} for ${formatDuration(sinceMs)}`, ...shown].join('; ')
  }

  /** True if a stall of the layer was told: then its evidence need not be told again. */
  #closeAll(layer: number): boolean {
    const keys = [...this.#open].filter(key => key.startsWith(`${layer} `))
    for (const key of keys) this.#open.delete(key)
    return keys.length > 0
  }
}

/** A lock that moves again was left, or let go. */
function describeRecovery(stage: string): string {
  return stage === 'lock' ? 'it waits no longer for another process' : `${stage} moves again`
}

function describeRetry({ host, message, pauseMs }: Extract<TroubleEvent, { type: 'retry' }>): string {
  const where = message.includes(host) ? '' : `${host}: `
  return `${where}${message}; trying again in ${formatDuration(pauseMs)}`
}

function describeFallback(
  { program, message, evidence, bytesProven, redone }: Extract<TroubleEvent, { type: 'fallback' }>,
  isTold: boolean,
): string {
  const name = program.slice(program.lastIndexOf('/') + 1)
  const what = message.replace(/^Cannot decompress with \S+: /, '')
  const why = isTold ? `${name} given up` : `${name}: ${what}${formatTask(evidence, what)}`
  return `${why}; ${redone ? 'unpacking the layer again, decompressed in process' : `decompressing in process from byte ${bytesProven}`}`
}

/** ` (pid 4711, state T)`, of the facts that a line has room for and the message does not tell. */
function formatTask(evidence: readonly string[], message: string): string {
  const facts = ['pid', 'state', 'wchan'].flatMap(name => {
    const value = evidence.find(line => line.startsWith(`${name}: `))?.slice(name.length + 2)
    return value === undefined || value === '' || message.includes(value) ? [] : [`${name} ${value}`]
  })
  return facts.length === 0 ? '' : ` (${facts.join(', ')})`
}
