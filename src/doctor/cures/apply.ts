/** Applies a cure, and takes one back, with every step in the journal before and after it is done. */
import { WindlassError } from '../../errors.ts'
import { type CommandOptions, runCommands } from './command.ts'
import { addedBy } from './deliver.ts'
import { applyChange, checkChange, type FileChange, revertChange } from './file-change.ts'
import { Journal, type JournalRecord } from './journal.ts'

/** What is done to files, and then run. */
export interface Treatment {
  readonly id: string
  readonly kind: string
  readonly changes: readonly FileChange[]
  readonly commands: readonly (readonly string[])[]
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

/** @throws WindlassError FAILED, NO_SPACE, PERMISSION: what was changed until then has been taken back */
export async function applyCure(cure: Treatment, options: ApplyOptions): Promise<AppliedCure> {
  const { kind, id, changes, commands } = cure
  using journal = new Journal(options.directory, kind)
  journal.write('begin', { kind, cure: id, changes, commands })
  const done: FileChange[] = []
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
    for (const change of done.reverse()) revertChange(change)
    journal.write('undone', { because: (error as Error).message })
    throw error
  }
  journal.write(late === undefined ? 'applied' : 'unknown', { late })
  return { id: journal.id, late }
}

/** What can be taken back, the last first: also what was broken off by a death. */
export function undoable(journals: readonly JournalRecord[]): JournalRecord[] {
  return journals
    .filter(record => changesOf(record.steps).length > 0 || addedBy(record).length > 0)
    .filter(({ steps }) => !steps.some(({ step }) => step === 'undone'))
    .reverse()
}

function changesOf([begin]: JournalRecord['steps']): readonly FileChange[] {
  return (begin?.['changes'] ?? []) as readonly FileChange[]
}

/** @returns the paths that have their old state again. @throws WindlassError FAILED if a file was changed since; NO_SPACE, PERMISSION */
export async function undoCure({ id, steps }: JournalRecord, options: ApplyOptions): Promise<string[]> {
  using journal = Journal.reopen(options.directory, id)
  journal.write('undo')
  const paths = changesOf(steps)
    .toReversed()
    .filter(revertChange)
    .map(({ path }) => path)
  const late = await runCommands((steps[0]?.['commands'] ?? []) as Treatment['commands'], options)
  if (late !== undefined)
    throw new WindlassError('FAILED', `Cannot end ${late}: the files are as before, but it takes too long`, {
      hint: `run windlass doctor --undo ${id} again`,
    })
  journal.write('undone')
  return paths
}
