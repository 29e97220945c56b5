/**
 * How fast images are pulled, beside what else can be done with the same bytes on the same machine in the same minutes.
 *
 *     npm run bench -- [pull] [again] [link] [growth] [--image small,medium,big] [--compression gzip,zstd] [--axis entries,bytes,layers,pulls]
 *                      [--runs N] [--only NAME,…] [--peers-root DIR] [--place DIR] [--long] [--json FILE] [--docs DIR]
 *
 * pull, the default: a cold store. again: a second pull, and one of the next release. link: 80 ms round trip, 25 MB/s for each connection. growth:
 * images that grow along one axis; --long lets windlass go on to a million entries and 10 GB, --docs writes tables and plots.
 * --peers-root is a Debian in a folder, whose engines are measured, too (test/testbed/newest.ts says how it is made). --place is where the filesystems
 * lie that are pulled into: on a tmpfs the disk costs nothing.
 * Contenders whose programs are not there are left out, and named. Each run gets a fresh filesystem; caches are dropped, then the registry's blobs are read into them; contenders alternate.
 * --only all also measures the deliveries of windlass into engines.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { run } from '../test/testbed/command.ts'
import { type Choice, type Mode, readChoice } from './choice.ts'
import { formatGrowth, type GrowthResult, measureGrowth, writeGrowth } from './growth.ts'
import { measureAgain, measureLink, measurePull } from './pull.ts'
import { formatResult, type Result } from './table.ts'

async function describeMachine(): Promise<string> {
  const cpu = /^model name\s*: (.*)$/m.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown processor'
  return `${await run('nproc', [])} cores of ${cpu}, Linux ${await run('uname', ['-r'])}, Node ${process.version}`
}

const results: (Result | GrowthResult)[] = []

function tell(result: Result): void {
  results.push(result)
  console.log(`\n${formatResult(result)}`)
}

async function measurePulls(choice: Choice): Promise<void> {
  for (const size of choice.sizes)
    for (const compression of choice.compressions) tell(await measurePull(choice, size, compression))
}

async function measureGrowths(choice: Choice): Promise<void> {
  const found: GrowthResult[] = []
  for (const axis of choice.axes) {
    const result = await measureGrowth(choice, axis)
    found.push(result)
    console.log(`\n${formatGrowth(result)}`)
  }
  results.push(...found)
  if (choice.docs !== undefined) await writeGrowth(choice.docs, await describeMachine(), found)
}

const work: Readonly<Record<Mode, (choice: Choice) => Promise<void>>> = {
  pull: measurePulls,
  again: async choice => (await measureAgain(choice)).forEach(tell),
  link: async choice => {
    for (const size of choice.sizes) tell(await measureLink(choice, size))
  },
  growth: measureGrowths,
}

const choice = await readChoice(process.argv.slice(2))
console.log(await describeMachine())
for (const mode of choice.modes) await work[mode](choice)
for (const line of choice.leftOut) console.log(`not measured: ${line}`)
if (choice.json !== undefined) await writeFile(choice.json, JSON.stringify(results, undefined, 2))
