/** Medians, ratios and targets of one image's runs, as text. */
import type { Contender } from './contenders.ts'
import type { Cost } from './measure.ts'

export interface Row {
  readonly contender: Pick<Contender, 'name' | 'role' | 'leavesOut'>
  readonly runs: readonly Cost[]
}

export interface Result {
  /** What was measured: `medium, gzip`. */
  readonly title: string
  readonly rows: readonly Row[]
  readonly targets: readonly Target[]
}

/** What windlass is to reach. Of peers the best counts, in the same run. */
export interface Target {
  readonly what: 'wall of peers' | 'wall of pipeline' | 'cpu of peers' | 'memory' | 'wall'
  /** A ratio, bytes or milliseconds. */
  readonly atMost: number
}

export function formatResult({ title, rows, targets }: Result): string {
  const medians = rows.map(({ contender, runs }) => ({ contender, runs, median: medianCost(runs) }))
  const base = medians.find(({ contender }) => contender.role === 'windlass')?.median.wallMs ?? Number.NaN
  const lines = medians.map(({ contender, runs, median }) => [
    contender.name,
    seconds(median.wallMs),
    `${seconds(Math.min(...runs.map(({ wallMs }) => wallMs)))}-${seconds(Math.max(...runs.map(({ wallMs }) => wallMs)))}`,
    seconds(median.cpuMs),
    mebibytes(peakOf(runs)),
    mebibytes(Math.max(...runs.map(({ diskMax }) => diskMax))),
    (median.wallMs / base).toFixed(2),
  ])
  const table = alignColumns([['', 'wall s', 'range', 'cpu s', 'peak MiB', 'disk MiB', 'wall ratio'], ...lines])
  const notes = rows.flatMap(({ contender: { name, leavesOut } }) => (leavesOut ? [`  ${name} ${leavesOut}`] : []))
  return [title, ...table, ...formatTargets(rows, targets), ...notes].join('\n')
}

function formatTargets(rows: readonly Row[], targets: readonly Target[]): string[] {
  const judged = targets.map(target => judge(target, rows))
  if (judged.length === 0) return []
  return alignColumns([['  target', 'measured', 'wanted', ''], ...judged])
}

function judge({ what, atMost }: Target, rows: readonly Row[]): string[] {
  const own = rows.find(({ contender }) => contender.role === 'windlass')
  const other = findBest(what, rows)
  const isAbsolute = what === 'memory' || what === 'wall'
  if (own === undefined || (!isAbsolute && other === undefined)) return [`  ${what}`, '-', '', 'not measured']
  const mine = medianCost(own.runs)
  const theirs = other && medianCost(other.runs)
  const measured = {
    'wall of peers': mine.wallMs / (theirs?.wallMs ?? Number.NaN),
    'wall of pipeline': mine.wallMs / (theirs?.wallMs ?? Number.NaN),
    'cpu of peers': mine.cpuMs / (theirs?.cpuMs ?? Number.NaN),
    memory: peakOf(own.runs),
    wall: mine.wallMs,
  }[what]
  const show = { memory: mebibytes, wall: seconds }[what as string] ?? ((ratio: number) => ratio.toFixed(2))
  const name = isAbsolute ? what : `${what.split(' ')[0]}, of ${other?.contender.name}`
  return [`  ${name}`, show(measured), show(atMost), measured <= atMost ? 'reached' : 'missed']
}

function findBest(what: Target['what'], rows: readonly Row[]): Row | undefined {
  const role = what === 'wall of pipeline' ? 'pipeline' : 'peer'
  const cost = ({ runs }: Row): number => medianCost(runs)[what === 'cpu of peers' ? 'cpuMs' : 'wallMs']
  return rows.filter(({ contender }) => contender.role === role).sort((a, b) => cost(a) - cost(b))[0]
}

function peakOf(runs: readonly Cost[]): number {
  return Math.max(...runs.map(({ memoryMax }) => memoryMax))
}

export function medianCost(runs: readonly Cost[]): Cost {
  return {
    wallMs: median(runs.map(({ wallMs }) => wallMs)),
    cpuMs: median(runs.map(({ cpuMs }) => cpuMs)),
    memoryMax: median(runs.map(({ memoryMax }) => memoryMax)),
    diskMax: median(runs.map(({ diskMax }) => diskMax)),
  }
}

/** The mean of the two in the middle where their number is even. */
function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2)
}

function mebibytes(bytes: number): string {
  return String(Math.round(bytes / 2 ** 20))
}

/** The first column to the left, numbers to the right. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)))
  return rows.map(row =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  '),
  )
}
