/** `windlass doctor --fixes`, `--fix ID`, `--undo ID`: what can be done to an engine, shown before it is done, and taken back. */
import { basename, join, resolve } from 'node:path'
import type { Destination } from '../../copy/destination.ts'
import { applyCure, endsOf, isBrokenOff, lastOf, undoable, undoCure } from '../../doctor/cures/apply.ts'
import { type Cure, hasSystemd, nameOf, planCures, readCureFacts } from '../../doctor/cures/cure.ts'
import {
  addedBy,
  deliver,
  describeTakingBack,
  describeUndo,
  isDelivery,
  movedBy,
  undoDelivery,
} from '../../doctor/cures/deliver.ts'
import type { DeliveryPlace, ExpectedImage } from '../../doctor/cures/delivery-place.ts'
import { checkChange, type FileChange, formatDiff } from '../../doctor/cures/file-change.ts'
import { type JournalRecord, listStrangers, readJournals } from '../../doctor/cures/journal.ts'
import { killStuck } from '../../doctor/cures/kill.ts'
import { provesCure } from '../../doctor/cures/prove.ts'
import { planService } from '../../doctor/cures/service.ts'
import { type Engine, findEngines } from '../../doctor/engines.ts'
import { WindlassError } from '../../errors.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readProcessTable } from '../../sys/process-files.ts'
import type { Context } from '../command.ts'
import { confirm } from '../confirm.ts'
import { writeJson, writeLine, writeNote, writeWarning } from '../output.ts'
import { journalDirectory } from './journal-directory.ts'

interface CureOptions {
  readonly pid: number | undefined
  /** Of a delivery. */
  readonly image: string | undefined
  readonly 'dry-run': boolean
  readonly yes: boolean
}

async function findCures(
  { env }: Context,
  host: HostView,
  { pid, image }: Pick<CureOptions, 'pid' | 'image'>,
): Promise<Cure[]> {
  const choice = { image, namespace: env['CONTAINERD_NAMESPACE'] || undefined }
  const all = await findEngines(host, readProcessTable(host), pid)
  const engines = all.filter(({ isOpen }) => isOpen)
  const cures = await Promise.all(
    engines.map(async engine => planCures(engine, suffixOf(engine, all), await readCureFacts(host, engine, choice))),
  )
  return cures.flat()
}

function suffixOf({ kind, process }: Engine, all: readonly Engine[]): string {
  return all.filter(other => other.kind === kind).length > 1 ? `${kind}-${process.pid}` : kind
}

export async function listCures(
  context: Context,
  host: HostView,
  options: Pick<CureOptions, 'pid' | 'image'>,
): Promise<void> {
  const cures = await findCures(context, host, options)
  const applied = undoable(journalsOf(context))
  if (context.json)
    return writeJson(context, {
      cures: cures.map(withoutEngine),
      applied: applied.map(record => ({ id: record.id, isBrokenOff: isBrokenOff(record), steps: record.steps })),
    })
  for (const cure of cures) {
    writeLine(context, `${cure.obstacle === undefined ? '·' : '×'} ${cure.id}  ${nameOf(cure.engine)}: ${cure.title}`)
    writeLine(
      context,
      `    ${cure.obstacle ?? `takes effect ${cure.effect}; reaches ${cure.reaches}; undo: ${cure.undo}`}`,
    )
  }
  if (cures.length === 0) writeLine(context, 'No engine runs here whose processes can be seen')
  else
    writeLine(
      context,
      'A pull that hangs now: windlass doctor --rescue, or --fix kill-PID once the next one would not hang',
    )
  for (const record of applied) writeLine(context, describeApplied(record))
}

function journalsOf(context: Context): JournalRecord[] {
  const directory = journalDirectory(context)
  for (const path of listStrangers(directory)) writeWarning(context, `${path} is no journal, and is passed over`)
  return readJournals(directory)
}

function describeApplied(record: JournalRecord): string {
  const { id, steps } = record
  const time = steps[0]?.['time']
  if (!isBrokenOff(record)) return `✓ ${id}  applied at ${time}; --undo ${id} takes it back`
  const what = isDelivery(record)
    ? `it was about to bring ${[...addedBy(record), ...movedBy(record)].join(', ')}; --undo ${id} takes back what stands for that image, whoever has brought it`
    : `--undo ${id} gives each file its old state`
  return `! ${id}  broken off, begun at ${time}: ${what}`
}

function withoutEngine({ engine, ...cure }: Cure) {
  return { ...cure, engine: engine.kind, enginePid: engine.process.pid }
}

export async function fix(context: Context, host: HostView, id: string, options: CureOptions): Promise<number> {
  if (id.startsWith('kill-')) return await fixByKilling(context, host, id, options)
  const cures = await findCures(context, host, options)
  const planned = cures.find(cure => cure.id === id)
  if (planned === undefined)
    throw unknownCure(
      id,
      cures.map(cure => cure.id),
    )
  if (planned.obstacle !== undefined)
    throw new WindlassError('UNSUPPORTED', `Cannot apply ${id} to ${nameOf(planned.engine)}: ${planned.obstacle}`)
  const place = placeOf(planned)
  const cure = place === undefined ? planned : { ...planned, undo: await describeUndo(place, context.signal) }
  for (const change of cure.changes) checkChange(change)
  if (!context.json) for (const line of describe(cure)) writeLine(context, line)
  if (options['dry-run'])
    return tell(context, { id, result: 'planned', message: 'nothing was done', cure: withoutEngine(cure) })
  if (!options.yes && !(await confirm(context, 'Do this?')))
    return tell(context, { id, result: 'declined', message: 'nothing was done' })
  if (place !== undefined) return await fixByDelivering(context, id, place)
  const { signal } = context
  const applied = await applyCure(cure, { directory: journalDirectory(context), signal })
  const proof = await provesCure(host, cure, signal)
  const message = `${aboutLate(applied.late)}${proof.text}`
  const told = { id, result: 'applied', message, isProven: proof.isProven } as const
  return tell(context, cure.changes.length === 0 ? told : { ...told, undo: applied.id })
}

function aboutLate(command: string | undefined): string {
  return command === undefined ? '' : `${command} has not ended in time, and may go on; `
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
  options: Pick<CureOptions, 'dry-run' | 'yes'> & { readonly metrics: string | undefined },
): Promise<number> {
  const id = 'service'
  if (!(await hasSystemd(host))) {
    const hint = 'have whatever starts services here run: windlass doctor --watch --rescue --yes'
    throw new WindlassError('UNSUPPORTED', 'Cannot install the service: systemd does not run here', { hint })
  }
  const change = planService({
    program: join(import.meta.dirname, '../../../bin/windlass'),
    root: context.root,
    metrics: options.metrics === undefined ? undefined : resolve(options.metrics),
  })
  const commands = [['systemctl', 'daemon-reload']]
  const ends = [['systemctl', 'disable', '--now', basename(change.path)]]
  if (!context.json) for (const line of describeService(change, commands, ends)) writeLine(context, line)
  if (options['dry-run']) return tell(context, { id, result: 'planned', message: 'nothing was done' })
  if (!options.yes && !(await confirm(context, 'Install it?')))
    return tell(context, { id, result: 'declined', message: 'nothing was done' })
  const applied = await applyCure(
    { id, kind: id, changes: [change], commands, ends },
    { directory: journalDirectory(context), signal: context.signal },
  )
  const message = `${aboutLate(applied.late)}systemctl enable --now windlass-rescue starts it`
  return tell(context, { id, result: 'applied', message, undo: applied.id })
}

type Commands = readonly (readonly string[])[]

function describeService(change: FileChange, commands: Commands, ends: Commands): string[] {
  const tell = (list: Commands) => list.map(words => words.join(' ')).join(', ')
  return [
    ...formatDiff(change).map(line => `  ${line}`),
    `  run      ${tell(commands)}`,
    '  effect   when it is started: systemctl enable --now windlass-rescue',
    '  reaches  no engine as it is installed; once it runs, every stuck decompressor of all engines here, rescued without a question',
    `  undo     ${tell(ends)}, and the unit is removed`,
  ]
}

function placeOf({ engine, delivery }: Cure): DeliveryPlace | undefined {
  if (delivery === undefined) return undefined
  const { socket, reference, namespace, platform } = delivery
  return { engine: engine.kind === 'dockerd' ? 'dockerd' : 'containerd', socket, reference, namespace, platform }
}

/** What `windlass pull --into` does, with the names that it brings in the journal. */
async function fixByDelivering(context: Context, id: string, place: DeliveryPlace): Promise<number> {
  const { socket, reference, namespace, platform } = place
  const isDocker = place.engine === 'dockerd'
  const address = isDocker
    ? { DOCKER_HOST: `unix://${socket}`, DOCKER_CONTEXT: undefined }
    : { CONTAINERD_ADDRESS: socket }
  const { openEngine } = await import('../../copy/engines.ts')
  const { pullInto } = await import('../commands/pull.ts')
  const bring = async (expect: (image: ExpectedImage) => Promise<void>) => {
    const env = { ...context.env, ...address }
    const { destination } = await openEngine(isDocker ? 'docker' : 'containerd', { env, namespace })
    const into: Destination = {
      needsRoot: destination.needsRoot,
      deliver: async (image, delivery) => {
        await expect({ digest: image.documents[0].descriptor.digest, config: image.config.descriptor.digest })
        return await destination.deliver(image, delivery)
      },
    }
    return (await pullInto(context, reference, { into, platform })).digest
  }
  const { signal } = context
  const done = await deliver(place, bring, { directory: journalDirectory(context), cure: id, signal })
  const { isProven, isUndoable, text: message } = done
  const told = { id, result: 'applied', message, isProven } as const
  return tell(context, isUndoable ? { ...told, undo: done.id } : told)
}

/** `kill-PID`: the last resort, and only when the next pull will not meet the same program. */
async function fixByKilling(context: Context, host: HostView, id: string, options: CureOptions): Promise<number> {
  const pid = Number(id.slice('kill-'.length))
  if (!Number.isInteger(pid)) throw unknownCure(id, [])
  const plan = await killStuck(host, pid, { signal: context.signal, directory: journalDirectory(context) })
  if (!context.json) for (const line of plan.lines) writeLine(context, line)
  const { processes } = plan
  if (options['dry-run'])
    return tell(context, { id, result: 'planned', message: 'nothing was done', cure: { id, processes } })
  if (!options.yes && !(await confirm(context, 'End it?')))
    return tell(context, { id, result: 'declined', message: 'nothing was done' })
  return tell(context, { id, result: 'applied', ...(await plan.carryOut()) })
}

/** @param wanted the ID of a journal, or `last` */
export async function undo(
  context: Context,
  wanted: string,
  options: Pick<CureOptions, 'dry-run' | 'yes'>,
): Promise<number> {
  const directory = journalDirectory(context)
  const journals = journalsOf(context)
  const all = undoable(journals)
  const record = wanted === 'last' ? lastOf(all) : all.find(({ id }) => id === wanted)
  if (wanted === 'last' && record !== all[0])
    writeNote(
      context,
      `Left out, since it was broken off: ${all[0]?.id}; --undo ${all[0]?.id} takes back what it may have brought`,
    )
  if (record === undefined) {
    const hint =
      all.length === 0 ? 'nothing that was done here can be undone' : `there are: ${all.map(({ id }) => id).join(', ')}`
    const state =
      wanted === 'last' ? 'nothing that was applied is left' : stateOf(journals.find(({ id }) => id === wanted))
    throw new WindlassError('NOT_FOUND', `Cannot undo ${JSON.stringify(wanted)}: ${state}`, { hint })
  }
  if (!context.json) for (const plan of plansOf(record)) writeLine(context, `  ${plan}`)
  if (options['dry-run']) return tell(context, { id: record.id, result: 'planned', message: 'nothing was done' })
  if (!options.yes && !(await confirm(context, 'Take it back?')))
    return tell(context, { id: record.id, result: 'declined', message: 'nothing was done' })
  const { signal } = context
  const paths = isDelivery(record)
    ? await undoDelivery(record, { directory, signal })
    : await undoCure(record, { directory, signal })
  const message = paths.length === 0 ? 'everything was as before already' : `as before: ${paths.join(', ')}`
  return tell(context, { id: record.id, result: 'undone', message })
}

/** What an undo does. */
function plansOf(record: JournalRecord): string[] {
  if (isDelivery(record)) return describeTakingBack(record)
  const changes = record.steps[0]?.['changes'] as readonly { readonly path: string; readonly before?: string }[]
  const files = changes.map(
    ({ path, before }) => `${before === undefined ? 'remove' : 'give its old content to'} ${path}`,
  )
  return [...endsOf(record).map(command => `run ${command.join(' ')}`), ...files]
}

/** Why a journal cannot be taken back. What was done to a process is over with it, at the latest with the boot. */
function stateOf(record: JournalRecord | undefined): string {
  if (record === undefined) return 'there is no such journal'
  const { steps } = record
  if (steps.some(({ step }) => step === 'undone')) return 'it was taken back already'
  if (isDelivery(record)) return 'it has changed no name'
  return `a ${steps[0]?.['kind']} concerns processes alone, and leaves nothing that could be taken back`
}
