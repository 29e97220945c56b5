import { printable } from './printable.ts'
import { textWidth } from './progress/width.ts'

/** Lines of left-aligned columns, three spaces apart as docker prints them. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = [header, ...rows].map(row => row.map(printable))
  const widths = header.map((_, column) => Math.max(...cells.map(row => textWidth(row[column] ?? ''))))
  return cells.map(row =>
    row
      .map((cell, column) => cell + ' '.repeat(Math.max(0, (widths[column] ?? 0) - textWidth(cell))))
      .join('   ')
      .trimEnd(),
  )
}

/** How long ago, in docker's words: `3 days ago`. */
export function formatAge(created: string | undefined, now: number): string {
  const at = created === undefined ? Number.NaN : Date.parse(created)
  if (Number.isNaN(at)) return 'N/A'
  return `${formatSpan(Math.max(0, now - at) / 1000)} ago`
}

/** Go's units.HumanDuration, which docker's lists use. */
function formatSpan(seconds: number): string {
  const minutes = Math.floor(seconds / 60)
  const hours = Math.round(seconds / 3600)
  if (seconds < 1) return 'Less than a second'
  if (seconds < 60) return plural(Math.floor(seconds), 'second')
  if (minutes === 1) return 'About a minute'
  if (minutes < 60) return `${minutes} minutes`
  if (hours === 1) return 'About an hour'
  if (hours < 48) return `${hours} hours`
  if (hours < 24 * 14) return `${Math.floor(hours / 24)} days`
  if (hours < 24 * 60) return `${Math.floor(hours / 24 / 7)} weeks`
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`
  return `${Math.floor(hours / 24 / 365)} years`
}

function plural(count: number, unit: string): string {
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}
