/** What a rescue that did not come to its end has left behind, for the next one of the same process. */
import type { HostView } from '../../sys/host-view.ts'
import { readProcess } from '../../sys/tasks.ts'
import { readWritten } from '../../sys/written-count.ts'
import { compareBegins, type JournalRecord, type Step } from '../cures/journal.ts'
import { Refusal } from './refusal.ts'

export interface Unfinished {
  /** From where the stream is owed; undefined if nothing was written. */
  readonly position: number | undefined
  /** What bytes were written of, as the journal has it: of no other layer may more of them come. */
  readonly layer: WrittenLayer | undefined
  /** The same if all of it was written: nothing is owed but that the process leaves, and its input may be gone. */
  readonly written: WrittenLayer | undefined
  /** It is known of all that were about to write how far they came: so the mark on the output is theirs. */
  readonly hasMarked: boolean
  /** Who gave the stream when the rescue that came furthest held the process, and how much that one had passed to write calls itself. */
  readonly given: Given | undefined
  /** Processes that it stopped, and nobody else, and when each was started. */
  readonly leftStopped: ReadonlyMap<number, number>
}

export interface Given {
  readonly writer: number
  readonly bytes: number
}

interface Identity {
  readonly pid: number
  readonly startTicks: number
}

interface WrittenLayer {
  readonly name: string
  readonly digest: string
  readonly diffId: string
  readonly total: number
}

export function readBoot(host: HostView): string {
  return host.text('/proc/sys/kernel/random/boot_id')?.trim() ?? ''
}

/** Journals of rescues of this process in this boot, the first first. */
export function recordsOf(
  host: HostView,
  { pid, startTicks }: Identity,
  journals: readonly JournalRecord[],
): JournalRecord[] {
  const boot = readBoot(host)
  const isMine = ({ steps: [begin] }: JournalRecord) => {
    const its = begin?.['process'] as Partial<Identity> | undefined
    return begin?.['boot'] === boot && its?.pid === pid && its.startTicks === startTicks
  }
  return journals.filter(isMine).sort(compareBegins)
}

/**
 * @returns undefined if nobody has begun to rescue this process
 * @throws Refusal RESCUE_WRITER_LOST if it is not known how far an earlier one came
 */
export function findUnfinished(
  host: HostView,
  process: Identity,
  journals: readonly JournalRecord[],
): Unfinished | undefined {
  const mine = recordsOf(host, process, journals)
  const last = mine.at(-1)
  if (last === undefined) return undefined
  const furthest = furthestOf(host, mine)
  const layer = furthest?.record.steps[0]?.['layer'] as WrittenLayer | undefined
  const written = layer !== undefined && layer.total === furthest?.position ? layer : undefined
  const held = furthest && stepOf(furthest.record.steps, 'held')
  const given = held?.['given'] as Given | undefined
  const leftStopped = stoppedBy(last)
  return { position: furthest?.position, layer, written, hasMarked: hasMarked(mine), given, leftStopped }
}

/** Whoever comes to write has found no mark, or has known of whose it is. */
function hasMarked(mine: readonly JournalRecord[]): boolean {
  const writes = mine.flatMap(({ steps }) => stepOf(steps, 'write') ?? [])
  return writes.length > 0 && writes.every(({ countFile }) => readWritten(String(countFile)) !== undefined)
}

/** A stream only grows: whoever came furthest says how far it is, whatever clocks say. */
function furthestOf(host: HostView, mine: readonly JournalRecord[]) {
  const all = mine.flatMap(record => {
    const position = positionAfter(host, record.steps)
    return position === undefined ? [] : [{ record, position }]
  })
  return all.sort((a, b) => a.position - b.position).at(-1)
}

/**
 * A process in whose place bytes were written stays stopped. Where somebody has let it go on, and it has written itself, nobody knows what its engine has.
 * @throws Refusal RESCUE_POSITION_UNPROVEN
 */
export function checkStoodStill(unfinished: Unfinished | undefined, { writer, bytes: now }: Given): void {
  const { position, given } = unfinished ?? {}
  // Who gave the stream may have been ended by then, and its parent still be there.
  if (position === undefined || given?.writer !== writer || now === given.bytes) return
  const bytes = `${now - given.bytes} bytes itself`
  throw new Refusal(
    'RESCUE_POSITION_UNPROVEN',
    `it has written ${bytes} since an earlier rescue wrote in its place: somebody has let it go on`,
  )
}

function stepOf(steps: readonly Step[], name: string): Step | undefined {
  return steps.findLast(({ step }) => step === name)
}

/**
 * What stood before us was not stopped by us, and what was let go does not stand any more. A rescue may have died between the first stop and the step that says that all are stopped: what it
 * had found standing when it began tells the same.
 */
function stoppedBy({ steps: [begin, ...rest] }: JournalRecord): ReadonlyMap<number, number> {
  const before = (stepOf(rest, 'held') ?? begin)?.['wereStopped'] as readonly number[] | undefined
  if (before === undefined || stepOf(rest, 'let-go') !== undefined) return new Map()
  const others = (begin?.['others'] ?? []) as readonly Identity[]
  const all = [begin?.['process'] as Identity, ...others].filter(({ pid }) => !before.includes(pid))
  return new Map(all.map(({ pid, startTicks }) => [pid, startTicks]))
}

/** Of a rescue that owed nothing: it is at its end without a write, and the input that proved it may be gone. */
function positionOfAll(steps: readonly Step[]): number | undefined {
  const { total } = (steps[0]?.['layer'] ?? {}) as Partial<WrittenLayer>
  return stepOf(steps, 'written') === undefined ? undefined : total
}

/** Undefined if nothing was written: all that tells the position is looked at anew then. */
function positionAfter(host: HostView, steps: readonly Step[]): number | undefined {
  const write = stepOf(steps, 'write')
  if (write === undefined) return positionOfAll(steps)
  const start = Number(write['position'])
  const written = readWritten(String(write['countFile']))
  if (written === undefined) return undefined // the file is made before anything is written
  if (written.state !== 'writing') return written.bytes === 0 ? undefined : start + written.bytes
  const writer = Number(stepOf(steps, 'writer')?.['pid'] ?? 0)
  if (writer === 0 && written.bytes === 0) return undefined // it could not be started
  const isAlive = writer > 0 && readProcess(writer, host) !== undefined
  const text = isAlive ? 'still writes' : 'was ended, too, and nobody knows how far it came'
  throw new Refusal('RESCUE_WRITER_LOST', `the writer of an earlier rescue (process ${writer}) ${text}`)
}
