/** `windlass doctor --watch`: looks again and again, and tells what is new since the look before. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Language } from '../../doctor/catalogue.ts'
import { type Finding, keyOf } from '../../doctor/finding.ts'
import { isWindlassError } from '../../errors.ts'
import type { Context } from '../command.ts'
import { writeJsonLine, writeWarning } from '../output.ts'
import { isWrong, printFinding, withWords } from './print.ts'

type Visit = () => Promise<{ readonly findings: readonly Finding[] }>

interface WatchOptions {
  readonly language: Language
  /** Between one look and the next. */
  readonly pauseMs?: number
}

/** Never returns but by the signal. @throws what the first look threw; WindlassError NOT_FOUND once the process of `--pid` has ended */
export async function watch(
  context: Context,
  visit: Visit,
  { language, pauseMs = 2000 }: WatchOptions,
): Promise<never> {
  const { signal, json } = context
  let before = new Set<string>()
  for (let looks = 0; ; looks++) {
    const found = await look(context, visit, looks === 0)
    // What cannot be seen is told, too: silence would say that all is well.
    const wrong = found?.filter(isWrong)
    for (const finding of wrong ?? []) {
      if (before.has(keyOf(finding))) continue
      if (json) writeJsonLine(context, withWords(language)(finding))
      else printFinding(context, finding, { language, verbose: true })
    }
    if (wrong !== undefined) before = new Set(wrong.map(keyOf))
    await sleep(pauseMs)
    signal.throwIfAborted()
  }
}

/** One that fails, as while another host is not reached, is told and made again. */
async function look(context: Context, visit: Visit, isFirst: boolean): Promise<readonly Finding[] | undefined> {
  try {
    return (await visit()).findings
  } catch (error) {
    context.signal.throwIfAborted()
    if (isFirst || isWindlassError(error, 'NOT_FOUND')) throw error
    writeWarning(context, (error as Error).message)
    return undefined
  }
}
