/** `windlass doctor --watch --rescue`: finds pulls that hang and brings them to their end, as long as it runs. A line of JSON for each, and metrics for Prometheus. */
import { renameSync, writeFileSync } from 'node:fs'
import { findStuck, type Stuck } from '../../doctor/rescue/find-stuck.ts'
import type { HostView } from '../../sys/host-view.ts'
import type { Context } from '../command.ts'
import { writeJsonLine, writeNote } from '../output.ts'
import { aboutOf, type Outcome, rescueOne } from './rescue.ts'
import { RescueLimits } from './rescue-limits.ts'

interface ServiceOptions {
  readonly pid: number | undefined
  readonly image: string | undefined
  readonly metrics: string | undefined
  readonly 'dry-run': boolean
}

/** Between one look and the next: a look itself takes two seconds, and up to eight where something stands still. */
const pauseMs = 5000

/** Never returns but by the signal. */
export async function serveRescues(context: Context, host: HostView, options: ServiceOptions): Promise<number> {
  // Its stdout is a log: what a rescue tells people on the way stays away.
  const quiet: Context = { ...context, json: true, quiet: true }
  const limits = new RescueLimits(host)
  const counts = new Map<string, number>()
  for (;;) {
    const { stuck } = await findStuck(host, { signal: context.signal, pid: options.pid })
    for (const one of stuck) {
      const key = one.line.key
      if (!limits.mayTry(key)) continue
      limits.tried(key)
      const outcome = await rescueOne(quiet, host, one, { ...options, yes: true }).catch((error: unknown) =>
        failedOutcome(context, one, error),
      )
      counts.set(outcome.result, (counts.get(outcome.result) ?? 0) + 1)
      writeJsonLine(context, {
        time: new Date(host.now()).toISOString(),
        event: 'rescue',
        finding: one.finding?.code,
        ...outcome,
      })
    }
    if (options.metrics !== undefined)
      writeMetrics(context, options.metrics, { counts, stuck: stuck.length, now: host.now() })
    await host.pause(pauseMs, context.signal)
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

const results: readonly Outcome['result'][] = ['rescued', 'refused', 'interrupted', 'failed', 'planned']

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

function writeMetrics(context: Context, path: string, metrics: Metrics): void {
  try {
    writeFileSync(`${path}.new`, formatMetrics(metrics))
    renameSync(`${path}.new`, path)
  } catch (error) {
    writeNote(context, `Cannot write ${path}: ${(error as Error).message}`) // a full disk must not end the watch
  }
}
