/**
 * Fuzzing on demand: `npm run fuzz -- [--runs N] [--seed S]`. Runs every property N times and compares N whole and N damaged archives, and N layers, with the
 * tars; stops at the first fault, with what repeats it.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fuzzTars } from './differential.ts'
import { properties, runProperty } from './properties.ts'

const { values } = parseArgs({ options: { runs: { type: 'string', default: '5000' }, seed: { type: 'string' } } })
const runs = Number(values.runs)
const seed = Number(values.seed ?? Date.now() % 1_000_000_000)
/** Archives per round: each round starts its processes anew and removes what it made. */
const roundMax = 500

console.log(`seed ${seed}`)
for (const property of properties) console.log(`${property.name}: ${runProperty(property, { runs, seed })} inputs`)
for (let done = 0; done < runs; done += roundMax) {
  const base = mkdtempSync(join(tmpdir(), 'windlass-fuzz-'))
  const count = Math.min(roundMax, runs - done)
  const { faults, summary } = await fuzzTars(base, { count, seed: seed + done, deadlineMs: 120_000 + 1_000 * count })
  console.log(`${done + count}: ${summary}`)
  if (faults.length > 0) {
    console.log(`The archives are in ${base}/in; seed ${seed + done}:\n${faults.join('\n')}`)
    process.exitCode = 1
    break
  }
  rmSync(base, { recursive: true })
}
