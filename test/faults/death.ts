/** What must be true of a store whatever took the process that was at work in it. */
import assert from 'node:assert/strict'
import { createHash, randomInt } from 'node:crypto'
import { join } from 'node:path'
import { pull } from '../../src/copy/pull.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { Store } from '../../src/places/store/store.ts'
import { digestOf } from '../servers/push.ts'
import { run } from '../testbed/command.ts'
import type { Facts, Tree } from '../tree.ts'
import { assertSound, assertTidy, listNames, readLayers } from './aftermath.ts'
import { type MadeLayer, makeDirectory, makeFile, makeLayer, makeNoise, type ServedImage, serveImage } from './image.ts'

/** The main program as a process of its own, without a shell in front of it: what a signal or a tracer is to reach. */
export function windlassCommand(...args: string[]): string[] {
  return [process.execPath, '--max-semi-space-size=1', join(import.meta.dirname, '../../src/cli/main.ts'), ...args]
}

/** One thread for all asynchronous calls, so that the same run makes its calls in the same order; no home, so that no code is cached. */
export const steadyEnvironment = { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '1', DOCKER_CONFIG: '/nonexistent' }

/** Of everything a layer can have: bytes that come in many pieces, directories that nothing describes, a whiteout. */
export const deathLayers = [
  makeNoise('noise', 3 << 20),
  makeLayer([makeDirectory('etc/'), makeFile('etc/motd', 'hello'), makeFile('etc/issue', 'gone soon')]),
  makeLayer([makeFile('etc/.wh.issue'), makeFile('var/lib/implied', 'here')]),
]

/** Runs sample every step, or with WINDLASS_LONG=1 take each. */
export const isLong = process.env['WINDLASS_LONG'] === '1'

/** From WINDLASS_SEED, or another one for each run; whoever draws from it tells it. */
export const seed = Number(process.env['WINDLASS_SEED'] ?? randomInt(2 ** 32))

/** Numbers from 0 to 1 that follow from the seed and the name of what they are for. */
export function openRandom(name: string): () => number {
  let count = 0
  return () => createHash('sha256').update(`${seed} ${name} ${count++}`).digest().readUInt32LE() / 2 ** 32
}

/** Leftovers there may be; nothing that the store says is wrong. */
export async function assertNothingWrong(store: Store): Promise<void> {
  const findings = await Array.fromAsync(store.verify({ signal: AbortSignal.timeout(60_000) }))
  assert.deepEqual(
    findings.filter(({ kind }) => kind !== 'orphan'),
    [],
  )
}

/** What lies in the store after a death, as the next process finds it. */
async function readRemains(root: string, image: ServedImage): Promise<{ whole: boolean; bytes: number }[]> {
  const signal = AbortSignal.timeout(60_000)
  await using store = await Store.open(root, { signal })
  await assertNothingWrong(store)
  await using session = await store.openSession()
  return image.layers.map(({ blob }) => ({
    whole: session.findBlob(digestOf(blob)) !== undefined,
    bytes: session.bytesHere(digestOf(blob)),
  }))
}

/** A pull in this process, whose clean-up is not cut short. */
export async function pullHere(root: string, reference: string): Promise<void> {
  await pull(reference, { root, platform: 'linux/amd64', credentials: noCredentials }).result
}

export interface Recovery {
  /** What the layers hold; compared if given. */
  readonly expected?: readonly Tree[]
  /** Whether what lies in a partial is what was written: true if only the process died, and not the machine. */
  readonly isPartialRight?: boolean
}

/**
 * Nothing that the store says is wrong. The next pull completes the image, asks for nothing that was verified and for the rest only of what was begun; and
 * then nothing is left that nobody needs.
 */
export async function assertRecovers(root: string, image: ServedImage, recovery: Recovery = {}): Promise<void> {
  const { expected, isPartialRight = true } = recovery
  const remains = await readRemains(root, image)
  const asked = image.starts.map(starts => starts.length)
  await pullHere(root, image.reference)
  for (const [at, { whole, bytes }] of remains.entries()) {
    const starts = image.starts[at]?.slice(asked[at]) ?? []
    if (whole) assert.deepEqual(starts, [], `layer ${at} was verified, and was fetched again`)
    else if (isPartialRight) {
      const size = image.layers[at]?.blob.length
      assert.deepEqual(starts, bytes === size ? [] : [bytes], `layer ${at} was begun, and was not gone on with`)
    }
  }
  await collect(root)
  await assertSound(root, 1)
  assertTidy(root, join(root, 'ingest'))
  assert.deepEqual(listNames(join(root, 'partial')), [])
  assert.equal(listNames(join(root, 'blobs', 'sha256')).length, image.layers.length + 2)
  assert.equal(listNames(join(root, 'overlay2')).length, image.layers.length + 1)
  assert.equal(listNames(join(root, 'overlay2', 'l')).length, image.layers.length)
  if (expected !== undefined) assert.deepEqual(await readContent(root), expected)
}

/** What the layers hold, without the times of what no entry describes. */
export async function readContent(root: string): Promise<Tree[]> {
  const timeless = ([path, facts]: [string, Facts]) => [path, { ...facts, mtime: '' }] as const
  return (await readLayers(root)).map(tree => new Map([...tree].map(timeless)))
}

/** Two images that stand on one layer: the first to be removed, the other to stay. */
export async function servePair(): Promise<ServedImage> {
  const [base, own, other] = deathLayers as [MadeLayer, MadeLayer, MadeLayer]
  const images = [
    [base, own],
    [base, other],
  ]
  return await serveImage(deathLayers, {}, images)
}

export async function pullByCommand(root: string, references: readonly string[]): Promise<void> {
  const command = windlassCommand('--root', root, 'pull', '--platform', 'linux/amd64', ...references)
  await run(command[0] ?? '', command.slice(1))
}

/**
 * The first image of the pair is there wholly or not at all, and the other one is. Nothing is left that nobody needs, and the first can be pulled again.
 * @returns how many of it are there: 1 or 0
 */
export async function assertRemoved(
  root: string,
  { references: [gone = '', kept = ''] }: ServedImage,
): Promise<number> {
  const names = await cleanUp(root)
  assert.ok(names.includes(kept))
  await assertSound(root, names.length)
  assertTidy(root, join(root, 'ingest'))
  assert.equal(listNames(join(root, 'overlay2', 'l')).length, 1 + names.length)
  assert.equal(listNames(join(root, 'blobs', 'sha256')).length, 1 + 3 * names.length)
  await pullHere(root, gone)
  await assertSound(root, 2)
  return names.length - 1
}

/** What the next process does, and a collection. @returns the names of the images that are there */
async function cleanUp(root: string): Promise<string[]> {
  await using store = await Store.open(root, { signal: AbortSignal.timeout(60_000) })
  await assertNothingWrong(store)
  await store.collectGarbage()
  return store.listImages().flatMap(({ names }) => names)
}

async function collect(root: string): Promise<void> {
  await using store = await Store.open(root, { signal: AbortSignal.timeout(60_000) })
  await store.collectGarbage({ partialIdleMs: 0 })
}
