/** How the cost of a pull grows along one axis, and with which exponent. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startDockerRegistry } from '../test/servers/docker-registry.ts'
import type { Choice } from './choice.ts'
import { type Axis, countImages, growthStorage, growths, pointsOf } from './growth-images.ts'
import type { Cost } from './measure.ts'
import { drawPlot } from './plot.ts'
import { alternate, findImage, listEngines, measureCommands } from './pull.ts'
import { alignColumns, medianCost } from './table.ts'

interface Series {
  readonly name: string
  readonly points: readonly (Cost & { readonly at: number })[]
}

export interface GrowthResult {
  readonly axis: Axis
  readonly series: readonly Series[]
}

/** Room for the largest layer, its blob, and what a peer keeps besides; only what is written takes space. */
const loop = { sizeBytes: 48 * 2 ** 30 }

export async function measureGrowth(choice: Choice, axis: Axis): Promise<GrowthResult> {
  const contenders = listEngines(choice)
  const series = contenders.map(({ name }) => ({ name, points: [] as (Cost & { at: number })[] }))
  for (const at of pointsOf(axis, choice.isLong)) {
    // Where a peer takes many minutes windlass goes on alone.
    const able = contenders.filter(({ role }) => role === 'windlass' || growths[axis].points.includes(at))
    const storage = await growthStorage(axis, at)
    await using registry = await startDockerRegistry({ storage })
    const images = await Promise.all(
      Array.from({ length: countImages(axis, at) }, (_, image) => findImage(registry, 'growth', String(image))),
    )
    const title = `${growths[axis].title}: ${at}`
    const rows = await alternate(title, able, choice, storage, one => measureCommands(one, images), loop)
    for (const { contender, runs } of rows)
      series.find(({ name }) => name === contender.name)?.points.push({ at, ...medianCost(runs) })
  }
  return { axis, series }
}

/**
 * The exponent b of cost = c n^b between the last points, of which the largest is at least ten times the first: what a start costs
 * hides the growth of small ones.
 */
function fitExponent(points: readonly { readonly at: number; readonly cost: number }[]): number {
  const last = points.at(-1)?.at ?? 0
  const first = points.findLastIndex(({ at }) => at * 10 <= last)
  const logs = points.slice(Math.max(first, 0)).map(({ at, cost }) => [Math.log(at), Math.log(cost)] as const)
  const meanX = logs.reduce((sum, [x]) => sum + x, 0) / logs.length
  const meanY = logs.reduce((sum, [, y]) => sum + y, 0) / logs.length
  const xy = logs.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0)
  const xx = logs.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0)
  return xy / xx
}

export function formatGrowth(result: GrowthResult): string {
  const { title } = growths[result.axis]
  return [title, ...alignColumns(tableOf(result))].join('\n')
}

function tableOf({ series }: GrowthResult): string[][] {
  const all = [...new Set(series.flatMap(({ points }) => points.map(({ at }) => at)))]
  const at = all.map(formatNumber)
  return [
    ['wall s (cpu s, peak MiB) at', ...at, 'exponent of wall', 'of cpu'],
    ...series.map(({ name, points }) => [
      name,
      ...all.map(at => formatCost(points.find(point => point.at === at))),
      fitExponent(points.map(({ at, wallMs }) => ({ at, cost: wallMs }))).toFixed(2),
      fitExponent(points.map(({ at, cpuMs }) => ({ at, cost: cpuMs }))).toFixed(2),
    ]),
  ]
}

function formatCost(cost: Cost | undefined): string {
  if (cost === undefined) return ''
  const { wallMs, cpuMs, memoryMax } = cost
  return `${(wallMs / 1000).toFixed(2)} (${(cpuMs / 1000).toFixed(2)}, ${Math.round(memoryMax / 2 ** 20)})`
}

function formatNumber(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ' ')
}

/** Writes the tables as Markdown, and a plot of each. */
export async function writeGrowth(directory: string, machine: string, results: readonly GrowthResult[]): Promise<void> {
  await mkdir(directory, { recursive: true })
  const parts = results.map(result => {
    const [head = [], ...rows] = tableOf(result)
    const lines = [head, head.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`)
    const { title } = growths[result.axis]
    return `## ${title}\n\n![wall time over ${title}](growth-${result.axis}.svg)\n\n${lines.join('\n')}\n`
  })
  await writeFile(join(directory, 'growth.md'), [intro(machine), ...parts].join('\n'))
  for (const { axis, series } of results) {
    const lines = series.map(({ name, points }) => ({
      name,
      points: points.map(({ at, wallMs }) => ({ x: at, y: wallMs / 1000 })),
    }))
    const plot = drawPlot({ title: growths[axis].title, yTitle: 'seconds', lines })
    await writeFile(join(directory, `growth-${axis}.svg`), plot)
  }
}

function intro(machine: string): string {
  return `# How the cost of a pull grows

Written by \`npm run bench -- growth\` on ${machine}. Each figure is the median of the runs, each run on a fresh filesystem. The exponent is
that of the growth from a tenth of the largest point on: 1 is linear.
`
}
