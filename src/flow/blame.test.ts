import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BlameLimits, blame, defaultBlameLimits, type Verdict, type VerdictKind } from './blame.ts'
import type { KernelFacts, PipelineSample, StageFacts, StageKind } from './stage.ts'

const everyMs = 250
const ringBytes = 2 * 1024 * 1024
/** What the unpack thread may need at once. */
const unpackNeeds = ringBytes / 2
const order: readonly StageKind[] = ['source', 'spool', 'decompress', 'unpack', 'sync', 'commit']

type Facts = Partial<Omit<StageFacts, 'name' | 'kind'>>
/** What differs from a stage that has nothing to do, for each stage, at a time. */
type Scene = (ms: number) => { readonly [name: string]: Facts }

/** Samples from 0 to `ms`, one every 250 ms. */
function film(ms: number, scene: Scene, names: readonly string[] = order): PipelineSample[] {
  const samples: PipelineSample[] = []
  for (let timeMs = 0; timeMs <= ms; timeMs += everyMs) samples.push(still(timeMs, scene, names))
  return samples
}

function still(timeMs: number, scene: Scene, names: readonly string[]): PipelineSample {
  const facts = scene(timeMs)
  const stages = names.map(name => {
    const kind = order.find(known => name === known || name.startsWith(`${known} `)) ?? 'process'
    return { name, kind, bytesIn: 0, bytesOut: 0, units: 0, waits: 'nobody', ...facts[name] } as StageFacts
  })
  return { timeMs, stages }
}

const input: Facts = { waits: 'input' }
const output: Facts = { waits: 'output' }
const itself: Facts = { waits: 'itself' }

/** Bytes that flow at a rate, in and out. */
function flowing(ms: number, bytesPerSecond: number, waits: StageFacts['waits'] = 'input'): Facts {
  const bytes = Math.floor((ms * bytesPerSecond) / 1000)
  return { bytesIn: bytes, bytesOut: bytes, waits }
}

function task(state: string, more: Partial<KernelFacts> = {}): KernelFacts {
  return { state, ...more }
}

/** An external decompressor between two pipes: it does not say what it waits for. */
function between(inputBytes: number, outputRoom: number, more: Facts = {}): Facts {
  return { waits: undefined, inputBytes, outputRoom, ...more }
}

/** The unpack thread behind its ring. */
function unpacking(inputBytes: number, more: Facts = {}): Facts {
  return { waits: undefined, inputBytes, inputNeeded: unpackNeeds, item: 'usr/bin/tool', ...more }
}

interface Row {
  readonly name: string
  readonly ms: number
  readonly scene: Scene
  /** Guilty stage and kind; undefined: nobody. */
  readonly wanted?: readonly [stage: string | undefined, kind: VerdictKind, confidence?: Verdict['confidence']]
  readonly names?: readonly string[]
  readonly limits?: Partial<BlameLimits>
}

const upstreamBlocked = { source: output, spool: output }
const downstreamStarved = { unpack: { ...unpacking(0), waits: 'input' as const } }

const rows: readonly Row[] = [
  // Guilty decompressors
  {
    name: 'a decompressor that stands still with input and room, while the network waits for it and the unpack starves',
    ms: 10_000,
    scene: () => ({ ...upstreamBlocked, decompress: between(65536, 1e6), ...downstreamStarved }),
    wanted: ['decompress', 'stuck-decompressor', 'certain'],
  },
  {
    name: 'a decompressor that spins from 300 kB on: its processor time moves, nothing else does',
    ms: 12_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: between(65536, 1e6, { bytesIn: 3e5, bytesOut: 9e5, task: task('R', { cpuTicks: ms / 10 }) }),
      ...downstreamStarved,
    }),
    wanted: ['decompress', 'stuck-decompressor', 'certain'],
  },
  {
    name: 'a decompressor that stopped reading, seen only by what its neighbours wait for',
    ms: 10_000,
    scene: () => ({ ...upstreamBlocked, decompress: { waits: undefined }, unpack: input }),
    wanted: ['decompress', 'stuck-decompressor', 'likely'],
  },
  {
    name: 'a decompressor that got all its input and never ends: a child of it keeps the pipe open',
    ms: 10_000,
    scene: () => ({ decompress: between(0, 1e6, { inputEnded: true }), ...downstreamStarved }),
    wanted: ['decompress', 'stuck-decompressor', 'certain'],
  },
  {
    name: 'a decompressor in process that does not come back from its work',
    ms: 10_000,
    scene: () => ({ ...upstreamBlocked, decompress: itself, ...downstreamStarved }),
    wanted: ['decompress', 'stuck-decompressor', 'certain'],
  },
  {
    name: 'a decompressor in process that has got no thread for a while, since a disk holds them all',
    ms: 29_000,
    scene: () => ({ ...upstreamBlocked, decompress: { ...itself, task: task('D') }, ...downstreamStarved }),
  },
  {
    name: 'a decompressor in process that gets no thread, since a disk holds them all',
    ms: 30_000,
    scene: () => ({ ...upstreamBlocked, decompress: { ...itself, task: task('D') }, ...downstreamStarved }),
    wanted: ['decompress', 'disk-wait'],
  },
  {
    name: 'a decompressor stopped by a signal',
    ms: 10_000,
    scene: () => ({ ...upstreamBlocked, decompress: between(65536, 1e6, { task: task('T') }), ...downstreamStarved }),
    wanted: ['decompress', 'stopped', 'certain'],
  },
  {
    name: 'a decompressor that stood still before somebody stopped it',
    ms: 10_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: between(65536, 1e6, { task: task(ms < 8_000 ? 'S' : 'T') }),
      ...downstreamStarved,
    }),
    wanted: ['decompress', 'stuck-decompressor', 'certain'],
  },
  {
    name: 'a decompressor that a debugger holds',
    ms: 10_000,
    scene: () => ({ ...upstreamBlocked, decompress: between(65536, 1e6, { task: task('t') }), ...downstreamStarved }),
    wanted: ['decompress', 'stopped'],
  },
  {
    name: 'a decompressor that dribbles a byte per second',
    ms: 25_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: between(65536, 1e6, { bytesIn: 65536, bytesOut: Math.floor(ms / 1000) }),
      ...downstreamStarved,
    }),
    wanted: ['decompress', 'dribbling-decompressor', 'likely'],
  },
  {
    name: 'a decompressor that floods stderr instead: bytes that the kernel counts are not its output',
    ms: 10_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: between(65536, 1e6, { task: task('S', { ioBytes: ms * 1000 }) }),
      ...downstreamStarved,
    }),
    wanted: ['decompress', 'stuck-decompressor'],
  },
  {
    name: 'a decompressor that cannot be reached in the kernel is the kernel’s fault',
    ms: 30_000,
    scene: () => ({ ...upstreamBlocked, decompress: between(65536, 1e6, { task: task('D') }), ...downstreamStarved }),
    wanted: ['decompress', 'disk-wait'],
  },
  // Guilty sources
  {
    name: 'a silent network with everything behind it run dry',
    ms: 15_000,
    scene: () => ({ source: input, spool: input, decompress: input, ...downstreamStarved }),
    wanted: ['source', 'silent-source', 'certain'],
  },
  {
    name: 'a silent network before an external decompressor that waits for its pipe',
    ms: 15_000,
    scene: () => ({ source: input, spool: input, decompress: between(0, 1e6), ...downstreamStarved }),
    wanted: ['source', 'silent-source', 'certain'],
  },
  {
    name: 'a silent network in the middle of a file: the unpack thread has less than the piece that it waits for',
    ms: 15_000,
    scene: () => ({ source: input, spool: input, decompress: input, unpack: unpacking(300_000) }),
    wanted: ['source', 'silent-source', 'certain'],
  },
  {
    name: 'a silent network while a stopped decompressor has nothing to do anyway',
    ms: 15_000,
    scene: () => ({
      source: input,
      spool: input,
      decompress: between(0, 1e6, { task: task('T') }),
      ...downstreamStarved,
    }),
    wanted: ['source', 'silent-source', 'certain'],
  },
  {
    name: 'a network that trickles 100 bytes per second',
    ms: 31_000,
    scene: ms => ({
      source: flowing(ms, 100),
      spool: flowing(ms, 100),
      decompress: flowing(ms, 100),
      ...downstreamStarved,
    }),
    wanted: ['source', 'trickling-source', 'likely'],
  },
  {
    name: 'a source that tells nothing but that it has room',
    ms: 15_000,
    scene: () => ({ source: { waits: undefined, outputRoom: 65536 }, decompress: input }),
    wanted: ['source', 'silent-source'],
  },
  // Guilty disks
  {
    name: 'an unpack thread in D on one entry, with the ring full and the network waiting',
    ms: 30_000,
    scene: () => ({
      ...upstreamBlocked,
      decompress: output,
      unpack: unpacking(ringBytes, { task: task('D', { wchan: 'jbd2_log_wait_commit', syscall: 'openat' }) }),
    }),
    wanted: ['unpack', 'disk-wait', 'certain'],
  },
  {
    name: 'an unpack thread in D that has emptied its ring before: the network is busy elsewhere',
    ms: 30_000,
    scene: () => ({ source: { waits: 'nobody' }, decompress: input, unpack: unpacking(0, { task: task('D') }) }),
    wanted: ['unpack', 'disk-wait', 'certain'],
  },
  {
    name: 'a frozen filesystem: the unpack thread, the spool and the sync all sleep; the sink is named',
    ms: 30_000,
    scene: () => ({
      source: output,
      spool: { waits: 'itself', task: task('D') },
      decompress: input,
      unpack: unpacking(0, { task: task('D', { wchan: 'percpu_rwsem_wait' }) }),
    }),
    wanted: ['unpack', 'disk-wait', 'certain'],
  },
  {
    name: 'a call of the unpack thread that does not return, in a sleep that signals could reach',
    ms: 30_000,
    scene: () => ({ ...upstreamBlocked, decompress: output, unpack: unpacking(ringBytes, { task: task('S') }) }),
    wanted: ['unpack', 'stuck-entry', 'certain'],
  },
  {
    name: 'an unpack thread that spins on one entry',
    ms: 30_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: output,
      unpack: unpacking(ringBytes, { task: task('R', { cpuTicks: ms / 10 }) }),
    }),
    wanted: ['unpack', 'stuck-entry', 'certain'],
  },
  {
    name: 'an unpack thread that never ends after the last entry',
    ms: 30_000,
    scene: () => ({ unpack: unpacking(0, { inputEnded: true, item: '' }) }),
    wanted: ['unpack', 'stuck-entry', 'certain'],
  },
  {
    name: 'a sync that does not return',
    ms: 30_000,
    scene: () => ({ sync: itself, commit: input }),
    wanted: ['sync', 'stuck-sync', 'certain'],
  },
  {
    name: 'a sync that sleeps in the kernel',
    ms: 30_000,
    scene: () => ({ sync: { waits: 'itself', task: task('D', { syscall: 'syncfs' }) } }),
    wanted: ['sync', 'disk-wait', 'certain'],
  },
  {
    name: 'a partial that cannot be written',
    ms: 30_000,
    scene: () => ({ source: output, spool: itself, decompress: input, ...downstreamStarved }),
    wanted: ['spool', 'stuck-spool', 'certain'],
  },
  {
    name: 'a rename that does not return',
    ms: 30_000,
    scene: () => ({ commit: itself }),
    wanted: ['commit', 'stuck-commit', 'certain'],
  },
  {
    name: 'a foreign process that does not read what is there',
    ms: 30_000,
    names: ['daemon', 'decompress', 'docker-untar'],
    scene: () => ({ daemon: output, decompress: output, 'docker-untar': between(65536, 0, { outputRoom: undefined }) }),
    wanted: ['docker-untar', 'stuck-process', 'certain'],
  },
  // Nobody is guilty
  {
    name: 'just below each limit',
    ms: 9_750,
    scene: () => ({ ...upstreamBlocked, decompress: between(65536, 1e6), ...downstreamStarved }),
  },
  {
    name: 'a network that is silent for almost as long as it may',
    ms: 14_750,
    scene: () => ({ source: input, decompress: input, ...downstreamStarved }),
  },
  {
    name: 'an entry that takes almost as long as it may',
    ms: 29_750,
    scene: () => ({ ...upstreamBlocked, decompress: output, unpack: unpacking(ringBytes, { task: task('D') }) }),
  },
  {
    name: 'a slow disk that moves one entry in 20 s, for minutes, with everything full before it',
    ms: 300_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: between(65536, 0),
      unpack: unpacking(ringBytes, { units: Math.floor(ms / 20_000), task: task('D') }),
    }),
  },
  {
    name: 'a slow disk that writes one large entry: the kernel counts its bytes before the ring shows them',
    ms: 300_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: output,
      unpack: unpacking(ringBytes, { task: task('D', { ioBytes: Math.floor(ms / 5000) * 4096 }) }),
    }),
  },
  {
    name: 'a slow registry of 2 KB/s before a decompressor that waits for its 32 KiB',
    ms: 120_000,
    scene: ms => ({
      source: flowing(ms, 2048),
      spool: flowing(ms, 2048),
      decompress: { ...input, bytesIn: Math.floor((ms * 2) / 32768) * 32768, inputBytes: (ms * 2) % 32768 },
      ...downstreamStarved,
    }),
  },
  {
    name: 'a network that trickles below the wanted speed while the disk is what it waits for most of the time',
    ms: 120_000,
    scene: ms => ({
      source: flowing(ms, 100, ms % 2000 < 1500 ? 'output' : 'input'),
      unpack: flowing(ms, 100, 'itself'),
    }),
  },
  {
    name: 'a trickle that is accepted by who turned the limit off',
    ms: 120_000,
    limits: { sourceBytesPerSecondMin: 0 },
    scene: ms => ({ source: flowing(ms, 1), decompress: input }),
  },
  {
    name: 'a decompressor whose output nobody takes',
    ms: 29_000,
    scene: () => ({
      ...upstreamBlocked,
      decompress: between(65536, 0, { task: task('S') }),
      unpack: unpacking(ringBytes),
    }),
  },
  {
    name: 'a decompressor whose output pipe has room only in its last page',
    ms: 29_000,
    scene: () => ({
      ...upstreamBlocked,
      decompress: between(65536, 100, { outputNeeded: 4096 }),
      unpack: unpacking(ringBytes),
    }),
  },
  {
    name: 'a source that starts to count anew',
    ms: 32_000,
    scene: ms => ({ source: flowing(ms % 20_000, 5_000), decompress: flowing(ms, 5_000) }),
  },
  {
    name: 'a decompressor that moves a little at a time because little comes in',
    ms: 120_000,
    scene: ms => ({ source: flowing(ms, 3000), decompress: flowing(ms, 3000), ...downstreamStarved }),
  },
  {
    name: 'a source that pauses before another attempt, for a minute',
    ms: 60_000,
    scene: () => ({ source: itself, spool: input, decompress: input, ...downstreamStarved }),
  },
  {
    name: 'a source that asks again every 10 s: another request is a movement',
    ms: 120_000,
    scene: ms => ({ source: { waits: 'input', units: Math.floor(ms / 10_000) }, decompress: input }),
  },
  {
    name: 'a layer that waits for the one below it',
    ms: 600_000,
    scene: () => ({ commit: input }),
  },
  {
    name: 'a pipeline that has not begun, or is done',
    ms: 600_000,
    scene: () => ({}),
  },
  {
    name: 'the start: a decompressor whose first input has just come',
    ms: 20_000,
    scene: ms =>
      ms < 12_000 ? { source: itself, decompress: input } : { source: output, decompress: between(65536, 1e6) },
  },
  {
    name: 'a decompressor that recovered a moment ago',
    ms: 20_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: between(65536, 1e6, { bytesOut: ms < 19_000 ? 0 : ms * 1000 }),
      ...downstreamStarved,
    }),
  },
  {
    name: 'a decompressor that was free twice for 6 s, and blocked in between',
    ms: 13_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: between(65536, ms > 6000 && ms < 7000 ? 0 : 1e6),
      ...downstreamStarved,
    }),
  },
  {
    name: 'a decompressor that was replaced by another one 5 s ago',
    ms: 14_000,
    scene: ms => ({
      ...upstreamBlocked,
      decompress: between(65536, 1e6, { bytesIn: ms < 9000 ? 3e5 : 0 }),
      ...downstreamStarved,
    }),
  },
  {
    name: 'a decompressor in D for as long as a disk may take',
    ms: 29_750,
    scene: () => ({ ...upstreamBlocked, decompress: between(65536, 1e6, { task: task('D') }), ...downstreamStarved }),
  },
  {
    name: 'a network that trickled a minute ago, and again for a moment now',
    ms: 95_000,
    scene: ms => ({
      source: flowing(ms, 100, ms > 25_000 && ms < 85_000 ? 'output' : 'input'),
      unpack: flowing(ms, 100, 'itself'),
    }),
  },
  // Nobody knows
  {
    name: 'facts of nobody for less than the most patient limit',
    ms: 29_000,
    scene: () => ({ source: { waits: undefined }, decompress: { waits: undefined }, unpack: { waits: undefined } }),
  },
  {
    name: 'facts of nobody, and nothing moves',
    ms: 30_000,
    scene: () => ({ source: { waits: undefined }, decompress: { waits: undefined }, unpack: { waits: undefined } }),
    wanted: [undefined, 'unexplained', 'unknown'],
  },
  {
    name: 'facts of nobody, but something moves',
    ms: 60_000,
    scene: ms => ({
      source: { waits: undefined },
      decompress: { waits: undefined, bytesOut: ms },
      unpack: { waits: undefined },
    }),
  },
  {
    name: 'a sync that does not tell what it waits for, after a stage that waits for room',
    ms: 60_000,
    scene: () => ({ unpack: output, sync: { waits: undefined } }),
    wanted: [undefined, 'unexplained', 'unknown'],
  },
  {
    name: 'a stage that waits for input that nobody owes it',
    ms: 30_000,
    scene: () => ({ decompress: { waits: 'input', inputBytes: 0 }, unpack: unpacking(300_000) }),
    wanted: [undefined, 'unexplained', 'unknown'],
  },
  {
    name: 'a standstill in which a stage has only just become free',
    ms: 31_000,
    scene: ms => ({ ...upstreamBlocked, decompress: between(65536, ms < 25_000 ? 0 : 1e6), ...downstreamStarved }),
  },
  {
    name: 'an unpack thread that sleeps although its ring is full',
    ms: 30_000,
    scene: () => ({ ...upstreamBlocked, decompress: output, unpack: unpacking(ringBytes, { waits: 'input' }) }),
    wanted: ['unpack', 'lost-wakeup', 'likely'],
  },
  {
    name: 'a decompressor of which only the input is known: whether it has room is a guess',
    ms: 29_000,
    scene: () => ({ decompress: { waits: undefined, inputBytes: 65536 }, unpack: { waits: undefined } }),
  },
]

for (const { name, ms, scene, wanted, names, limits } of rows) {
  test(`${wanted === undefined ? 'accuses nobody for' : 'finds'} ${name}`, () => {
    const verdict = blame(film(ms, scene, names), { ...defaultBlameLimits, ...limits })
    if (wanted === undefined) return assert.equal(verdict, undefined)
    const [stage, kind, confidence] = wanted
    assert.deepEqual([verdict?.stage, verdict?.kind], [stage, kind])
    if (confidence !== undefined) assert.equal(verdict?.confidence, confidence)
    assert.ok(verdict !== undefined && verdict.sinceMs > 0 && verdict.sinceMs <= ms)
    assert.ok(verdict.evidence.length > 0)
    assert.equal(JSON.parse(JSON.stringify(verdict)).kind, kind)
  })
}

test('the evidence gives the numbers, the state of the task, and what the neighbours wait for', () => {
  const scene: Scene = ms => ({
    ...upstreamBlocked,
    decompress: between(65536, 1e6, { item: '/usr/bin/unpigz', task: task('S', { cpuTicks: 3, wchan: 'futex_wait' }) }),
    ...downstreamStarved,
    ...(ms < 0 && { sync: itself }),
  })
  assert.deepEqual(blame(film(12_000, scene))?.evidence, [
    'decompress (/usr/bin/unpigz) has moved nothing for 12.0 s, although it has 65,536 bytes of input and has room for 1,000,000',
    'its task is in state S (asleep), in futex_wait',
    'it used 0.0 s of processor time in the last 12.0 s: it does not compute',
    'spool waits for room',
    'unpack waits for input',
  ])
})

/** Processor time in ticks, seen from the second second on as by a watch that looks closer only then. */
function computing(ticks: (ms: number) => number, state = 'R'): Scene {
  return ms => ({
    ...upstreamBlocked,
    decompress: between(65536, 1e6, ms < 1_000 ? {} : { task: task(state, { cpuTicks: ticks(ms) }) }),
    ...downstreamStarved,
  })
}

test('the evidence of a decompressor that spins says how much processor time it burnt, from where it was looked at', () => {
  const said = (scene: Scene) => blame(film(10_000, scene))?.evidence.find(line => line.includes('processor'))
  assert.equal(said(computing(ms => ms / 10)), 'it used 9.0 s of processor time in the last 9.0 s: it spins')
  // Others want the processor, too.
  const shared = computing(ms => ms / 50)
  assert.equal(said(shared), 'it used 1.8 s of processor time in the last 9.0 s: it spins')
  assert.equal(said(computing(ms => ms / 50, 'S')), 'it used 1.8 s of processor time in the last 9.0 s')
  const late: Scene = ms => ({
    ...computing(() => 5)(ms),
    decompress: between(65536, 1e6, ms < 10_000 ? {} : { task: task('R', { cpuTicks: 5 }) }),
  })
  assert.equal(said(late), undefined)
})

test('the evidence of a disk names the entry, the wait channel and the call', () => {
  const stuck = unpacking(ringBytes, { task: task('D', { wchan: 'nfs_wait_bit_killable', syscall: 'utimensat' }) })
  const verdict = blame(film(31_000, () => ({ decompress: output, unpack: stuck })))
  assert.deepEqual(verdict?.evidence.slice(1), [
    'its task is in state D (asleep in the kernel, out of reach of signals), in nfs_wait_bit_killable, system call utimensat',
    'there it waits for the server of a network filesystem',
    'it works on entry usr/bin/tool',
    'decompress waits for room',
  ])
  assert.equal(verdict?.facts['wchan'], 'nfs_wait_bit_killable')
})

test('the evidence says what sleeps in a well-known place of the kernel', () => {
  const places = {
    percpu_rwsem_wait: /frozen/,
    fanotify_get_response: /security agent/,
    jbd2_log_wait_commit: /journal/,
    nfs_wait_bit_killable: /network filesystem/,
    request_wait_answer: /FUSE/,
    folio_wait_bit_common: /disk/,
  }
  for (const [wchan, wanted] of Object.entries(places)) {
    const unpack = unpacking(ringBytes, { task: task('D', { wchan }) })
    assert.match(blame(film(31_000, () => ({ unpack })))?.evidence.join('; ') ?? '', wanted)
  }
})

test('the evidence of a silent source names the host and the last thing it did', () => {
  const source: Facts = { waits: 'input', item: 'registry.example:5000', last: 'answered 206 to bytes 1048576-' }
  const verdict = blame(film(15_000, () => ({ source, decompress: input })))
  assert.deepEqual(verdict?.evidence, [
    'source (registry.example:5000) has moved nothing for 15.0 s, although it is asked for more',
    'the last thing it did: answered 206 to bytes 1048576-',
  ])
})

const stuckScene: Scene = () => ({ ...upstreamBlocked, decompress: between(65536, 1e6), ...downstreamStarved })

test('an event loop that was held up for a minute accuses nobody', () => {
  const before = film(2_000, stuckScene)
  const after = film(2_000, stuckScene).map(sample => ({ ...sample, timeMs: sample.timeMs + 62_000 }))
  assert.equal(blame([...before, ...after]), undefined)
})

test('an event loop that is held up all the time still finds the guilty one, later', () => {
  const samples = film(250 * 41, stuckScene).map((sample, at) => ({ ...sample, timeMs: at * 3_000 }))
  assert.equal(blame(samples.slice(0, 30)), undefined)
  assert.equal(blame(samples)?.kind, 'stuck-decompressor')
})

test('a clock that jumps back accuses nobody, and does not hide the guilty one', () => {
  const before = film(5_000, stuckScene)
  const after = film(5_000, stuckScene)
  assert.equal(blame([...before, ...after].slice(0, -1)), undefined)
  assert.equal(blame([...before, ...after])?.sinceMs, 10_000)
})

test('no sample, one sample and no stage accuse nobody', () => {
  assert.equal(blame([]), undefined)
  assert.equal(blame(film(0, stuckScene)), undefined)
  assert.equal(
    blame([
      { timeMs: 0, stages: [] },
      { timeMs: 60_000, stages: [] },
    ]),
    undefined,
  )
})

test('a stage that comes in among the others does not confuse who is who', () => {
  const early = film(5_000, stuckScene, ['source', 'decompress', 'unpack'])
  const late = film(5_000, stuckScene).map(sample => ({ ...sample, timeMs: sample.timeMs + 5_000 }))
  const verdict = blame([...early, ...late])
  assert.deepEqual([verdict?.stage, verdict?.sinceMs], ['decompress', 10_000])
})

const anyFacts = fc.record({
  bytesIn: fc.nat(2),
  bytesOut: fc.nat(2),
  units: fc.nat(1),
  waits: fc.constantFrom('input', 'output', 'itself', 'nobody', undefined),
  inputBytes: fc.constantFrom(0, 1, 65536, undefined),
  outputRoom: fc.constantFrom(0, 1, 65536, undefined),
  inputEnded: fc.constantFrom(false, true, undefined),
  task: fc.constantFrom(undefined, task('S'), task('R'), task('D'), task('T')),
})

/** Longer spells than single samples, so that stretches arise. */
const anySpells = fc.array(
  fc.record({ samples: fc.integer({ min: 1, max: 90 }), facts: fc.tuple(...order.map(() => anyFacts)) }),
  { minLength: 1, maxLength: 5 },
)

function unroll(spells: readonly { readonly samples: number; readonly facts: readonly Facts[] }[]): PipelineSample[] {
  return spells
    .flatMap(({ samples, facts }) => Array.from({ length: samples }, () => facts))
    .map((facts, at) => {
      const stages = order.map((kind, index) => ({ ...facts[index], name: kind, kind }) as StageFacts)
      return { timeMs: at * 500, stages }
    })
}

/** What no accusation may be made of, said anew and not as `blame` says it. */
function cannotMove({ kind, waits, inputBytes, inputEnded, outputRoom, task }: StageFacts): boolean {
  if (waits === 'nobody' || waits === 'output' || outputRoom === 0) return true
  if (kind === 'source') return waits === 'itself'
  if (task?.state === 'D') return false
  return waits === 'input' || (waits === undefined && inputBytes === 0 && inputEnded !== true)
}

test('whatever the samples are, nobody is accused who could not move, or moved', () => {
  fc.assert(
    fc.property(anySpells, spells => {
      const history = unroll(spells)
      const verdict = blame(history)
      if (verdict === undefined || verdict.stage === undefined || verdict.kind === 'lost-wakeup') return
      const series = history.map(({ stages }) => stages.find(({ name }) => name === verdict.stage) as StageFacts)
      const latest = series.at(-1) as StageFacts
      assert.ok(!cannotMove(latest), JSON.stringify(latest))
      if (verdict.kind.startsWith('trickling') || verdict.kind.startsWith('dribbling')) return
      const stretch = series.slice(-1 - verdict.sinceMs / 500)
      for (const facts of stretch) {
        assert.ok(!cannotMove(facts))
        assert.deepEqual([facts.bytesIn, facts.bytesOut, facts.units], [latest.bytesIn, latest.bytesOut, latest.units])
      }
    }),
    { numRuns: 2000 },
  )
})

test('larger buffers and counters change no verdict', () => {
  fc.assert(
    fc.property(anySpells, fc.integer({ min: 2, max: 1e6 }), (spells, factor) => {
      const history = unroll(spells)
      const limits = { ...defaultBlameLimits, sourceBytesPerSecondMin: 0, decompressorBytesPerSecondMin: 0 }
      const scale = (value: number | undefined) => (value === undefined ? undefined : value * factor)
      const scaled = history.map(({ timeMs, stages }) => ({
        timeMs,
        stages: stages.map(stage => ({
          ...stage,
          bytesIn: stage.bytesIn * factor,
          bytesOut: stage.bytesOut * factor,
          inputBytes: scale(stage.inputBytes),
          outputRoom: scale(stage.outputRoom),
        })),
      }))
      const before = blame(history, limits)
      const after = blame(scaled, limits)
      assert.deepEqual([after?.stage, after?.kind, after?.sinceMs], [before?.stage, before?.kind, before?.sinceMs])
    }),
    { numRuns: 500 },
  )
})
