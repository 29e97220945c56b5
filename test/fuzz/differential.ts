import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { compareTrees, readTree } from '../tree.ts'
import { archive, damagedArchive, layer } from './archives.ts'

/**
 * Unpacks archives with windlass, GNU tar and bsdtar, each archive in a root of its own, and compares the trees. Needs root.
 * Where the two tars differ from each other, windlass may side with either; where it refuses, it must say why.
 */

interface Outcome {
  readonly name: string
  /** `same` as at least one of the tars that took it; `alone`: both tars refuse it; `untold`: an error that is not windlass' own. */
  readonly verdict: 'same' | 'refused' | 'strict' | 'alone' | 'differs' | 'untold'
  readonly detail: string
}

interface Ours {
  /** Directories whose owner, mode and time no one entry decides; absent if the archive was refused. */
  readonly vague?: readonly string[]
  readonly refused?: string
  readonly ours?: boolean
}

/** @param deadlineMs for each of the two unpackings as a whole */
async function compareWithTars(
  base: string,
  { archives, layers }: { archives: readonly Buffer[]; layers: readonly Buffer[] },
  deadlineMs: number,
): Promise<Outcome[]> {
  for (const name of ['in', 'in-layers', 'ours', 'layers', 'gnu', 'bsd', 'outside']) mkdirSync(join(base, name))
  writeFileSync(join(base, 'outside', 'file'), 'precious', { mode: 0o600 })
  writeAll(join(base, 'in'), archives)
  writeAll(join(base, 'in-layers'), layers)
  const before = readTree(join(base, 'outside'))
  await Promise.all([
    run(['sh', '-c', 'ulimit -f 20480; exec "$@"', 'sh', process.execPath, extractor, base], deadlineMs),
    run(['unshare', '-m', 'sh', tars, base, ...toolPaths()], deadlineMs),
  ])
  const changes = compareTrees(readTree(join(base, 'outside')), before)
  if (changes.length > 0) throw new Error(`outside was changed: ${changes.join(', ')}`)
  const ours = readOurs(base)
  const theirs = readTars(base)
  return [
    ...archives.map((_, n) => judge(base, nameOf(n), ours, theirs)),
    ...layers.map((_, n) => judgeLayer(nameOf(n), ours)),
  ]
}

const extractor = join(import.meta.dirname, 'extractor.ts')
const tars = join(import.meta.dirname, 'tars.sh')

function nameOf(n: number): string {
  return `${n}`.padStart(6, '0')
}

function writeAll(directory: string, archives: readonly Buffer[]): void {
  for (const [n, bytes] of archives.entries()) writeFileSync(join(directory, nameOf(n)), bytes)
}

/** The dynamic loader, the directories of libraries, and the two tars, all below /usr. */
function toolPaths(): string[] {
  const programs = ['tar', 'bsdtar'].map(program =>
    realpathSync(execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim()),
  )
  const libraries = programs.flatMap(program =>
    [...execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) =>
      realpathSync(path),
    ),
  )
  const loader = libraries.find(path => /\/ld[^/]*\.so[^/]*$/.test(path)) ?? ''
  return [loader, [...new Set(libraries.map(dirname))].join(':'), ...programs]
}

async function run([command = '', ...args]: readonly string[], deadlineMs: number): Promise<void> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  })
  const [status, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (...end) => resolve(end))
  })
  // How far it came is in its log: the last archive there is the one that it hung on or died of.
  if (status !== 0) throw new Error(`${[command, ...args].join(' ')} ended with ${status ?? signal}`)
}

function readOurs(base: string): Map<string, Ours> {
  const lines = readFileSync(join(base, 'ours.log'), 'utf8').trim().split('\n')
  return new Map(
    lines.map(line => {
      const [kind, name] = line.split(' ', 2)
      return [`${kind} ${name}`, JSON.parse(line.slice(line.indexOf('{'))) as Ours]
    }),
  )
}

function readTars(base: string): Map<string, number> {
  const lines = readFileSync(join(base, 'tars.log'), 'utf8').trim().split('\n')
  return new Map(
    lines.map(line => {
      const [tool, name, status] = line.split(' ')
      return [`${tool} ${name}`, Number(status)]
    }),
  )
}

function judgeLayer(name: string, ours: Map<string, Ours>): Outcome {
  const mine = ours.get(`layers ${name}`)
  if (mine?.vague !== undefined) return { name, verdict: 'same', detail: '' }
  return { name, verdict: mine?.ours ? 'refused' : 'untold', detail: mine?.refused ?? 'nothing said' }
}

function judge(base: string, name: string, ours: Map<string, Ours>, theirs: Map<string, number>): Outcome {
  const mine = ours.get(`ours ${name}`)
  const takers = ['gnu', 'bsd'].filter(tool => theirs.get(`${tool} ${name}`) === 0)
  if (mine?.vague === undefined) {
    if (!mine?.ours) return { name, verdict: 'untold', detail: mine?.refused ?? 'nothing said' }
    return { name, verdict: takers.length === 2 ? 'strict' : 'refused', detail: mine.refused ?? '' }
  }
  if (takers.length === 0) return { name, verdict: 'alone', detail: '' }
  const vague = new Set(['.', ...mine.vague])
  const tree = readTree(join(base, 'ours', name))
  const differences = takers.map(tool => {
    const found = compareTrees(tree, readTree(join(base, tool, name)), {
      ignore: (path, fact) => fact === 'sparse' || (vague.has(path) && ['mtime', 'mode', 'uid', 'gid'].includes(fact)),
    })
    return found.length === 0 ? '' : `${tool}: ${found.join(', ')}`
  })
  return { name, verdict: differences.includes('') ? 'same' : 'differs', detail: differences.join(' | ') }
}

/** How many of each verdict: `same 12, refused 3`. */
function countVerdicts(outcomes: readonly Outcome[]): string {
  const counts = new Map<string, number>()
  for (const { verdict } of outcomes) counts.set(verdict, (counts.get(verdict) ?? 0) + 1)
  return [...counts].map(([verdict, count]) => `${verdict} ${count}`).join(', ')
}

/** Generates archives and layers and compares them all. `faults` says what is wrong, one line each. */
export async function fuzzTars(
  base: string,
  { count, seed, deadlineMs }: { count: number; seed: number; deadlineMs: number },
): Promise<{ faults: string[]; whole: Outcome[]; summary: string }> {
  const sample = (arbitrary: fc.Arbitrary<Buffer>): Buffer[] => fc.sample(arbitrary, { numRuns: count, seed })
  const archives = [...sample(archive), ...sample(damagedArchive)]
  const outcomes = await compareWithTars(base, { archives, layers: sample(layer) }, deadlineMs)
  const kinds = ['whole', 'damaged', 'layers'].map(
    (kind, n) => [kind, outcomes.slice(n * count, (n + 1) * count)] as const,
  )
  return {
    faults: outcomes
      .filter(({ verdict }) => verdict === 'differs' || verdict === 'untold')
      .map(({ name, verdict, detail }) => `${name} ${verdict}: ${detail.slice(0, 1000)}`),
    whole: outcomes.slice(0, count),
    summary: kinds.map(([kind, some]) => `${kind}: ${countVerdicts(some)}`).join(' · '),
  }
}
