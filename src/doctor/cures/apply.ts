/** Applies a cure, and takes one back, with every step in the journal before and after it is done. */
import { WindlassError } from '../../errors.ts'
import type { HostView } from '../../sys/host-view.ts'
import { addedBy } from './deliver.ts'
import { applyChange, type FileChange, revertChange } from './file-change.ts'
import { Journal, type JournalRecord } from './journal.ts'

/** What is done to files, and then run. */
export interface Treatment {
  readonly id: string
  readonly kind: string
  readonly changes: readonly FileChange[]
  readonly commands: readonly (readonly string[])[]
}

export interface ApplyOptions {
  /** Where the journals are. */
  readonly directory: string
}

/**
 * @returns the journal's ID, which `undoCure` takes
 * @throws WindlassError FAILED, NO_SPACE, PERMISSION: what was changed until then has been taken back
 */
export async function applyCure(host: HostView, cure: Treatment, { directory }: ApplyOptions): Promise<string> {
  const { kind, id, changes, commands } = cure
  using journal = new Journal(directory, kind)
  journal.write('begin', { kind, cure: id, changes, commands })
  const done: FileChange[] = []
  try {
    for (const change of changes) {
      applyChange(change)
      done.push(change)
      journal.write('changed', { path: change.path })
    }
    await runAll(host, commands)
  } catch (error) {
    for (const change of done.reverse()) revertChange(change)
    journal.write('undone', { because: (error as Error).message })
    throw error
  }
  journal.write('applied')
  return journal.id
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
export async function undoCure(
  host: HostView,
  { id, steps }: JournalRecord,
  { directory }: ApplyOptions,
): Promise<string[]> {
  using journal = Journal.reopen(directory, id)
  journal.write('undo')
  const paths = changesOf(steps)
    .toReversed()
    .filter(revertChange)
    .map(({ path }) => path)
  await runAll(host, (steps[0]?.['commands'] ?? []) as readonly (readonly string[])[])
  journal.write('undone')
  return paths
}

async function runAll(host: HostView, commands: readonly (readonly string[])[]): Promise<void> {
  for (const [program = '', ...args] of commands) {
    if ((await host.tell(program, args)) === undefined)
      throw new WindlassError('FAILED', `Cannot run ${[program, ...args].join(' ')}: it failed, or did not end in time`)
  }
}
