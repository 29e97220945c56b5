/** Applies a cure, and takes one back, with every step in the journal before and after it is done. */
import { isWindlassError, WindlassError } from '../../errors.ts'
import { type CommandOptions, runCommands } from './command.ts'
import { addedBy, isDelivery, movedBy } from './deliver.ts'
import {
  applyChange,
  type BegunChange,
  beginChange,
  checkChange,
  checkRevert,
  type FileChange,
  revertChange,
} from './file-change.ts'
import { Journal, type JournalRecord } from './journal.ts'

/** What is done to files, and then run. */
export interface Treatment {
  readonly id: string
  readonly kind: string
  readonly changes: readonly FileChange[]
  readonly commands: readonly (readonly string[])[]
  /** Run before the changes are taken back: what was started by what they brought ends first. */
  readonly ends?: readonly (readonly string[])[]
}

export interface ApplyOptions extends CommandOptions {
  /** Where the journals are. */
  readonly directory: string
}

interface AppliedCure {
  /** Of the journal, which `undoCure` takes. */
  readonly id: string
  /** A command that did not end in time: what it has begun may go on, and nobody knows what became of it. */
  readonly late: string | undefined
}

/** @throws WindlassError FAILED, NO_SPACE, PERMISSION, and what else a step threw: what was changed until then has been taken back, or it is said what has not */
export async function applyCure(cure: Treatment, options: ApplyOptions): Promise<AppliedCure> {
  const { kind, id, commands, ends = [] } = cure
  const changes = cure.changes.map(beginChange)
  using journal = new Journal(options.directory, kind)
  journal.write('begin', { kind, cure: id, changes, commands, ends })
  const done: BegunChange[] = []
  let late: string | undefined
  try {
    for (const change of changes) {
      checkChange(change)
      done.push(change) // a change that fails may have come to be in spite of it
      applyChange(change)
      journal.write('changed', { path: change.path })
    }
    late = await runCommands(commands, options)
  } catch (error) {
    const left = revertAll(done.toReversed())
    const because = (error as Error).message
    // What has failed is told, whatever becomes of the journal.
    journal.note(changes.length === 0 || left.length > 0 ? 'failed' : 'undone', { because, left })
    throw left.length === 0 ? error : withLeft(error, left, journal.id)
  }
  journal.write(late === undefined ? 'applied' : 'unknown', { late })
  return { id: journal.id, late }
}

/** Each, whatever becomes of the others. @returns why some were not taken back */
function revertAll(changes: readonly BegunChange[]): string[] {
  return changes.flatMap(change => {
    try {
      revertChange(change)
      return []
    } catch (error) {
      return [(error as Error).message]
    }
  })
}

function withLeft(error: unknown, left: readonly string[], id: string): WindlassError {
  const code = isWindlassError(error) ? error.code : 'FAILED'
  const message = `${(error as Error).message}. What was changed before that is not all as it was: ${left.join('; ')}`
  return new WindlassError(code, message, { cause: error, hint: undoAgain(id) })
}

function undoAgain(id: string): string {
  return `mend that, and run windlass doctor --undo ${id}, which goes on where it was broken off`
}

/** What can be taken back, the last first: also what was broken off by a death. */
export function undoable(journals: readonly JournalRecord[]): JournalRecord[] {
  return journals
    .filter(record => changesOf(record.steps).length > 0 || addedBy(record).length > 0 || movedBy(record).length > 0)
    .filter(({ steps }) => !steps.some(({ step }) => step === 'undone'))
    .reverse()
}

/**
 * Whether it was broken off before it could say what it has done. What stands in a file tells whose it is; a name of an image that was to come may have been brought by somebody else since.
 */
export function isBrokenOff({ steps }: JournalRecord): boolean {
  return !steps.some(({ step }) => step === 'applied' || step === 'unknown')
}

/** What `last` means among those that can be taken back: nothing of which it is not certain that it is ours. */
export function lastOf(all: readonly JournalRecord[]): JournalRecord | undefined {
  return all.find(record => !(isDelivery(record) && isBrokenOff(record)))
}

function changesOf([begin]: JournalRecord['steps']): readonly BegunChange[] {
  return (begin?.['changes'] ?? []) as readonly BegunChange[]
}

/** Of a journal: what ends before an undo, as long as what it belongs to is there. */
export function endsOf({ steps: [begin] }: JournalRecord): Treatment['commands'] {
  return (begin?.['ends'] ?? []) as Treatment['commands']
}

/**
 * Can be run again where it was broken off, or where it failed: what is as before already is left alone.
 * @returns the paths that have their old state again. @throws WindlassError FAILED if a file was changed since; NO_SPACE, PERMISSION
 */
export async function undoCure(record: JournalRecord, options: ApplyOptions): Promise<string[]> {
  const { id, steps } = record
  using journal = Journal.reopen(options.directory, id)
  journal.write('undo')
  const all = changesOf(steps).toReversed()
  const changes = all.filter(checkRevert)
  if (changes.length > 0) await runInTime(endsOf(record), 'nothing was taken back yet', id, options)
  const left = revertAll(all)
  if (left.length > 0) throw new WindlassError('FAILED', left.join('; '), { hint: undoAgain(id) })
  await runInTime((steps[0]?.['commands'] ?? []) as Treatment['commands'], 'the files are as before', id, options)
  journal.write('undone')
  return changes.map(({ path }) => path)
}

async function runInTime(commands: Treatment['commands'], state: string, id: string, options: ApplyOptions) {
  const late = await runCommands(commands, options).catch((error: unknown) => {
    if (!isWindlassError(error, 'FAILED')) throw error
    throw new WindlassError('FAILED', `${error.message}; ${state}`, { cause: error, hint: undoAgain(id) })
  })
  if (late === undefined) return
  options.signal?.throwIfAborted()
  throw new WindlassError('FAILED', `Cannot end ${late}: it takes too long; ${state}`, {
    hint: `run windlass doctor --undo ${id} again`,
  })
}
