/**
 * `npm run mutants -- [--only TEXT]`: takes each guard of docs/threat-model.md out, one after the other, each time in a copy of the tree that
 * is thrown away, and runs the test that the document names. Every one must fail; first all of them are run once with nothing taken out. Needs root.
 */
import { parseArgs } from 'node:util'
import { type Mutant, mutants } from './mutants.ts'
import { runMutant, type Verdict } from './run.ts'

const { values } = parseArgs({
  options: { only: { type: 'string', default: '' }, jobs: { type: 'string', default: '2' } },
})
const only = new RegExp(values.only)
const chosen = mutants.filter(({ row, file, test, edits }) => [row, file, test, edits.join()].join(' ').match(only))

async function eachInTurn<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: Number(values.jobs) }, worker))
}

function tell(text: string): void {
  console.log(text)
}

const wrong: string[] = []

async function check(mutant: Mutant, wanted: Verdict): Promise<void> {
  const { verdict, failed } = await runMutant(mutant)
  const what = `${mutant.row} · ${mutant.file}: ${mutant.edits.map(([from]) => from.trim().split('\n')[0]).join(' + ')}`
  const line = wanted === 'survived' ? `whole · ${mutant.test}` : `${what} · ${mutant.test}`
  if (verdict !== wanted) wrong.push(`${line}: ${verdict}\n  ${failed.join('\n  ')}`)
  tell(
    `${verdict === wanted ? 'ok   ' : 'WRONG'} ${line}: ${verdict}${verdict === 'killed' ? ` by ${failed.length}` : ''}`,
  )
}

const tests = [...new Map(chosen.map(mutant => [`${mutant.test} ${mutant.name}`, { ...mutant, edits: [] }])).values()]
await eachInTurn(tests, mutant => check(mutant, 'survived'))
await eachInTurn(chosen, mutant => check(mutant, 'killed'))
tell(`${chosen.length} guards taken out, of ${new Set(chosen.map(({ row }) => row)).size} rows; ${wrong.length} wrong`)
if (wrong.length > 0) tell(wrong.join('\n'))
process.exitCode = wrong.length > 0 ? 1 : 0
