/** Medians and ratios of one image's runs, as text. */
import type { Cost } from './measure.ts'

export interface Result {
  readonly size: string
  readonly compression: string
  /** The runs of each contender, the first one being what the others are compared with. */
  readonly costs: ReadonlyMap<string, readonly Cost[]>
  readonly notes: readonly string[]
}

/** What windlass promises for an image of any size. */
const memoryPromised = 256 * 2 ** 20

export function formatResult({ size, compression, costs, notes }: Result): string {
  const rows = [...costs].map(([name, runs]) => ({ name, median: medianCost(runs), runs }))
  const base = rows[0]?.median.wallMs ?? Number.NaN
  const lines = rows.map(({ name, median, runs }) => [
    name,
    seconds(median.wallMs),
    `${seconds(Math.min(...runs.map(({ wallMs }) => wallMs)))}-${seconds(Math.max(...runs.map(({ wallMs }) => wallMs)))}`,
    seconds(median.cpuMs),
    `${Math.round(Math.max(...runs.map(({ memoryMax }) => memoryMax)) / 2 ** 20)}`,
    `${Math.round(Math.max(...runs.map(({ diskMax }) => diskMax)) / 2 ** 20)}`,
    (median.wallMs / base).toFixed(2),
  ])
  const table = alignColumns([['', 'wall s', 'range', 'cpu s', 'peak MiB', 'disk MiB', 'wall ratio'], ...lines])
  return [`${size}, ${compression}`, ...table, ...checkMemory(costs), ...notes.map(note => `  ${note}`)].join('\n')
}

function checkMemory(costs: Result['costs']): string[] {
  const peak = Math.max(0, ...(costs.get('windlass') ?? []).map(({ memoryMax }) => memoryMax))
  return peak > memoryPromised
    ? [`  windlass held ${Math.round(peak / 2 ** 20)} MiB: more than the 256 it promises`]
    : []
}

function medianCost(runs: readonly Cost[]): Cost {
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

/** The first column to the left, numbers to the right. */
function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)))
  return rows.map(row =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  '),
  )
}
