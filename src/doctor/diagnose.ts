/** The doctor's visit: who runs here, what their pulls do, and what else of the host may hold them up. Changes nothing. */
import type { HostView } from '../sys/host-view.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { areas, catalogue, type Severity } from './catalogue.ts'
import type { Check } from './checks/check.ts'
import { checkDecompressors } from './checks/decompressors.ts'
import { checkDisks } from './checks/disks.ts'
import { checkEngines } from './checks/engines.ts'
import { checkHost } from './checks/host.ts'
import { checkResources } from './checks/resources.ts'
import { checkSecurity } from './checks/security.ts'
import { type Engine, findEngines } from './engines.ts'
import type { Finding } from './finding.ts'
import { examinePulls, type PullsResult } from './pulls.ts'

export interface DiagnoseOptions {
  readonly signal: AbortSignal
  /** Look at the engine with this process alone. */
  readonly pid?: number | undefined
  /** What an earlier probe said of a program. */
  readonly verdictOf?: (path: string) => Promise<string | undefined>
}

export interface Diagnosis {
  readonly engines: readonly Engine[]
  /** In the order of the areas, the worst of each first. */
  readonly findings: readonly Finding[]
  readonly worst: Severity
  /** What was seen of the pulls, for those who want to judge by themselves. */
  readonly lines: PullsResult['lines']
  readonly dumps: PullsResult['dumps']
}

const checks: readonly Check[] = [
  checkEngines,
  checkDecompressors,
  checkDisks,
  checkSecurity,
  checkResources,
  checkHost,
]

const severities: readonly Severity[] = ['problem', 'warning', 'unseen', 'note', 'ok']

/** Takes some seconds, longest where something stands still: it has to be watched. */
export async function diagnose(
  host: HostView,
  { signal, pid, verdictOf = async () => undefined }: DiagnoseOptions,
): Promise<Diagnosis> {
  const engines = await findEngines(host, readProcessTable(host), pid)
  const [pulls, ...rest] = await Promise.all([
    examinePulls(host, engines, { signal }),
    ...checks.map(check => check({ host, engines, verdictOf })),
  ])
  const findings = explainedOnce([...pulls.findings, ...rest.flat()]).sort(byArea)
  return { engines, findings, worst: worstOf(findings), lines: pulls.lines, dumps: pulls.dumps }
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
  return findings.filter(finding => !causes.some(cause => cause !== finding && explains(cause, finding)))
}

/** Codes of an engine as a whole: nothing of it can go on. */
const wholes: readonly string[] = [
  'ENGINE_STOPPED',
  'FILESYSTEM_FROZEN',
  'DISK_WAIT',
  'FANOTIFY_WAIT',
  'MEMORY_LIMIT',
  'CGROUP_FROZEN',
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
