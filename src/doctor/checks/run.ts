import { describeFinding, type Finding, makeFinding } from '../finding.ts'
import type { Check, CheckContext, Item } from './check.ts'
import { obstacleOf, orderChecks, type Seen, withoutExplained } from './order.ts'

/** A check that was left out, and why. */
export interface SkippedCheck {
  readonly check: string
  readonly item: string
  readonly because: string
}

export interface ChecksResult {
  readonly findings: readonly Finding[]
  readonly skipped: readonly SkippedCheck[]
}

const boundMs = 10_000
/** Who comes last has at least that. */
const boundMsMin = 1000

/** Runs checks over items, each in bounded time, and each only where nothing that it depends on makes it pointless. Never throws but for a signal. */
export async function runChecks(
  checks: readonly Check[],
  items: readonly Item[],
  context: CheckContext,
): Promise<ChecksResult> {
  const seen: Seen[] = []
  // What left out one check may be why another need not look, that comes after it.
  const leftOut: Seen[] = []
  const skipped: SkippedCheck[] = []
  const done = new Map<string, Promise<void>>()
  const lookUnlessPointless = async (check: Check, item: Item) => {
    const obstacle = obstacleOf(check, item, [...seen, ...leftOut])
    if (obstacle === undefined) seen.push({ check: check.name, item, findings: await look(check, item, context) })
    else {
      leftOut.push({ check: check.name, item, findings: [obstacle] })
      skipped.push({ check: check.name, item: item.key, because: describeFinding(obstacle) })
    }
  }
  for (const check of orderChecks(checks).flat()) {
    const before = (check.after ?? []).map(dependency => done.get(dependency.check))
    const own = items.filter(({ kind }) => kind === check.of)
    const run = async () => {
      await Promise.all(before)
      await Promise.all(own.map(item => lookUnlessPointless(check, item)))
    }
    done.set(check.name, run())
  }
  await Promise.all(done.values())
  context.signal.throwIfAborted()
  // In the order of the checks, however long each took.
  const at = new Map(checks.map(({ name }, index) => [name, index]))
  const sorted = seen.toSorted((a, b) => (at.get(a.check) ?? 0) - (at.get(b.check) ?? 0))
  return { findings: withoutExplained(checks, sorted), skipped }
}

/** What does not end, or fails in a way that nobody foresaw, is told and holds up nobody. */
async function look(check: Check, item: Item, context: CheckContext): Promise<readonly Finding[]> {
  const bound = boundOf(check, item, context)
  const late = new AbortController()
  const { promise, resolve } = Promise.withResolvers<readonly Finding[]>()
  const unfinished = (reason: string) => {
    const evidence = [`${check.name}${item.key === '' ? '' : ` of ${item.key}`}: ${reason}`]
    return [makeFinding('CHECK_UNFINISHED', check.name, { evidence })]
  }
  const timer = setTimeout(() => {
    resolve(unfinished(`no answer in ${Number((bound / 1000).toFixed(2))} s`))
    late.abort()
  }, bound)
  const signal = AbortSignal.any([context.signal, late.signal])
  const looking = async () => await check.look(item.value as never, { ...context, signal })
  looking().then(resolve, error => resolve(unfinished(error instanceof Error ? error.message : String(error))))
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}

/** What was asked for, a registry or a trial, takes its own time. */
function boundOf(
  check: Check,
  { kind }: Item,
  { until = Number.POSITIVE_INFINITY, mayTry, host }: CheckContext,
): number {
  const own = check.boundMs ?? boundMs
  return kind === 'registry' || mayTry ? own : Math.min(own, Math.max(boundMsMin, until - host.elapsed()))
}
