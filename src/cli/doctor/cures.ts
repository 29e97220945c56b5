/** `windlass doctor --fixes`, `--fix ID`, `--undo ID`: what can be done to an engine, shown before it is done, and taken back. */
import { join } from 'node:path'
import { applyCure, undoable, undoCure } from '../../doctor/cures/apply.ts'
import { type Cure, nameOf, planCures, readCureFacts } from '../../doctor/cures/cure.ts'
import { formatDiff } from '../../doctor/cures/file-change.ts'
import { readJournals } from '../../doctor/cures/journal.ts'
import { killStuck } from '../../doctor/cures/kill.ts'
import { provesCure } from '../../doctor/cures/prove.ts'
import { planService } from '../../doctor/cures/service.ts'
import { type Engine, findEngines } from '../../doctor/engines.ts'
import { WindlassError } from '../../errors.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readProcessTable } from '../../sys/process-files.ts'
import type { Context } from '../command.ts'
import { confirm } from '../confirm.ts'
import { writeJson, writeLine } from '../output.ts'
import { journalDirectory } from './journal-directory.ts'

interface CureOptions {
  readonly pid: number | undefined
  readonly 'dry-run': boolean
  readonly yes: boolean
}

async function findCures(host: HostView, pid: number | undefined): Promise<Cure[]> {
  const all = await findEngines(host, readProcessTable(host), pid)
  const engines = all.filter(({ isOpen }) => isOpen)
  const cures = await Promise.all(
    engines.map(async engine => planCures(engine, suffixOf(engine, all), await readCureFacts(host, engine))),
  )
  return cures.flat()
}

function suffixOf({ kind, process }: Engine, all: readonly Engine[]): string {
  return all.filter(other => other.kind === kind).length > 1 ? `${kind}-${process.pid}` : kind
}

export async function listCures(context: Context, host: HostView, { pid }: Pick<CureOptions, 'pid'>): Promise<void> {
  const cures = await findCures(host, pid)
  const applied = undoable(readJournals(journalDirectory(context)))
  if (context.json)
    return writeJson(context, {
      cures: cures.map(withoutEngine),
      applied: applied.map(({ id, steps }) => ({ id, steps })),
    })
  for (const cure of cures) {
    writeLine(context, `${cure.obstacle === undefined ? '·' : '×'} ${cure.id}  ${nameOf(cure.engine)}: ${cure.title}`)
    writeLine(
      context,
      `    ${cure.obstacle ?? `takes effect ${cure.effect}; reaches ${cure.reaches}; undo: ${cure.undo}`}`,
    )
  }
  if (cures.length === 0) writeLine(context, 'No engine runs here whose processes can be seen')
  for (const { id, steps } of applied)
    writeLine(context, `✓ ${id}  applied at ${steps[0]?.['time']}; --undo ${id} takes it back`)
}

function withoutEngine({ engine, ...cure }: Cure) {
  return { ...cure, engine: engine.kind, enginePid: engine.process.pid }
}

export async function fix(context: Context, host: HostView, id: string, options: CureOptions): Promise<number> {
  if (id.startsWith('kill-')) return await fixByKilling(context, host, id, options)
  const cures = await findCures(host, options.pid)
  const cure = cures.find(cure => cure.id === id)
  if (cure === undefined)
    throw unknownCure(
      id,
      cures.map(cure => cure.id),
    )
  if (cure.obstacle !== undefined)
    throw new WindlassError('UNSUPPORTED', `Cannot apply ${id} to ${nameOf(cure.engine)}: ${cure.obstacle}`)
  if (!context.json) for (const line of describe(cure)) writeLine(context, line)
  if (options['dry-run'])
    return tell(context, { id, result: 'planned', message: 'nothing was done', cure: withoutEngine(cure) })
  if (!options.yes && !(await confirm(context, 'Do this?')))
    return tell(context, { id, result: 'declined', message: 'nothing was done' })
  const journal = await applyCure(host, cure, { directory: journalDirectory(context) })
  const proof = await provesCure(host, cure, context.signal)
  return tell(context, { id, result: 'applied', message: proof.text, isProven: proof.isProven, undo: journal })
}

function unknownCure(id: string, ids: readonly string[]): WindlassError {
  const hint = ids.length === 0 ? 'no engine runs here whose processes can be seen' : `there are: ${ids.join(', ')}`
  return new WindlassError('USAGE', `Cannot apply ${JSON.stringify(id)}: there is no such cure here`, { hint })
}

function describe(cure: Cure): string[] {
  return [
    `${cure.id}: ${cure.title}`,
    `  on       ${nameOf(cure.engine)}`,
    ...cure.changes.flatMap(change => formatDiff(change).map(line => `  ${line}`)),
    ...cure.commands.map(command => `  run      ${command.join(' ')}`),
    `  effect   ${cure.effect}`,
    `  reaches  ${cure.reaches}`,
    `  undo     ${cure.undo}`,
  ]
}

interface Told {
  readonly id: string
  readonly result: 'planned' | 'declined' | 'applied' | 'undone'
  readonly message: string
  readonly isProven?: boolean
  readonly undo?: string
  readonly cure?: unknown
}

/** @returns the exit status: what was applied and is not proven to help is a warning */
function tell(context: Context, told: Told): number {
  if (context.json) writeJson(context, told)
  else {
    writeLine(context, `${told.isProven === false ? '!' : '✓'} ${told.id}: ${told.result}; ${told.message}`)
    if (told.undo !== undefined) writeLine(context, `  windlass doctor --undo ${told.undo} takes it back`)
  }
  return told.isProven === false ? 10 : 0
}

/** A unit of systemd, which runs this very program. */
export async function installService(
  context: Context,
  host: HostView,
  options: Omit<CureOptions, 'pid'>,
): Promise<number> {
  const id = 'service'
  if (host.names('/run/systemd/system').length === 0) {
    const hint = 'have whatever starts services here run: windlass doctor --watch --rescue --yes'
    throw new WindlassError('UNSUPPORTED', 'Cannot install the service: systemd does not run here', { hint })
  }
  const change = planService(join(import.meta.dirname, '../../../bin/windlass'))
  const commands = [['systemctl', 'daemon-reload']]
  if (!context.json) for (const line of formatDiff(change)) writeLine(context, `  ${line}`)
  if (options['dry-run']) return tell(context, { id, result: 'planned', message: 'nothing was done' })
  if (!options.yes && !(await confirm(context, 'Install it?')))
    return tell(context, { id, result: 'declined', message: 'nothing was done' })
  const directory = journalDirectory(context)
  const journal = await applyCure(host, { id, kind: id, changes: [change], commands }, { directory })
  const message = 'systemctl enable --now windlass-rescue starts it'
  return tell(context, { id, result: 'applied', message, undo: journal })
}

/** `kill-PID`: the last resort, and only when the next pull will not meet the same program. */
async function fixByKilling(context: Context, host: HostView, id: string, options: CureOptions): Promise<number> {
  const pid = Number(id.slice('kill-'.length))
  if (!Number.isInteger(pid)) throw unknownCure(id, [])
  const plan = await killStuck(host, pid, { signal: context.signal, directory: journalDirectory(context) })
  if (!context.json) for (const line of plan.lines) writeLine(context, line)
  if (options['dry-run']) return tell(context, { id, result: 'planned', message: 'nothing was done' })
  if (!options.yes && !(await confirm(context, 'End it?')))
    return tell(context, { id, result: 'declined', message: 'nothing was done' })
  return tell(context, { id, result: 'applied', ...(await plan.carryOut()) })
}

/** @param wanted the ID of a journal, or `last` */
export async function undo(
  context: Context,
  host: HostView,
  wanted: string,
  options: Omit<CureOptions, 'pid'>,
): Promise<number> {
  const directory = journalDirectory(context)
  const all = undoable(readJournals(directory))
  const record = wanted === 'last' ? all[0] : all.find(({ id }) => id === wanted)
  if (record === undefined) {
    const hint =
      all.length === 0 ? 'nothing that was done here can be undone' : `there are: ${all.map(({ id }) => id).join(', ')}`
    throw new WindlassError('NOT_FOUND', `Cannot undo ${JSON.stringify(wanted)}: there is no such journal`, { hint })
  }
  const changes = record.steps[0]?.['changes'] as readonly { readonly path: string; readonly before?: string }[]
  const plans = changes.map(
    ({ path, before }) => `${before === undefined ? 'remove' : 'give its old content to'} ${path}`,
  )
  if (!context.json) for (const plan of plans) writeLine(context, `  ${plan}`)
  if (options['dry-run']) return tell(context, { id: record.id, result: 'planned', message: 'nothing was done' })
  if (!options.yes && !(await confirm(context, 'Take it back?')))
    return tell(context, { id: record.id, result: 'declined', message: 'nothing was done' })
  const paths = await undoCure(host, record, { directory })
  const message = paths.length === 0 ? 'everything was as before already' : `as before: ${paths.join(', ')}`
  return tell(context, { id: record.id, result: 'undone', message })
}
