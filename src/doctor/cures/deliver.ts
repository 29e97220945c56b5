/** An image that is brought in without the engine's decompressor: the names that the engine has before and after, and how they are taken back. */
import { WindlassError } from '../../errors.ts'
import type { Names } from './engine-names.ts'
import { Journal, type JournalRecord } from './journal.ts'

/** Plain data: survives JSON. */
export interface DeliveryPlace {
  readonly engine: 'dockerd' | 'containerd'
  readonly socket: string
  readonly reference: string
  readonly namespace: string | undefined
}

const kind = 'deliver'

export interface DeliverOptions {
  /** Where the journals are. */
  readonly directory: string
  readonly cure: string
  readonly signal: AbortSignal
}

/** @param bring brings the image in, and gives the digest that its reference stands for. @returns the journal's ID, and what the engine says then */
export async function deliver(
  place: DeliveryPlace,
  bring: () => Promise<string>,
  { directory, cure, signal }: DeliverOptions,
): Promise<{ readonly id: string; readonly isProven: boolean; readonly text: string }> {
  const { nameOf, proveDelivery, readNames } = await import('./engine-names.ts')
  using journal = new Journal(directory, kind)
  const before = await readNames(place, signal)
  journal.write('begin', { kind, cure, place, name: nameOf(place), before })
  const digest = await bring().catch((error: unknown) => {
    journal.note('undone', { because: (error as Error).message })
    throw error
  })
  const added = Object.entries(await readNames(place, signal)).filter(([name]) => before[name] === undefined)
  journal.write('applied', { digest, added: Object.fromEntries(added) })
  return { id: journal.id, ...(await proveDelivery(place, digest, signal)) }
}

export function isDelivery({ steps: [begin] }: JournalRecord): boolean {
  return begin?.['kind'] === kind
}

/** Which names are removed when it is taken back; of one that a death broke off, the name that it was about to bring. */
export function addedBy(record: JournalRecord): string[] {
  if (!isDelivery(record)) return []
  const { steps } = record
  const applied = steps.find(({ step }) => step === 'applied')
  if (applied !== undefined) return Object.keys(applied['added'] as Names)
  const [begin] = steps
  const name = begin?.['name'] as string | undefined
  return name === undefined || (begin?.['before'] as Names)[name] !== undefined ? [] : [name]
}

/**
 * Removes the names that it has brought.
 * @returns those that were there. @throws WindlassError FAILED if one stands for another image by now; ENGINE_UNREACHABLE
 */
export async function undoDelivery(
  record: JournalRecord,
  { directory, signal }: Omit<DeliverOptions, 'cure'>,
): Promise<string[]> {
  const place = record.steps[0]?.['place'] as DeliveryPlace
  const applied = record.steps.find(({ step }) => step === 'applied')
  const { readNames, removeName } = await import('./engine-names.ts')
  using journal = Journal.reopen(directory, record.id)
  journal.write('undo')
  const now = await readNames(place, signal)
  const meant = applied?.['added'] as Names | undefined
  const names = addedBy(record).filter(name => now[name] !== undefined)
  for (const name of names)
    if (meant !== undefined && now[name] !== meant[name])
      throw new WindlassError('FAILED', `Cannot remove ${name}: it stands for another image by now`, {
        hint: 'remove it by the engine itself, if it shall go',
      })
  for (const name of names) await removeName(place, name, signal)
  journal.write('undone')
  return names
}
