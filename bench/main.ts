/**
 * How fast images are pulled, beside what else can be done with the same bytes on the same machine in the same minutes.
 *
 *     npm run bench -- [--image small,medium,big] [--compression gzip,zstd] [--runs N] [--only NAME,…] [--json FILE]
 *
 * Contenders whose programs are not there are left out, and named. Each run gets a fresh filesystem; caches are dropped, then the registry's blobs are read into them; contenders alternate.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { type DockerRegistry, startDockerRegistry } from '../test/servers/docker-registry.ts'
import { run, runCommand, runScript } from '../test/testbed/command.ts'
import { openLoopFilesystem } from '../test/testbed/loop-filesystem.ts'
import { type Contender, contenders } from './contenders.ts'
import { benchImage, type Compression, compressions, type Size, sizes } from './images.ts'
import { type Cost, measure } from './measure.ts'
import { formatResult, type Result } from './table.ts'

interface Choice {
  readonly sizes: readonly Size[]
  readonly compressions: readonly Compression[]
  readonly contenders: readonly Contender[]
  readonly runs: number
  readonly json: string | undefined
}

function parseChoice(args: string[]): Choice {
  const { values } = parseArgs({
    args,
    options: {
      image: { type: 'string', default: 'small,medium' },
      compression: { type: 'string', default: 'gzip,zstd' },
      runs: { type: 'string', default: '3' },
      only: { type: 'string', default: 'windlass,curl+igzip+tar,curl+zstd+tar' },
      json: { type: 'string' },
    },
  })
  const runs = Number(values.runs)
  if (!(Number.isInteger(runs) && runs > 0)) throw new Error(`Cannot run ${values.runs} times: wanted 1 or more`)
  const byName = contenders.map(({ name }) => name)
  const names = values.only === 'all' ? byName : choose('--only', values.only, byName)
  return {
    sizes: choose('--image', values.image, sizes),
    compressions: choose('--compression', values.compression, compressions),
    contenders: contenders.filter(({ name }) => names.includes(name)),
    runs,
    json: values.json,
  }
}

function choose<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  const names = text.split(',')
  for (const name of names) {
    if (!known.some(one => one === name))
      throw new Error(`Cannot use ${option} ${name}: wanted some of ${known.join(', ')}`)
  }
  return known.filter(one => names.includes(one))
}

async function measureImage(choice: Choice, size: Size, compression: Compression): Promise<Result> {
  const { storage } = await benchImage(size)
  await using registry = await startDockerRegistry({ storage })
  const layers = await readLayers(registry, compression)
  const able = choice.contenders.filter(contender => contender.compressions.includes(compression))
  const costs = new Map<string, Cost[]>(able.map(({ name }) => [name, []]))
  for (let i = 0; i < choice.runs; i++) {
    for (const contender of able) {
      console.error(`${size} ${compression} run ${i + 1}/${choice.runs}: ${contender.name}`)
      costs
        .get(contender.name)
        ?.push(await measureOnce(contender, storage, { host: registry.host, compression, layers }))
    }
  }
  return {
    size,
    compression,
    costs,
    notes: able.flatMap(({ name, leavesOut }) => (leavesOut ? [`${name} ${leavesOut}`] : [])),
  }
}

async function measureOnce(
  contender: Contender,
  storage: string,
  round: { host: string; compression: Compression; layers: readonly string[] },
): Promise<Cost> {
  await using filesystem = await openLoopFilesystem()
  await runScript('sync; echo 3 >/proc/sys/vm/drop_caches; find "$1" -type f -exec cat {} + >/dev/null', [storage])
  await using prepared = await contender.prepare({ ...round, directory: filesystem.directory })
  return await measure(prepared.command, filesystem.directory, prepared.daemons)
}

async function readLayers({ host }: DockerRegistry, compression: Compression): Promise<string[]> {
  const accept = 'application/vnd.oci.image.manifest.v1+json'
  const response = await fetch(`http://${host}/v2/bench/manifests/${compression}`, { headers: { accept } })
  const manifest = (await response.json()) as { layers: { digest: string }[] }
  return manifest.layers.map(({ digest }) => digest)
}

async function describeMachine(): Promise<string> {
  const cpu = /^model name\s*: (.*)$/m.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown processor'
  return `${await run('nproc', [])} cores of ${cpu}, Linux ${await run('uname', ['-r'])}, Node ${process.version}`
}

async function leaveOutMissing(choice: Choice): Promise<Choice> {
  const able = await Promise.all(
    choice.contenders.map(async ({ programs }) => (await missingOf(programs)).length === 0),
  )
  return { ...choice, contenders: choice.contenders.filter((_, at) => able[at]) }
}

async function missingOf(programs: readonly string[]): Promise<string[]> {
  const found = await Promise.all(programs.map(program => runCommand('sh', ['-c', `command -v ${program} >/dev/null`])))
  return programs.filter((_, at) => found[at]?.status !== 0)
}

const choice = await leaveOutMissing(parseChoice(process.argv.slice(2)))
console.log(await describeMachine())
const results: Result[] = []
for (const size of choice.sizes) {
  for (const compression of choice.compressions) {
    const result = await measureImage(choice, size, compression)
    results.push(result)
    console.log(`\n${formatResult(result)}`)
  }
}
for (const { name, programs } of contenders) {
  if (choice.contenders.some(contender => contender.name === name)) continue
  const missing = await missingOf(programs)
  const why = missing.length > 0 ? `${missing.join(', ')} not found` : 'not chosen; see --only'
  console.log(`not measured: ${name} (${why})`)
}
if (choice.json !== undefined) {
  const plain = results.map(result => ({ ...result, costs: Object.fromEntries(result.costs) }))
  await writeFile(choice.json, JSON.stringify(plain, undefined, 2))
}
