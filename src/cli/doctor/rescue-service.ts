/** `windlass doctor --watch --rescue`: finds pulls that hang and brings them to their end, as long as it runs. A line of JSON for each, and metrics for Prometheus. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { claimDirectory } from '../../doctor/rescue/claim.ts'
import { findStuck, type Stuck } from '../../doctor/rescue/find-stuck.ts'
import { endOrphans } from '../../doctor/rescue/orphans.ts'
import { readBoot } from '../../doctor/rescue/unfinished.ts'
import { WindlassError } from '../../errors.ts'
import type { HostView } from '../../sys/host-view.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import type { Context } from '../command.ts'
import { writeJsonLine, writeNote } from '../output.ts'
import { journalDirectory } from './journal-directory.ts'
import { replaceFile } from './replace-file.ts'
import { aboutOf, cannotRescue, isUnproven, type Outcome, rescueOne } from './rescue.ts'
import { RescueLimits, sinceBoot } from './rescue-limits.ts'
import { hasAnyThere, sweepTries, triesName } from './sweep-tries.ts'

interface ServiceOptions {
  readonly pid: number | undefined
  readonly image: string | undefined
  readonly metrics: string | undefined
  readonly 'give-up': number | undefined
  readonly 'dry-run': boolean
}

/** Between one look and the next: a look itself takes two seconds, and up to eight where something stands still. */
const pauseMs = 5000

/** Never returns but by the signal, or when the process of `--pid` has ended. @throws WindlassError NOT_FOUND then */
export async function serveRescues(context: Context, host: HostView, options: ServiceOptions): Promise<number> {
  if (!options['dry-run']) sweepTries(claimDirectory, host)
  const service: Service = {
    limits: new RescueLimits(sinceBoot, options['dry-run'] ? undefined : triesOf(context, host)),
    counts: new Map(),
    heldBack: new Set(),
    unclear: new Set(),
  }
  const named = options.pid === undefined ? undefined : readProcess(options.pid, host)
  for (;;) {
    host.forget?.()
    checkNamed(host, options.pid, named)
    const stuck = await look(context, host, options)
    forgetGone(host, service)
    for (const one of stuck) await serveOne(context, host, one, { ...options, service })
    if (options.metrics !== undefined)
      writeMetrics(context, options.metrics, { counts: service.counts, stuck: stuck.length, now: host.now() })
    await host.pause(pauseMs, context.signal)
  }
}

/** What it keeps from one look to the next; of processes, by their keys. */
interface Service {
  readonly limits: RescueLimits
  /** By result. */
  readonly counts: Map<string, number>
  /** Of which it was told that they are not tried now. */
  readonly heldBack: Set<string>
  /** What could not be told while another one worked on the same layer may be clear when that one is gone. */
  readonly unclear: Set<string>
}

async function serveOne(
  context: Context,
  host: HostView,
  stuck: Stuck,
  { service, ...options }: ServiceOptions & { readonly service: Service },
): Promise<void> {
  const { limits, counts, heldBack, unclear } = service
  const { key } = stuck.line
  const tell = (result: string, outcome: object) => {
    counts.set(result, (counts.get(result) ?? 0) + 1)
    writeJsonLine(context, { time: timeOf(host), event: 'rescue', finding: stuck.finding?.code, ...outcome })
  }
  const message = limits.whyNot(key)
  if (message !== undefined) {
    if (!heldBack.has(key)) tell('held-back', { ...aboutOf(stuck), result: 'held-back', message })
    return void heldBack.add(key)
  }
  heldBack.delete(key)
  limits.tried(key)
  const outcome = await tryOnce(context, host, stuck, options)
  if (outcome.code === 'RESCUE_POSITION_UNPROVEN') unclear.add(key)
  else unclear.delete(key)
  if (outcome.result === 'rescued') {
    for (const other of unclear) limits.forgive(other)
    unclear.clear()
  }
  tell(isUnproven(outcome) ? 'unproven' : outcome.result, outcome)
}

/** A service runs for months. */
export function forgetGone(host: HostView, { heldBack, unclear }: Pick<Service, 'heldBack' | 'unclear'>): void {
  for (const kept of [heldBack, unclear]) for (const key of kept) if (!hasAnyThere(key, host)) kept.delete(key)
}

async function tryOnce(context: Context, host: HostView, stuck: Stuck, options: ServiceOptions): Promise<Outcome> {
  // Its stdout is a log: what a rescue tells people on the way stays away.
  const quiet: Context = { ...context, json: true, quiet: true }
  const stillMs = (options['give-up'] ?? stillSeconds) * 1000
  const attempt = (signal: AbortSignal, moved: () => void) =>
    rescueOne({ ...quiet, signal }, host, stuck, { ...options, yes: true, moved })
  try {
    return await untilStill(attempt, { signal: context.signal, stillMs })
  } catch (error) {
    return failedOutcome(context, stuck, error)
  }
}

/** Each store has its own, and each boot: what keeps /run over one would keep times that have yet to come. */
function triesOf(context: Context, host: HostView): string {
  const hash = createHash('sha256')
    .update(`${journalDirectory(context)}\n${readBoot(host)}`)
    .digest('hex')
  return join(claimDirectory, triesName(hash))
}

function timeOf(host: HostView): string {
  return new Date(host.now()).toISOString()
}

/** An engine that is restarted is another process, and its number may be given to one that nobody has named: a decompressor that is well, in the worst case. */
function checkNamed(host: HostView, pid: number | undefined, named: ProcessFacts | undefined): void {
  if (pid === undefined) return
  const now = readProcess(pid, host)
  if (named === undefined || now === undefined) throw cannotRescue(host, pid)
  if (now.startTicks === named.startTicks) return
  throw new WindlassError(
    'NOT_FOUND',
    `Cannot watch process ${pid}: it has ended, and its number belongs to another one`,
    {
      hint: 'without --pid all engines are watched, also those that are started later',
    },
  )
}

/** A look that fails, as while an engine ends or is started, is said and made again. */
async function look(context: Context, host: HostView, options: ServiceOptions): Promise<readonly Stuck[]> {
  const { signal } = context
  const { pid } = options
  try {
    if (pid === undefined && !options['dry-run'])
      for (const orphan of await endOrphans(host, { claims: claimDirectory, journals: journalDirectory(context) }))
        writeJsonLine(context, { time: timeOf(host), event: 'orphan', ...orphan })
    return (await findStuck(host, { signal, pid })).stuck
  } catch (error) {
    signal.throwIfAborted()
    writeJsonLine(context, { time: timeOf(host), event: 'look', result: 'failed', message: (error as Error).message })
    return []
  }
}

/** A rescue in which nothing moves for so long is given up: an engine may take no bytes, and a disk may give none. */
const stillSeconds = 180
/** What hears that it was given up has ended by then, and says how far it came. */
const lastWordMs = 20_000

interface StillOptions {
  readonly signal: AbortSignal
  readonly stillMs: number
  readonly lastWordMs?: number
}

/**
 * @param work is told by its signal that it was given up; what does not even hear that, since a disk holds it, is left behind
 * @throws Error if it was left behind
 */
export async function untilStill<T>(
  work: (signal: AbortSignal, moved: () => void) => Promise<T>,
  { signal, stillMs, lastWordMs: wordMs = lastWordMs }: StillOptions,
): Promise<T> {
  const still = new AbortController()
  const late = Promise.withResolvers<never>()
  const error = new Error(`nothing has moved for ${stillMs / 1000} s`)
  let timer = setTimeout(giveUp, stillMs)
  function giveUp(): void {
    still.abort(error)
    timer = setTimeout(late.reject, wordMs, error)
  }
  const moved = () => {
    if (still.signal.aborted) return
    clearTimeout(timer)
    timer = setTimeout(giveUp, stillMs)
  }
  try {
    return await Promise.race([work(AbortSignal.any([signal, still.signal]), moved), late.promise])
  } finally {
    clearTimeout(timer)
  }
}

/** A full disk, or a registry that does not answer, must not end the watch. */
function failedOutcome({ signal }: Context, stuck: Stuck, error: unknown): Outcome {
  signal.throwIfAborted()
  return { ...aboutOf(stuck), result: 'failed', message: (error as Error).message }
}

interface Metrics {
  readonly counts: ReadonlyMap<string, number>
  readonly stuck: number
  readonly now: number
}

const results: readonly (Outcome['result'] | 'unproven' | 'held-back')[] = [
  'rescued',
  'unproven',
  'refused',
  'held-back',
  'interrupted',
  'failed',
  'planned',
]

/** In the text format of Prometheus, for the textfile collector, which must never see half a file. */
export function formatMetrics({ counts, stuck, now }: Metrics): string {
  return [
    '# HELP windlass_rescues_total Stuck decompressors of container engines that were to be rescued, by what became of it.',
    '# TYPE windlass_rescues_total counter',
    ...results.map(result => `windlass_rescues_total{result="${result}"} ${counts.get(result) ?? 0}`),
    '# HELP windlass_stuck_decompressors Decompressors that stood still at the last look.',
    '# TYPE windlass_stuck_decompressors gauge',
    `windlass_stuck_decompressors ${stuck}`,
    '# HELP windlass_last_look_timestamp_seconds When pulls were looked at last.',
    '# TYPE windlass_last_look_timestamp_seconds gauge',
    `windlass_last_look_timestamp_seconds ${Math.floor(now / 1000)}`,
    '',
  ].join('\n')
}

export function writeMetrics(context: Context, path: string, metrics: Metrics): void {
  try {
    replaceFile(path, formatMetrics(metrics), 0o644)
  } catch (error) {
    writeNote(context, `Cannot write ${path}: ${(error as Error).message}`) // a full disk must not end the watch
  }
}
