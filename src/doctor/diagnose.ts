/** The doctor's visit: who runs here, what their pulls do, and what else of the host may hold them up. Changes nothing. */

import { WindlassError } from '../errors.ts'
import type { HostView } from '../sys/host-view.ts'
import { type ProcessTable, readProcessTable } from '../sys/process-files.ts'
import { areas, catalogue, type FindingCode, type Severity } from './catalogue.ts'
import { allChecks } from './checks/all.ts'
import { listItems, type NamedRegistry } from './checks/items.ts'
import { runChecks, type SkippedCheck } from './checks/run.ts'
import { askEngines, type Engine, type EngineFilter, listEngines } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'
import { findHiddenProcesses, withoutAssurance } from './hidden-processes.ts'
import { examinePulls, type PullsResult } from './pulls.ts'
import { hideInText } from './secrets.ts'
import { findSilentFiles } from './silent-files.ts'
import { findSilentProcesses } from './silent-processes.ts'

export interface DiagnoseOptions {
  readonly signal: AbortSignal
  /** Look at the engine with this process alone. */
  readonly pid?: number | undefined
  /** Look at these engines alone. */
  readonly isWanted?: EngineFilter | undefined
  /** What an earlier probe said of a program; or one that is made now, if the program may be tried. */
  readonly verdictOf?: ((path: string, mayTry: boolean) => Promise<string | undefined>) | undefined
  /** A registry that the user named; without, nothing is sent anywhere. */
  readonly registry?: NamedRegistry | undefined
  /** Whether things may be tried that take processor time or write: decompressors, the sync of a nameless file. */
  readonly mayTry?: boolean | undefined
}

export interface Diagnosis {
  readonly engines: readonly Engine[]
  /** In the order of the areas, the worst of each first. */
  readonly findings: readonly Finding[]
  readonly worst: Severity
  /** Checks that were left out, since something that was found makes them pointless. */
  readonly skipped: readonly SkippedCheck[]
  /** What was seen of the pulls, for those who want to judge by themselves. */
  readonly lines: PullsResult['lines']
  readonly dumps: PullsResult['dumps']
  /** How long the visit was, and for how much of that the doctor itself had no processor. */
  readonly took: { readonly ms: number; readonly heldUpMs: number }
}

const severities: readonly Severity[] = ['problem', 'warning', 'unseen', 'note', 'ok']

/** What is found by then is told: as long as a pull that stands still is looked at. */
const dueMs = 8500

/** Takes some seconds, longest where something stands still: it has to be watched. @throws WindlassError NOT_FOUND if no engine is that process */
export async function diagnose(
  host: HostView,
  {
    signal,
    pid = host.only,
    isWanted = () => true,
    verdictOf = async () => undefined,
    registry,
    mayTry = false,
  }: DiagnoseOptions,
): Promise<Diagnosis> {
  const stopwatch = startStopwatch(host)
  const until = host.elapsed() + dueMs
  const table = readProcessTable(host)
  const all = listEngines(host, table, pid)
  const hidden = findHiddenProcesses(host, table, all)
  if (host.only !== undefined && pid !== host.only) throw refuseOther(pid, host.only)
  if (pid !== undefined && all.length === 0) throw refusePid(pid, table, hidden)
  const running = all.filter(engine => isWanted(engine, all, table))
  // An engine that is stuck takes its time to answer: its pulls are looked at meanwhile.
  const check = async () => {
    const engines = await askEngines(host, running)
    const items = await listItems(host, engines, { registry, signal })
    return {
      engines,
      ...(await runChecks(allChecks, items, { host, engines, table, signal, mayTry, verdictOf, until })),
    }
  }
  const [pulls, { engines, findings: found, skipped }] = await Promise.all([
    examinePulls(host, running, { signal }),
    check(),
  ])
  const unanswered = [...findSilentProcesses(host), ...findSilentFiles(host)]
  const seen = explainedOnce([...pulls.findings, ...found, ...unanswered])
  const findings = withQuietAreas(withoutAssurance(seen, hidden)).map(withoutSecrets).sort(byArea)
  const { lines, dumps } = pulls
  return { engines, findings, worst: worstOf(findings), skipped, lines, dumps, took: stopwatch() }
}

/** Nothing would be seen of it, as if nobody might look. */
function refuseOther(pid: number | undefined, only: number): WindlassError {
  const message = `Cannot look at process ${pid}: these are facts about process ${only} alone`
  return new WindlassError('NOT_FOUND', message, { hint: 'collect facts without --pid, or about that process' })
}

function refusePid(pid: number, table: ProcessTable, hidden: Finding | undefined): WindlassError {
  const name = table.get(pid)?.name
  const [unseen] = hidden?.evidence ?? []
  const state =
    name !== undefined
      ? `it is ${JSON.stringify(name)}, which is no container engine`
      : unseen === undefined
        ? 'there is no such process'
        : `it cannot be seen (${unseen})`
  const hint =
    name === undefined && unseen !== undefined
      ? 'run it as root, on the host itself'
      : 'windlass doctor without --pid shows the engines that run'
  return new WindlassError('NOT_FOUND', `Cannot look at process ${pid}: ${state}`, { hint })
}

/** Whatever a message of somebody else may hold, none of it leaves this house. */
function withoutSecrets({ subject, evidence, facts, ...finding }: Finding): Finding {
  const told = Object.entries(facts).map(([name, value]) => [
    name,
    typeof value === 'string' ? hideInText(value) : value,
  ])
  return {
    ...finding,
    subject: hideInText(subject),
    evidence: evidence.map(hideInText),
    facts: Object.fromEntries(told),
  }
}

/** @returns what tells the time since then */
function startStopwatch(host: HostView): () => Diagnosis['took'] {
  const start = host.elapsed()
  const startHeldUp = readHeldUpMs(host)
  return () => ({
    ms: Math.round(host.elapsed() - start),
    heldUpMs: Math.round(readHeldUpMs(host) - startHeldUp),
  })
}

/** For how long this thread was ready to run and had no processor, in its whole life: the kernel counts it, in nanoseconds. */
function readHeldUpMs(host: HostView): number {
  const [, waitedNs] = /^\d+ (\d+) /.exec(host.text('/proc/thread-self/schedstat') ?? '') ?? []
  return Number(waitedNs ?? 0) / 1e6
}

/** Areas in which silence means that all is well, or that nothing was asked. */
const quietAreas: readonly FindingCode[] = ['RESOURCES_FINE', 'HOST_FINE', 'NETWORK_UNTRIED']

function withQuietAreas(findings: readonly Finding[]): Finding[] {
  const told = new Set(findings.map(({ code }) => catalogue[code].area))
  const quiet = quietAreas.filter(code => !told.has(catalogue[code].area))
  return [...findings, ...quiet.map(code => makeFinding(code, ''))]
}

function worstOf(findings: readonly Finding[]): Severity {
  return severities.find(severity => findings.some(finding => finding.severity === severity)) ?? 'ok'
}

function byArea(a: Finding, b: Finding): number {
  const area = ({ code }: Finding) => areas.indexOf(catalogue[code].area)
  const rank = ({ severity }: Finding) => severities.indexOf(severity)
  return area(a) - area(b) || rank(a) - rank(b)
}

/** What stands still because of something else that was found is no finding of its own. */
function explainedOnce(findings: readonly Finding[]): Finding[] {
  const causes = findings.filter(({ code, severity }) => catalogue[code].area === 'pulls' && severity === 'problem')
  const isRefuted = ({ code }: Finding) => code === 'NO_PULL' && causes.length > 0
  return findings.filter(
    finding => !isRefuted(finding) && !causes.some(cause => cause !== finding && explains(cause, finding)),
  )
}

/** Codes of an engine as a whole: nothing of it can go on. */
const wholes: readonly string[] = [
  'ENGINE_STOPPED',
  'FILESYSTEM_FROZEN',
  'DISK_WAIT',
  'FANOTIFY_WAIT',
  'REMOTE_FILESYSTEM_WAIT',
  'MEMORY_LIMIT',
  'CGROUP_FROZEN',
  'PIPE_HELD',
]
const consequences: readonly string[] = ['ENGINE_SILENT', 'PULL_UNEXPLAINED', 'ENGINE_DOES_NOT_FEED', 'DOWNLOAD_SILENT']

function explains(cause: Finding, { code, subject }: Finding): boolean {
  const [engine = ''] = cause.subject.split(/ [→←]/)
  if (subject !== engine && !subject.startsWith(`${engine} `)) return false
  if (code === 'PULL_WAITS' || (code === 'PULL_MOVES' && cause.code === 'ENGINE_STOPPED')) return true
  // A line of processes tells more than its engine alone.
  if (code === cause.code) return subject === engine && cause.subject !== engine
  return wholes.includes(cause.code) && consequences.includes(code)
}
