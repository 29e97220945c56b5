/**
 * What large archives cost: time, and above all memory, which must not go by their size.
 *
 *     npm run bench:archives -- [--gigabytes N] [--directory DIR]
 *
 * Makes an image of N GB (5) of bytes that do not compress, saves it in each form and loads it again. Needs some six times as much disk.
 */
import { randomFillSync } from 'node:crypto'
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { windlassProgram } from '../test/testbed/windlass.ts'
import { type Cost, measure } from './measure.ts'

const gigabyte = 1e9
const pieceSize = 1e7
const name = 'bench.example/large:1'

const { values } = parseArgs({
  options: { gigabytes: { type: 'string', default: '5' }, directory: { type: 'string' } },
})
const gigabytes = Number(values.gigabytes)
if (!(gigabytes > 0)) throw new Error(`Cannot measure ${values.gigabytes} GB: wanted a number above 0`)
const directory = await mkdtemp(join(values.directory ?? tmpdir(), 'windlass-bench-archives-'))
const home = join(directory, 'home')
const file = join(directory, 'large.tar')

async function windlass(root: string, ...args: string[]): Promise<Cost> {
  return await measure({ program: windlassProgram, args: ['--root', root, '-q', ...args] }, directory)
}

async function makeFiles(): Promise<string> {
  const files = join(directory, 'files')
  await mkdir(files)
  const piece = Buffer.alloc(pieceSize)
  for (let left = gigabytes * gigabyte, at = 0; left > 0; left -= gigabyte, at++) {
    await using handle = await open(join(files, `part-${at}`), 'w')
    for (let written = 0; written < Math.min(left, gigabyte); written += pieceSize)
      await handle.write(randomFillSync(piece))
  }
  return files
}

function tell(what: string, { wallMs, cpuMs, memoryMax }: Cost): void {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`
  console.log(`| ${what} | ${seconds(wallMs)} | ${seconds(cpuMs)} | ${Math.round(memoryMax / 2 ** 20)} MiB |`)
}

/** Into a store of its own, which goes again. */
async function load(what: string, ...args: string[]): Promise<void> {
  const root = join(directory, 'there')
  tell(what, await windlass(root, 'load', ...args))
  await rm(root, { recursive: true })
}

async function loadPacked(): Promise<void> {
  const root = join(directory, 'there')
  const script = 'zstd -1 -c "$1" | "$2" --root "$3" -q load'
  const args = ['-c', script, 'sh', file, windlassProgram, root]
  tell('load from a pipe, packed by zstd (its memory included)', await measure({ program: 'sh', args }, directory))
  await rm(root, { recursive: true })
}

try {
  const files = await makeFiles()
  console.log(`| ${gigabytes} GB | wall | CPU | peak memory |\n|---|---|---|---|`)
  tell('pack --compress none', await windlass(home, 'pack', '--compress', 'none', files, name))
  await rm(files, { recursive: true })
  tell('save', await windlass(home, 'save', '-o', file, name))
  await load('load', '-i', file)
  await loadPacked()
  tell(
    'save --format oci-archive --checksum',
    await windlass(home, 'save', '--format', 'oci-archive', '--checksum', '-o', file, name),
  )
  await load('load, checked by its checksum', '-i', file)
  await rm(file)
  tell('save --split 1G', await windlass(home, 'save', '--split', '1G', '-o', file, name))
  await load('load of the parts', '-i', file)
} finally {
  await rm(directory, { recursive: true, force: true })
}
