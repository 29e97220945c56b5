/** An image that is brought in without the engine's decompressor: the names that the engine has before and after, and how they are taken back. */
import { WindlassError } from '../../errors.ts'
import type { DeliveryPlace, ExpectedImage, Names } from './delivery-place.ts'
import { Journal, type JournalRecord, type Step } from './journal.ts'

const kind = 'deliver'
/** An engine that has just failed may not answer either. */
const answerMs = 5000

export interface DeliverOptions {
  /** Where the journals are. */
  readonly directory: string
  readonly cure: string
  readonly signal: AbortSignal
}

type Bring = (expect: (image: ExpectedImage) => Promise<void>) => Promise<string>

/** What is told of an undo before it is needed: what the name stands for now, if there is one. @throws WindlassError ENGINE_UNREACHABLE */
export async function describeUndo(place: DeliveryPlace, signal: AbortSignal): Promise<string> {
  const { keptName, nameOf, readNames } = await import('./engine-names.ts')
  const before = await readNames(place, signal)
  const name = nameOf(place)
  const old = before[name]
  if (old === undefined) return `the name ${name}, which is not there now, is removed`
  const kept = keptName(place, before, name)
  const until = kept === undefined ? `as long as ${place.engine} has that image` : `which is kept as ${kept} until then`
  return `if the image that comes is not the one that ${name} stands for now, it stands for ${old} again, ${until}`
}

/**
 * @param bring brings the image in, and gives the digest that its reference stands for; it says what that is before the engine gets anything, and waits until that is written down
 * @returns the journal's ID, whether there is something to take back, and what the engine says then
 */
export async function deliver(
  place: DeliveryPlace,
  bring: Bring,
  { directory, cure, signal }: DeliverOptions,
): Promise<{ readonly id: string; readonly isUndoable: boolean; readonly isProven: boolean; readonly text: string }> {
  const { keepOld, keptName, nameOf, namesOf, proveDelivery, readNames, removeName } = await import('./engine-names.ts')
  using journal = new Journal(directory, kind)
  const before = await readNames(place, signal)
  journal.write('begin', { kind, cure, place, before })
  let names = [nameOf(place)]
  let kept: string | undefined
  let config: string | undefined
  const expect = async (image: ExpectedImage) => {
    const name = nameOf(place)
    names = namesOf(place, image)
    config = image.config
    if (before[name] !== image.digest) kept = keptName(place, before, name)
    journal.write('expected', { ...image, names, kept })
    if (kept !== undefined) await keepOld(place, { name, digest: image.digest }, signal)
  }
  const digest = await bring(expect).catch(async (error: unknown) => {
    // A name that it brought before it failed can be taken back, as after a death. Who cancelled it has ended the signal.
    const late = AbortSignal.timeout(answerMs)
    const left = await readNames(place, late).catch(() => undefined)
    const isClean = left !== undefined && names.every(name => left[name] === before[name])
    if (isClean && kept !== undefined) await removeName(place, kept, late).catch(() => {})
    journal.note(isClean ? 'undone' : 'failed', { because: (error as Error).message })
    throw error
  })
  const now = await readNames(place, signal)
  // Others bring images meanwhile, too: theirs are not ours to take back.
  const standing = names.flatMap(name => (now[name] === undefined ? [] : [[name, now[name]] as const]))
  const added = standing.filter(([name]) => before[name] === undefined)
  const moved = standing.filter(([name, target]) => before[name] !== undefined && before[name] !== target)
  journal.write('applied', { digest, added: Object.fromEntries(added), moved: Object.fromEntries(moved) })
  if (kept !== undefined && moved.length === 0) await removeName(place, kept, signal)
  const proof = await proveDelivery(place, { digest, config }, signal)
  return { id: journal.id, isUndoable: added.length + moved.length > 0, ...proof }
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

/** Which names get back what they stood for; of one that a death broke off, those that it was about to move. */
export function movedBy(record: JournalRecord): string[] {
  if (!isDelivery(record)) return []
  const before = beforeOf(record)
  const applied = stepOf(record, 'applied')
  if (applied !== undefined) return Object.keys((applied['moved'] ?? {}) as Names)
  const expected = stepOf(record, 'expected')
  const names = (expected?.['names'] ?? []) as readonly string[]
  return names.filter(name => before[name] !== undefined && before[name] !== expected?.['digest'])
}

/** The name under which the old image of a moved name was kept, if it was. */
function keptBy(record: JournalRecord): string | undefined {
  return stepOf(record, 'expected')?.['kept'] as string | undefined
}

/** What `undoDelivery` does, in lines. */
export function describeTakingBack(record: JournalRecord): string[] {
  const before = beforeOf(record)
  const kept = keptBy(record)
  return [
    ...movedBy(record).map(name => `give the name ${name} back to ${before[name]}`),
    ...addedBy(record).map(name => `remove the name ${name}`),
    ...(kept === undefined ? [] : [`remove the name ${kept}`]),
  ]
}

function beforeOf({ steps: [begin] }: JournalRecord): Names {
  return (begin?.['before'] ?? {}) as Names
}

function stepOf({ steps }: JournalRecord, wanted: string): Step | undefined {
  return steps.find(({ step }) => step === wanted)
}

/** What a name must still stand for, to be taken back: docker knows an image by its config, or by its digest. */
function isMeant(record: JournalRecord, name: string, target: string | undefined): boolean {
  const applied = stepOf(record, 'applied')
  const told = applied && { ...(applied['added'] as Names), ...(applied['moved'] as Names | undefined) }
  if (told !== undefined) return target === told[name]
  const expected = stepOf(record, 'expected')
  return target !== undefined && (target === expected?.['digest'] || target === expected?.['config'])
}

/**
 * Removes the names that it has brought, and gives back what those stood for that it has moved: all of it, or nothing.
 * @returns those names. @throws WindlassError FAILED if one stands for another image by now, or the engine no longer has the old one; ENGINE_UNREACHABLE
 */
export async function undoDelivery(
  record: JournalRecord,
  { directory, signal }: Omit<DeliverOptions, 'cure'>,
): Promise<string[]> {
  const place = record.steps[0]?.['place'] as DeliveryPlace
  const { findTarget, giveName, readNames, removeName } = await import('./engine-names.ts')
  using journal = Journal.reopen(directory, record.id)
  journal.write('undo')
  const before = beforeOf(record)
  const now = await readNames(place, signal)
  const isOurs = (name: string) => now[name] !== undefined && now[name] !== before[name]
  const added = addedBy(record).filter(isOurs)
  const moved = movedBy(record).filter(isOurs)
  for (const name of [...added, ...moved])
    if (!isMeant(record, name, now[name]))
      throw new WindlassError('FAILED', `Cannot take back the name ${name}: it stands for another image by now`, {
        hint: 'remove it by the engine itself, if it shall go',
      })
  const old = await Promise.all(
    moved.map(async name => ({ name, target: await findTarget(place, before[name] ?? '', signal) })),
  )
  for (const { name, target } of old)
    if (target === undefined)
      throw new WindlassError(
        'FAILED',
        `Cannot give ${name} back what it stood for: ${place.engine} no longer has ${before[name]}`,
        { hint: 'somebody has removed it since: pull it again, if it is still to be had' },
      )
  for (const { name, target } of old) if (target !== undefined) await giveName(place, name, target, signal)
  for (const name of added) await removeName(place, name, signal)
  const kept = keptBy(record)
  if (kept !== undefined && now[kept] !== undefined) await removeName(place, kept, signal)
  journal.write('undone')
  return [...added, ...moved]
}
