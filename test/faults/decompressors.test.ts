import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Certificates } from '../../src/codec/external/certificates.ts'
import type { Prober } from '../../src/codec/external/certify.ts'
import { findPrograms } from '../../src/codec/external/programs.ts'
import type { PullEvent } from '../../src/copy/events.ts'
import { tryByteLock } from '../../src/sys/byte-locks.ts'
import { type Fault, plantBroken } from '../broken-decompressors/plant.ts'
import { assertSameTree, type Tree } from '../tree.ts'
import {
  assertNoPartial,
  assertSound,
  assertTidy,
  blobPath,
  killGroups,
  listGroupMembers,
  readLayers,
} from './aftermath.ts'
import { makeDirectory, makeFile, makeLayer, serveImage } from './image.ts'
import { type PullOptions, runPull, startPull } from './pull-process.ts'

/** One layer begins with a file, the other with a directory: a flipped byte hits content here and a header there. */
const layers = [
  makeLayer([
    makeFile('first', Buffer.alloc(1_000_000, 'some text ')),
    makeFile('noise', randomBytes(2_000_000)),
    makeDirectory('./'),
  ]),
  makeLayer([
    makeDirectory('etc/'),
    makeFile('etc/hosts', Buffer.alloc(1_500_000, '127.0.0.1 localhost\n')),
    makeFile('other', randomBytes(1_500_000)),
    makeDirectory('./'),
  ]),
]

/**
 * The decompressor gets three seconds where the command gives it ten. Network and disk would be accused before that: whoever is called
 * guilty although he only waits shows here.
 */
const patience: PullOptions['patience'] = {
  decompressorMs: 3_000,
  blame: { decompressorIdleMs: 1_500, sourceIdleMs: 2_000, diskIdleMs: 2_000, unexplainedMs: 9_000 },
}

const directory = mkdtempSync(join(tmpdir(), 'windlass-decompressors-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let expected: Tree[]
let rows = 0

before(async () => {
  await using image = await serveImage(layers)
  const place = makePlace()
  const { status, text } = await runPull(image.reference, place)
  assert.equal(status, 0, text)
  expected = await readLayers(place.root)
  assert.equal(expected.length, layers.length)
})

function makePlace(): { root: string; temporary: string; programs: string } {
  const base = join(directory, String(rows++))
  const place = { root: join(base, 'store'), temporary: join(base, 'tmp'), programs: join(base, 'bin') }
  for (const path of [place.temporary, place.programs]) mkdirSync(path, { recursive: true })
  return place
}

/** Plants the program as `unpigz`; each start of it adds the number of its process, which is that of its group, to a file. */
async function plant(programs: string, fault: Fault): Promise<{ path: string; groups: () => number[] }> {
  const broken = await plantBroken(programs, fault, 'broken')
  const [path, list] = [join(programs, 'unpigz'), join(programs, 'groups')]
  writeFileSync(path, `#!/bin/sh\necho $$ >>'${list}'\nexec '${broken}' "$@"\n`, { mode: 0o755 })
  const groups = () => (existsSync(list) ? readFileSync(list, 'utf8').trim().split('\n').map(Number) : [])
  return { path, groups }
}

type Event<T extends PullEvent['type']> = Extract<PullEvent, { type: T }>

function eventsOf<T extends PullEvent['type']>(events: readonly PullEvent[], type: T): Event<T>[] {
  return events.filter((event): event is Event<T> => event.type === type)
}

interface Row {
  readonly fault: Fault
  /** What it does, as the name of the test says it. */
  readonly does: string
  /** How the event names it; absent where nothing has to be replaced. */
  readonly kind?: string
  /** What is said of it when it is given up, beside that. */
  readonly evidence?: RegExp
  /** It stands still for so long that the watch must accuse it, and nobody else. */
  readonly stalls?: true
  /** What it gave out is wrong: done again. */
  readonly redone?: true
  /** With the command itself and its own patience. */
  readonly command?: true
}

const table: readonly Row[] = [
  {
    fault: 'spin',
    does: 'spins after 300 kB',
    kind: 'stalled',
    stalls: true,
    evidence: /; it used (?!0\.0)\d\.\d s of processor time in the last \d\.\d s: it spins\)/,
  },
  { fault: 'sleep', does: 'sleeps after 300 kB', kind: 'stalled', stalls: true },
  { fault: 'stop-reading', does: 'never reads', kind: 'stalled', stalls: true },
  { fault: 'ignore-sigterm', does: 'sleeps and ignores SIGTERM', kind: 'stalled', stalls: true },
  { fault: 'stop-itself', does: 'stops itself', kind: 'stalled', stalls: true },
  {
    fault: 'flip-and-sleep',
    does: 'gives a wrong byte and sleeps',
    kind: 'stalled',
    stalls: true,
    redone: true,
  },
  { fault: 'dribble', does: 'dribbles a byte every 50 ms', kind: 'dribbling' },
  {
    fault: 'stop-itself',
    does: 'stops itself, under the command with its own patience,',
    kind: 'stalled',
    command: true,
  },
  {
    fault: 'close-stdout-and-live',
    does: 'closes its output and lives on',
    kind: 'lingering',
    command: true,
  },
  { fault: 'close-stdout-and-exit', does: 'exits 0 early', kind: 'early', command: true },
  { fault: 'flip', does: 'gives a wrong byte and exits 0', redone: true, command: true },
  { fault: 'die-by-signal', does: 'dies by a signal', kind: 'died', command: true },
  {
    fault: 'fail-with-a-child',
    does: 'fails and leaves a child that holds its output',
    kind: 'failed',
    command: true,
  },
  { fault: 'leave-a-child', does: 'leaves a child that holds its output', command: true },
  { fault: 'flood-stderr', does: 'floods stderr', command: true },
]

describe('a pull through a decompressor that', { concurrency: 3 }, () => {
  for (const row of table) {
    test(`${row.does} ends with the right image`, { timeout: 120_000 }, async () => {
      await using image = await serveImage(layers)
      const place = makePlace()
      const { path, groups } = await plant(place.programs, row.fault)
      using _killer = { [Symbol.dispose]: () => killGroups(groups()) }
      const { command } = row
      const options = { ...place, decompressor: 'unpigz', ...(command ? {} : { patience }) }
      const { status, events, text } = await runPull(image.reference, options)
      assert.equal(status, 0, text)
      assertFallback(row, path, events)
      assertBlame(row, events)
      assertFetchedOnce(image.starts)
      assert.ok(groups().length > 0, 'it was never started')
      assert.deepEqual(listGroupMembers(groups()), [])
      assertTidy(place.root, place.temporary)
      assertNoPartial(place.root)
      await assertSound(place.root, 1)
      for (const [at, tree] of (await readLayers(place.root)).entries()) assertSameTree(tree, expected[at] ?? new Map())
    })
  }
})

test('a blob that is lost under its layer comes back through a decompressor that gives wrong bytes', {
  timeout: 120_000,
}, async () => {
  await using image = await serveImage(layers)
  const place = makePlace()
  assert.equal((await runPull(image.reference, place)).status, 0)
  const [blob] = layers.map(layer => blobPath(place.root, layer.blob))
  rmSync(blob ?? '')
  const { path } = await plant(place.programs, 'flip')
  const { status, events, text } = await runPull(image.reference, { ...place, decompressor: 'unpigz' })
  assert.equal(status, 0, text)
  const fallbacks = eventsOf(events, 'fallback').map(({ program, layer, redone }) => ({ program, layer, redone }))
  assert.deepEqual(fallbacks, [{ program: path, layer: 0, redone: true }])
  assertNoPartial(place.root)
  await assertSound(place.root, 1)
})

test('a program that failed is remembered although the pull ends at once', { timeout: 120_000 }, async () => {
  const small = [makeLayer([makeFile('file', randomBytes(400_000))])]
  await using image = await serveImage(small)
  const place = makePlace()
  await assertSound(place.root, 0) // makes the store
  await plant(place.programs, 'flip')
  const [program] = (await findPrograms(place.programs, ['unpigz'])).programs
  assert.ok(program)
  const probe = { verdict: 'certified', problems: [], speedRatio: 2, version: '1', tookMs: 1 } as const
  const prober = { listFiles: () => Promise.resolve([]), probe: () => Promise.resolve(probe) }
  const certificates = await Certificates.read(place.root)
  await certificates.probe(program, prober as unknown as Prober)
  await certificates.write()
  const pull = startPull(image.reference, { ...place, decompressor: 'unpigz' })
  {
    // Another process writes down what it knows, and takes its time.
    using _lock = tryByteLock(join(place.root, 'decompressors.lock'), 0)
    await pull.seen(event => event.type === 'layer' && event.phase === 'done')
    await sleep(500)
  }
  const { status, text } = await pull.ended
  assert.equal(status, 0, text)
  const certificate = await (await Certificates.read(place.root)).find(program)
  assert.match(certificate?.distrusted ?? '', /gave wrong bytes/)
})

/** Each layer whose program failed tells so once for each reason, with the program's path and what it did. */
function assertFallback({ kind, redone, evidence = /./ }: Row, path: string, events: readonly PullEvent[]): void {
  const fallbacks = eventsOf(events, 'fallback')
  assert.ok(fallbacks.every(({ program }) => program === path))
  const kinds = fallbacks.flatMap(({ evidence }) => evidence.filter(fact => fact.startsWith('fault: ')))
  if (kind === undefined) assert.deepEqual(kinds, [])
  else assert.ok(kinds.length > 0 && kinds.every(fact => fact === `fault: ${kind}`), JSON.stringify(fallbacks))
  for (const { message } of fallbacks) assert.match(message, evidence)
  const wrong = fallbacks.filter(event => event.redone)
  // One layer was wrong in its content, the other in a header.
  assert.deepEqual(wrong.map(({ layer }) => layer).sort(), redone ? [0, 1] : [], JSON.stringify(fallbacks))
}

/** What is written down is never asked for again: a second request, for what was on its way when the source was closed, begins farther on. */
function assertFetchedOnce(starts: readonly number[][]): void {
  for (const [first, ...later] of starts) {
    assert.equal(first, 0)
    assert.ok(later.length <= 1 && later.every(start => start > 0), JSON.stringify(starts))
  }
}

function assertBlame({ stalls }: Row, events: readonly PullEvent[]): void {
  const accused = eventsOf(events, 'stall')
  assert.ok(
    accused.every(({ stage }) => stage === 'decompress'),
    JSON.stringify(accused),
  )
  if (stalls) assert.ok(accused.length > 0)
}
