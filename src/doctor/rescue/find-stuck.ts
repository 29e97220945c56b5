/** Which decompressors of a host are to be rescued: those that the doctor accuses, or the one that the user names. */
import type { HostView } from '../../sys/host-view.ts'
import { type ProcessTable, readProcessTable } from '../../sys/process-files.ts'
import { type Engine, findEngines } from '../engines.ts'
import type { Finding } from '../finding.ts'
import { findLines, type Line } from '../lines.ts'
import { examinePulls } from '../pulls.ts'

export interface Stuck {
  readonly line: Line
  /** What the doctor says of it; undefined if the user named it. */
  readonly finding: Finding | undefined
}

export interface StuckOptions {
  readonly signal: AbortSignal
  /** An engine, whose decompressors alone are looked at, or a decompressor, which is rescued whatever the doctor thinks of it. */
  readonly pid?: number | undefined
}

export interface StuckLook {
  /** `pid` is that of an engine, or none was given: there may be more to find, now and later. */
  readonly isOfEngines: boolean
  readonly stuck: readonly Stuck[]
  /** All that was seen of pulls; nothing if a decompressor was named, which is not watched first. */
  readonly findings: readonly Finding[]
}

export async function findStuck(host: HostView, { signal, pid }: StuckOptions): Promise<StuckLook> {
  const table = readProcessTable(host)
  const all = await findEngines(host, table)
  const engine = all.find(({ process }) => process.pid === pid)
  if (engine === undefined && pid !== undefined)
    return { isOfEngines: false, stuck: findNamed(host, all, table, pid), findings: [] }
  const { lines, findings } = await examinePulls(host, engine === undefined ? all : [engine], { signal })
  const stuck = lines.flatMap(({ line }): Stuck[] => {
    const [filter] = line.decompressor
    if (filter === undefined) return []
    const finding = findings.find(found => accuses(found, filter.pid))
    return finding === undefined ? [] : [{ line, finding }]
  })
  return { isOfEngines: true, stuck, findings }
}

function findNamed(host: HostView, engines: readonly Engine[], table: ProcessTable, pid: number): Stuck[] {
  return findLines(host, engines, table)
    .filter(({ decompressor }) => decompressor.some(member => member.pid === pid))
    .map(line => ({ line, finding: undefined }))
}

function accuses({ code, severity, facts }: Finding, pid: number): boolean {
  return severity === 'problem' && code.startsWith('DECOMPRESSOR_') && facts['decompressorPid'] === pid
}
