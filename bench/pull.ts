/** Pulls side by side: cold, again, with one layer changed, over a long link. */
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type DockerRegistry, startDockerRegistry } from '../test/servers/docker-registry.ts'
import { runScript } from '../test/testbed/command.ts'
import { type LoopFilesystem, type LoopOptions, openLoopFilesystem } from '../test/testbed/loop-filesystem.ts'
import type { Choice } from './choice.ts'
import type { Contender, Prepared, RemoteImage } from './contenders.ts'
import { benchImage, type Compression, type Size } from './images.ts'
import { openLink } from './link.ts'
import { type Cost, measure } from './measure.ts'
import type { Result, Row, Target } from './table.ts'
import { targetsOfLink, targetsOfPull, targetsOfRepeat } from './targets.ts'

export async function measurePull(choice: Choice, size: Size, compression: Compression): Promise<Result> {
  const { storage } = await benchImage(size)
  await using registry = await startDockerRegistry({ storage })
  const image = await findImage(registry, 'bench', compression)
  const able = choice.contenders.filter(contender => contender.compressions.includes(compression))
  const title = `${size}, ${compression}`
  const rows = await alternate(title, able, choice, storage, one => measureCommands(one, [image]))
  return { title, rows, targets: targetsOfPull(size, compression) }
}

/** A second pull of the same, and one of the next release, in which the layer with the modules is another one. */
export async function measureAgain(choice: Choice): Promise<Result[]> {
  const { storage } = await benchImage('medium')
  await using registry = await startDockerRegistry({ storage })
  const image = await findImage(registry, 'bench', 'gzip')
  const changed = await findImage(registry, 'bench', 'changed')
  const peers = listEngines(choice)
  const pullFirst = async (one: Ready, then: RemoteImage): Promise<Cost> => {
    await measureCommands(one, [image])
    return await measureCommands(one, [then])
  }
  const repeat = 'medium again, everything is there'
  const next = 'medium again, one of its six layers changed'
  return [
    {
      title: repeat,
      rows: await alternate(repeat, peers, choice, storage, one => pullFirst(one, image)),
      targets: targetsOfRepeat,
    },
    {
      title: next,
      rows: await alternate(next, peers, choice, storage, one => pullFirst(one, changed)),
      targets: [],
    },
  ]
}

const link = { roundTripMs: 80, bytesPerSecond: 25_000_000 }

/** The large layer over a long link: real clients on both sides, the delay between them. */
export async function measureLink(choice: Choice, size: Size): Promise<Result> {
  const { storage } = await benchImage(size)
  await using registry = await startDockerRegistry({ storage })
  await using far = await openLink(registry.host, link)
  const image = { ...(await findImage(registry, 'bench', 'gzip')), host: far.host }
  const title = `${size}, gzip, ${link.roundTripMs} ms round trip, ${link.bytesPerSecond / 1e6} MB/s per connection`
  const peers = listEngines(choice)
  const rows = await alternate(title, peers, choice, storage, one => measureCommands(one, [image]))
  return { title, rows, targets: targetsOfLink satisfies readonly Target[] }
}

/** Those that keep images: windlass by itself, and its peers. */
export function listEngines({ contenders }: Choice): Contender[] {
  return contenders.filter(({ role }) => role === 'windlass' || role === 'peer')
}

/** A contender in its place. */
interface Ready {
  readonly prepared: Prepared
  readonly directory: string
}

/** Runs contenders by turns, each time on a filesystem of its own. */
export async function alternate(
  title: string,
  contenders: readonly Contender[],
  { runs, place }: Pick<Choice, 'runs' | 'place'>,
  storage: string,
  work: (one: Ready) => Promise<Cost>,
  loop: LoopOptions = {},
): Promise<Row[]> {
  const rows = contenders.map(contender => ({ contender, runs: [] as Cost[] }))
  for (let i = 0; i < runs; i++) {
    for (const row of rows) {
      console.error(`${title}, run ${i + 1}/${runs}: ${row.contender.name}`)
      await using filesystem = await openFresh(place, loop)
      await runScript('sync; echo 3 >/proc/sys/vm/drop_caches; find "$1" -type f -exec cat {} + >/dev/null', [storage])
      await using prepared = await row.contender.prepare(filesystem.directory)
      row.runs.push(await work({ prepared, directory: filesystem.directory }))
    }
  }
  return rows
}

/** @param place a directory for its file; the testbed's cache if absent */
async function openFresh(place: string | undefined, options: LoopOptions): Promise<LoopFilesystem> {
  if (place === undefined) return await openLoopFilesystem(options)
  const own = await mkdtemp(join(place, 'windlass-bench-'))
  const filesystem = await openLoopFilesystem({ ...options, place: own })
  return {
    ...filesystem,
    async [Symbol.asyncDispose]() {
      await filesystem[Symbol.asyncDispose]()
      await rm(own, { recursive: true })
    },
  }
}

/** Several images are pulled at a time. */
export async function measureCommands({ prepared, directory }: Ready, images: readonly RemoteImage[]): Promise<Cost> {
  const commands = images.map(image => prepared.pull(image))
  const [only] = commands
  if (only !== undefined && commands.length === 1) return await measure(only, directory, prepared.daemons)
  const script = `${commands.map(({ program, args }) => `${[program, ...args].map(quoteWord).join(' ')} & pids="$pids $!"`).join('\n')}
    for pid in $pids; do wait "$pid" || exit 1; done`
  const env = only?.env === undefined ? {} : { env: only.env }
  return await measure({ program: 'sh', args: ['-c', script], ...env }, directory, prepared.daemons)
}

function quoteWord(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

export async function findImage({ host }: DockerRegistry, repository: string, tag: string): Promise<RemoteImage> {
  const accept = 'application/vnd.oci.image.manifest.v1+json'
  const response = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, { headers: { accept } })
  const manifest = (await response.json()) as { layers: { digest: string }[] }
  return { host, repository, tag, layers: manifest.layers.map(({ digest }) => digest) }
}
