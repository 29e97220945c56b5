/** An image that is brought in without the engine's decompressor: the names that the engine has before and after, and how they are taken back. */
import { WindlassError } from '../../errors.ts'
import { Journal, type JournalRecord, type Step } from './journal.ts'

/** Plain data: survives JSON. */
export interface DeliveryPlace {
  readonly engine: 'dockerd' | 'containerd'
  readonly socket: string
  readonly reference: string
  readonly namespace: string | undefined
}

/** What the reference stands for at the registry, and the image's config. */
export interface ExpectedImage {
  readonly digest: string
  readonly config: string
}

/** What each name stands for: docker's image ID, containerd's digest. */
export type Names = Readonly<Record<string, string>>

const kind = 'deliver'
/** An engine that has just failed may not answer either. */
const answerMs = 5000

export interface DeliverOptions {
  /** Where the journals are. */
  readonly directory: string
  readonly cure: string
  readonly signal: AbortSignal
}

/**
 * @param bring brings the image in, and gives the digest that its reference stands for; it says what that is before the engine gets anything
 * @returns the journal's ID, and what the engine says then
 */
export async function deliver(
  place: DeliveryPlace,
  bring: (expect: (image: ExpectedImage) => void) => Promise<string>,
  { directory, cure, signal }: DeliverOptions,
): Promise<{ readonly id: string; readonly isProven: boolean; readonly text: string }> {
  const { nameOf, namesOf, proveDelivery, readNames } = await import('./engine-names.ts')
  using journal = new Journal(directory, kind)
  const before = await readNames(place, signal)
  journal.write('begin', { kind, cure, place, before })
  let names = [nameOf(place)]
  const expect = (image: ExpectedImage) => {
    names = namesOf(place, image)
    journal.write('expected', { ...image, names })
  }
  const digest = await bring(expect).catch(async (error: unknown) => {
    // A name that it brought before it failed can be taken back, as after a death. Who cancelled it has ended the signal.
    const left = await readNames(place, AbortSignal.timeout(answerMs)).catch(() => undefined)
    const isClean = left !== undefined && names.every(name => before[name] !== undefined || left[name] === undefined)
    journal.note(isClean ? 'undone' : 'failed', { because: (error as Error).message })
    throw error
  })
  const now = await readNames(place, signal)
  // Others bring images meanwhile, too: theirs are not ours to take back.
  const added = names.filter(name => before[name] === undefined && now[name] !== undefined)
  journal.write('applied', { digest, added: Object.fromEntries(added.map(name => [name, now[name]])) })
  return { id: journal.id, ...(await proveDelivery(place, digest, signal)) }
}

export function isDelivery({ steps: [begin] }: JournalRecord): boolean {
  return begin?.['kind'] === kind
}

/** Which names are removed when it is taken back; of one that a death broke off, those that it was about to bring. */
export function addedBy(record: JournalRecord): string[] {
  if (!isDelivery(record)) return []
  const [begin] = record.steps
  const applied = stepOf(record, 'applied')
  if (applied !== undefined) return Object.keys(applied['added'] as Names)
  const names = (stepOf(record, 'expected')?.['names'] ?? []) as readonly string[]
  return names.filter(name => (begin?.['before'] as Names)[name] === undefined)
}

function stepOf({ steps }: JournalRecord, wanted: string): Step | undefined {
  return steps.find(({ step }) => step === wanted)
}

/** What a name must still stand for, to be removed: docker knows an image by its config, or by its digest. */
function isMeant(record: JournalRecord, name: string, target: string | undefined): boolean {
  const added = stepOf(record, 'applied')?.['added'] as Names | undefined
  if (added !== undefined) return target === added[name]
  const expected = stepOf(record, 'expected')
  return target !== undefined && (target === expected?.['digest'] || target === expected?.['config'])
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
  const { readNames, removeName } = await import('./engine-names.ts')
  using journal = Journal.reopen(directory, record.id)
  journal.write('undo')
  const now = await readNames(place, signal)
  const names = addedBy(record).filter(name => now[name] !== undefined)
  for (const name of names)
    if (!isMeant(record, name, now[name]))
      throw new WindlassError('FAILED', `Cannot remove ${name}: it stands for another image by now`, {
        hint: 'remove it by the engine itself, if it shall go',
      })
  for (const name of names) await removeName(place, name, signal)
  journal.write('undone')
  return names
}
