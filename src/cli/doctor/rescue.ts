/** `windlass doctor --rescue`: what would be done, the question, what was done, and whether it helped. */
import { catalogue, languageOf } from '../../doctor/catalogue.ts'
import { Journal, readJournals } from '../../doctor/cures/journal.ts'
import type { Finding } from '../../doctor/finding.ts'
import { carryOut, Interrupted } from '../../doctor/rescue/carry-out.ts'
import { Claim, claimDirectory, readClaimed } from '../../doctor/rescue/claim.ts'
import { findStuck, type Stuck } from '../../doctor/rescue/find-stuck.ts'
import { letGoOfLeft } from '../../doctor/rescue/let-go.ts'
import { proveEnd, readTaken } from '../../doctor/rescue/prove-end.ts'
import { pruneRescues } from '../../doctor/rescue/prune.ts'
import { Refusal, type RefusalCode, refusals } from '../../doctor/rescue/refusal.ts'
import { planRescue, type RescuePlan } from '../../doctor/rescue/rescue.ts'
import { findUnfinished, type Unfinished } from '../../doctor/rescue/unfinished.ts'
import { WindlassError } from '../../errors.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readDescriptors } from '../../sys/process-files.ts'
import { readProcess } from '../../sys/tasks.ts'
import type { Context } from '../command.ts'
import { confirm } from '../confirm.ts'
import { writeJson, writeLine, writeNote } from '../output.ts'
import { journalDirectory } from './journal-directory.ts'

export interface RescueOptions {
  readonly pid: number | undefined
  /** The image whose pull hangs. */
  readonly image: string | undefined
  readonly 'dry-run': boolean
  readonly yes: boolean
  /** Told whenever something of it has moved. */
  readonly moved?: () => void
}

/** What became of one stuck decompressor. Survives JSON. */
export interface Outcome {
  readonly result: 'rescued' | 'planned' | 'refused' | 'declined' | 'interrupted' | 'failed'
  readonly pid: number
  readonly program: string
  readonly engine: string
  readonly enginePid: number
  /** Of a refusal. */
  readonly code?: RefusalCode
  readonly message: string
  readonly facts?: Readonly<Record<string, string | number | boolean>>
}

/** What is not seen may be stuck, and an engine that has been given everything may still come to another end. */
function exitOf(outcomes: readonly Outcome[], isHidden: boolean): number {
  if (!outcomes.every(({ result }) => result === 'rescued' || result === 'planned')) return 11
  return isHidden || outcomes.some(isUnproven) ? 10 : 0
}

export function isUnproven({ facts }: Outcome): boolean {
  return facts?.['isProven'] === false
}

/**
 * Rescues one after the other, and looks again: the next layer of a pull meets the same decompressor.
 * @returns the exit status: 0 if nothing stands still any more for want of a decompressor, 10 if that cannot be seen, 11 if something does
 */
export async function rescue(context: Context, host: HostView, options: RescueOptions): Promise<number> {
  let outcomes: Outcome[] = []
  let isHidden = false
  for (let quiet = 0; ; ) {
    const { isOfEngines, stuck, findings } = await findStuck(host, { signal: context.signal, pid: options.pid })
    if (!isOfEngines && stuck.length === 0) throw cannotRescue(host, options.pid ?? 0)
    const fresh = stuck.filter(({ line }) => !outcomes.some(({ pid }) => pid === line.decompressor[0]?.pid))
    isHidden = findings.some(({ code }) => code === 'PULLS_HIDDEN')
    const round: Outcome[] = []
    for (const one of fresh) round.push(await rescueOne(context, host, one, options))
    // What could not be told while another one worked on the same layer may be clear now that one is gone.
    const isFreer = round.some(({ result }) => result === 'rescued')
    outcomes = [...outcomes, ...round].filter(({ code }) => !(isFreer && code === 'RESCUE_POSITION_UNPROVEN'))
    if (fresh.length > 0 && isOfEngines) quiet = 0
    else if (!isOfEngines || ++quiet > looksAfter(outcomes, findings)) {
      if (context.json) writeJson(context, { outcomes, pulls: findings })
      else if (findings.length > 0) writeLine(context, lastWord(outcomes, findings))
      break
    }
  }
  return exitOf(outcomes, isHidden)
}

export function cannotRescue(host: HostView, pid: number): WindlassError {
  const cannot = `Cannot rescue process ${pid}`
  const hint = 'windlass doctor tells which processes pulls wait for; without --pid all are looked at'
  if (readProcess(pid, host) === undefined)
    return new WindlassError('NOT_FOUND', `${cannot}: there is no such process`, { hint })
  if (readDescriptors(host, pid).every(({ target }) => target === ''))
    return new WindlassError('PERMISSION', `${cannot}: what it has open may not be seen`, {
      hint: refusals.RESCUE_DENIED.en.next,
    })
  return new WindlassError('NOT_FOUND', `${cannot}: it is no decompressor of an engine`, { hint })
}

/** Between one layer and the next an engine may seem to do nothing. What moves may still get stuck, but is not waited for without an end. */
function looksAfter(outcomes: readonly Outcome[], findings: readonly Finding[]): number {
  if (!outcomes.some(({ result }) => result === 'rescued')) return 0
  return findings.some(({ code }) => code === 'PULL_MOVES' || code === 'PULL_WAITS') ? 8 : 2
}

function lastWord(outcomes: readonly Outcome[], findings: readonly Finding[]): string {
  const codes = [...new Set(findings.filter(({ code }) => catalogue[code].area === 'pulls').map(({ code }) => code))]
  const isHidden = codes.includes('PULLS_HIDDEN')
  const what = outcomes.length === 0 ? 'decompressor' : 'other decompressor'
  const rest = isHidden ? `No ${what} is seen to be stuck, but not all can be seen without root` : `No ${what} is stuck`
  return codes.length === 0 ? rest : `${rest} (${codes.join(', ')})`
}

/** Plans, asks, carries out, and tells. */
export async function rescueOne(
  context: Context,
  host: HostView,
  stuck: Stuck,
  options: RescueOptions,
): Promise<Outcome> {
  const about = aboutOf(stuck)
  const outcome = await attempt(context, host, stuck, options).catch(endOf)
  if (!context.json) tellOutcome(context, { ...about, ...outcome })
  return { ...about, ...outcome }
}

/** @throws what is no end of a rescue */
export function endOf(error: unknown): Pick<Outcome, 'result' | 'code' | 'message'> {
  if (error instanceof Refusal) return { result: 'refused', code: error.code, message: error.message }
  if (!(error instanceof Interrupted)) throw error
  const next = error.left === 'standing' ? '; it stands still; the same command goes on from there' : ''
  return { result: 'interrupted', message: `${error.message}${next}` }
}

export function aboutOf({ line }: Stuck) {
  const { engine, program, decompressor } = line
  return { pid: decompressor[0]?.pid ?? 0, program, engine: engine.kind as string, enginePid: engine.process.pid }
}

async function attempt(context: Context, host: HostView, stuck: Stuck, options: RescueOptions) {
  const { line } = stuck
  const directory = journalDirectory(context)
  const waited = line.decompressor.find(({ parent }) => parent === line.engine.process.pid)
  using claim = waited && !options['dry-run'] ? Claim.take(claimDirectory, waited, directory) : undefined
  const directories = claim?.journalDirectories ?? (waited ? readClaimed(claimDirectory, waited, directory) : [])
  const unfinished = waited && findUnfinished(host, waited, directories.flatMap(readJournals))
  const letGo = () => waited && claim && letGoOfLeft(host, { unfinished, waited, journalDirectory: directory })
  try {
    const outcome = await attemptKnowing(context, host, stuck, { options, claim, unfinished, directory })
    if (outcome.result === 'declined') letGo()
    return outcome
  } catch (error) {
    if (!(error instanceof Interrupted)) letGo()
    throw error
  }
}

interface Known {
  readonly options: RescueOptions
  readonly claim: Claim | undefined
  readonly unfinished: Unfinished | undefined
  /** Of journals. */
  readonly directory: string
}

/** @throws Refusal · Interrupted */
async function attemptKnowing(
  context: Context,
  host: HostView,
  { line, finding }: Stuck,
  { options, claim, unfinished, directory }: Known,
) {
  const { signal } = context
  const { moved } = options
  const fetchLayers = async (sizeMax: number) => {
    const { fetchFromRegistry } = await import('./layers-of-clients.ts')
    return await fetchFromRegistry(context, host, { engine: line.engine, named: options.image, sizeMax, moved })
  }
  await using plan = await planRescue(host, line, { signal, unfinished, fetchLayers, moved })
  if (!context.json) for (const text of describePlan(plan, finding?.code)) writeLine(context, text)
  const facts = factsOf(plan)
  if (options['dry-run']) return { result: 'planned', message: 'nothing was done', facts } as const
  if (!options.yes && !(await confirm(context, 'Rescue this pull?')))
    return { result: 'declined', message: 'nothing was done', facts } as const
  pruneRescues(host, directory)
  using journal = new Journal(directory, 'rescue')
  const tell = (text: string) => writeNote(context, `  ${text}`)
  const before = await readTaken(host, plan, signal)
  claim?.keep()
  const rescued = await carryOut(host, plan, { journal, signal, tell, moved }).catch((error: unknown) => {
    if (!(error instanceof Interrupted)) claim?.spare()
    throw error
  })
  claim?.forget()
  const proof = await proveEnd(host, plan, { signal, before, moved })
  journal.note('proof', { isProven: proof.isProven, text: proof.text })
  const { text: message, ...proven } = proof
  return { result: 'rescued', message, facts: { ...facts, ...rescued, ...proven } } as const
}

function factsOf({ choice }: RescuePlan) {
  const { layer, digest, diffId, total, position } = choice
  return { layer: layer.name, digest, diffId, total, position: position.bytes, evidence: position.evidence }
}

function describePlan({ subject, choice }: RescuePlan, code: string | undefined): string[] {
  const { line, waited, others } = subject
  const { position, total, layer, digest } = choice
  const number = (value: number) => value.toLocaleString('en-US')
  const engine = `${line.engine.kind} ${line.engine.process.pid}`
  return [
    `Rescue in place: ${line.program} ${waited.pid} of ${engine}${code === undefined ? '' : ` [${code}]`}`,
    `  layer    ${layer.name} (${digest}), ${number(layer.size)} bytes, ${number(total)} decoded, whole`,
    `  position byte ${number(position.bytes)}: ${position.evidence}`,
    '  what     1. stop the process and look again: nothing may have moved',
    `           2. write the ${number(total - position.bytes)} bytes that it owes into its output, decoded in this process`,
    '           3. take what is left of its input, and let it leave with status 0',
    ...(others.length === 0 ? [] : [`           its children ${others.map(({ pid }) => pid).join(', ')} are ended`]),
    `  reaches  this one process and whatever waits for what it gives; of a pull ${engine} checks the layer's digest itself`,
    '  undo     before the first byte is written: the process goes on as it was; after that there is no way back. If this is killed, the same command goes on',
  ]
}

function tellOutcome(context: Context, outcome: Outcome): void {
  const { result, pid, program, code, message } = outcome
  const what = `${program} ${pid}`
  if (result === 'rescued' && !isUnproven(outcome)) writeLine(context, `✓ ${what}: rescued; ${message}`)
  else if (result === 'rescued') writeLine(context, `· ${what}: has left, and all was given in its place; ${message}`)
  else if (code !== undefined) {
    writeLine(context, `✗ ${what}: not rescued, nothing was changed: ${message} [${code}]`)
    writeLine(context, `    → ${refusals[code][languageOf(context.env)].next}`)
  } else if (result === 'interrupted') writeLine(context, `✗ ${what}: ${message}`)
  else writeLine(context, `· ${what}: ${message}`)
}
