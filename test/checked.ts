/** One check of the doctor over made or found engines, as its tests need it. */
import type { Check, CheckContext, Item } from '../src/doctor/checks/check.ts'
import { runChecks } from '../src/doctor/checks/run.ts'
import type { Engine } from '../src/doctor/engines.ts'
import type { Finding } from '../src/doctor/finding.ts'
import type { HostView } from '../src/sys/host-view.ts'
import { readProcessTable } from '../src/sys/process-files.ts'

/** An engine as `findEngines` would describe it. */
export function makeEngine(pid: number, more: Partial<Engine> = {}): Engine {
  const process = {
    ...{ pid, parent: 1, group: pid, session: pid, name: 'dockerd', state: 'S', threads: 9 },
    ...{ userTicks: 0, systemTicks: 0, startTicks: 100 },
  }
  return {
    kind: 'dockerd',
    process,
    args: ['dockerd'],
    program: '/usr/bin/dockerd',
    version: '20.10.24',
    dataRoot: undefined,
    dataPath: undefined,
    rootPrefix: '',
    sockets: [],
    environment: new Map([['PATH', '/usr/bin:/bin']]),
    decompressors: [],
    isOpen: true,
    ...more,
  }
}

/** An engine that runs unpigz, from there. */
export function makeDecompressing(pid: number, path: string, more: Partial<Engine> = {}): Engine {
  const decompressor = { name: 'unpigz', path, variable: 'MOBY_DISABLE_PIGZ', value: undefined, use: 'used' } as const
  return makeEngine(pid, { decompressors: [decompressor], ...more })
}

interface CheckedOptions {
  readonly engines?: readonly Engine[]
  readonly items?: readonly Item[]
  readonly mayTry?: boolean
  readonly verdictOf?: CheckContext['verdictOf']
}

/** What a check finds at these engines, or at these items. */
export async function runCheck(
  check: Check,
  host: HostView,
  options: CheckedOptions = {},
): Promise<readonly Finding[]> {
  const { engines = [], mayTry = false, verdictOf = async () => undefined } = options
  const hostItem: Item = { kind: 'host', key: '', engine: undefined, value: {} }
  const engineItems = engines.map(
    (engine): Item => ({ kind: 'engine', key: String(engine.process.pid), engine: engine.process.pid, value: engine }),
  )
  const context: CheckContext = {
    ...{ host, engines, mayTry, table: readProcessTable(host), signal: AbortSignal.timeout(60_000) },
    verdictOf,
  }
  const alone = { ...check, after: [] } as Check
  return (await runChecks([alone], options.items ?? [hostItem, ...engineItems], context)).findings
}

export function codesOf(findings: readonly Finding[]): string[] {
  return findings.map(({ code }) => code)
}
