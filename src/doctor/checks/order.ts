/** In which order checks run, and which need not run: pure decisions. */
import type { Finding } from '../finding.ts'
import type { Check, Item } from './check.ts'

/** What one check found at one item. */
export interface Seen {
  readonly check: string
  readonly item: Item
  readonly findings: readonly Finding[]
}

/**
 * The checks in waves: those of one wave depend only on earlier ones, and run side by side.
 * @throws Error for two checks of one name, a dependency that is none of them, and a circle
 */
export function orderChecks(checks: readonly Check[]): Check[][] {
  const names = new Set(checks.map(({ name }) => name))
  if (names.size < checks.length) throw new Error('two checks have one name')
  for (const { name, after = [] } of checks) {
    const stranger = after.find(({ check }) => !names.has(check))
    if (stranger !== undefined) throw new Error(`${name} comes after ${stranger.check}, which is no check`)
  }
  const waves: Check[][] = []
  const done = new Set<string>()
  for (let rest = [...checks]; rest.length > 0; rest = rest.filter(({ name }) => !done.has(name))) {
    const wave = rest.filter(({ after = [] }) => after.every(({ check }) => done.has(check)))
    if (wave.length === 0)
      throw new Error(`these checks wait for each other: ${rest.map(({ name }) => name).join(', ')}`)
    waves.push(wave)
    for (const { name } of wave) done.add(name)
  }
  return waves
}

/** The finding for which there is no point in looking at an item, if there is one. */
export function obstacleOf({ after = [] }: Check, item: Item, seen: readonly Seen[]): Finding | undefined {
  for (const { check, unless } of after) {
    const before = seen.filter(other => other.check === check && concerns(other.item, item))
    const obstacle = before.flatMap(({ findings }) => findings).find(({ code }) => unless.includes(code))
    if (obstacle !== undefined) return obstacle
  }
  return undefined
}

/** What is so of the host is so of all; what is so of an engine, of all that belongs to it. */
function concerns(cause: Item, item: Item): boolean {
  if (cause.kind === 'host') return true
  if (cause.kind === 'engine') return cause.engine === item.engine
  return cause.kind === item.kind && cause.key === item.key
}

/** What was found, without that which something else that was found explains; what is in doubt accuses nobody. */
export function withoutExplained(checks: readonly Check[], seen: readonly Seen[]): Finding[] {
  const explaining = seen.filter(({ findings }) => findings.some(({ severity }) => severity === 'problem'))
  return seen.flatMap(({ item, findings }) => {
    const causes = explaining.filter(cause => concerns(cause.item, item))
    const explained = causes.flatMap(({ check }) => checks.find(({ name }) => name === check)?.explains ?? [])
    return findings.filter(({ code }) => !explained.includes(code)).map(finding => withDoubt(finding, item))
  })
}

function withDoubt(finding: Finding, { doubt }: Item): Finding {
  const { code, severity, evidence } = finding
  if (doubt === undefined || doubt.stands.includes(code)) return finding
  if (severity !== 'problem' && severity !== 'warning') return finding
  return { ...finding, severity: 'note', evidence: [doubt.why, ...evidence] }
}
