import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readTask } from '../sys/tasks.ts'
import { type BlameLimits, defaultBlameLimits, type Verdict } from './blame.ts'
import { type PipelineSample, type StageFacts, StageMeter, samplePipeline } from './stage.ts'
import { SampleHistory, watch } from './watch.ts'

type Scene = (ms: number) => Partial<StageFacts>

/** A pipeline of one decompressor, in a time of its own: one look is 250 ms. */
class Film {
  readonly #scene: Scene
  ms = 0
  readonly closer: boolean[] = []

  constructor(scene: Scene) {
    this.#scene = scene
  }

  sample(closer: boolean): PipelineSample {
    this.ms += 250
    this.closer.push(closer)
    const common = {
      name: 'decompress',
      kind: 'decompress',
      bytesIn: 0,
      bytesOut: 0,
      units: 0,
      waits: 'itself',
    } as const
    return { timeMs: this.ms, stages: [{ ...common, ...this.#scene(this.ms) }] }
  }

  async until(ms: number): Promise<void> {
    while (this.ms < ms) await sleep(1)
  }
}

interface Told {
  readonly atMs: number
  readonly what: 'verdict' | 'recovered'
  readonly kind: Verdict['kind']
}

async function play(scene: Scene, ms: number): Promise<{ told: Told[]; film: Film }> {
  const told: Told[] = []
  const film = new Film(scene)
  using _watching = watch(closer => film.sample(closer), {
    signal: new AbortController().signal,
    everyMs: 1,
    onVerdict: ({ kind }) => told.push({ atMs: film.ms, what: 'verdict', kind }),
    onRecovered: ({ kind }) => told.push({ atMs: film.ms, what: 'recovered', kind }),
  })
  await film.until(ms)
  return { told, film }
}

test('a verdict is told once, and once more when the stage stands still again after it moved', async () => {
  const { told } = await play(
    ms => ({ bytesOut: ms > 20_000 && ms < 25_000 ? ms * 1000 : ms <= 20_000 ? 0 : 1 }),
    50_000,
  )
  assert.deepEqual(told, [
    { atMs: 10_250, what: 'verdict', kind: 'stuck-decompressor' },
    { atMs: 20_250, what: 'recovered', kind: 'stuck-decompressor' },
    { atMs: 35_000, what: 'verdict', kind: 'stuck-decompressor' },
  ])
})

test('nothing is told of a stage that moves', async () => {
  const { told, film } = await play(ms => ({ bytesOut: ms * 1000 }), 60_000)
  assert.deepEqual(told, [])
  assert.ok(film.closer.every(closer => !closer))
})

test('dear facts are asked for when something stands still, and no longer when it moves', async () => {
  const { film } = await play(ms => ({ bytesOut: ms > 5_000 ? ms : 0 }), 8_000)
  const [from, to] = [film.closer.indexOf(true), film.closer.lastIndexOf(true)]
  assert.ok(from >= 4 && from <= 6, `${from}`)
  assert.ok(to >= 19 && to <= 21, `${to}`)
})

test('a stage that only gets a little faster than too slow is not told anew, one that really does has recovered', async () => {
  const speed = (ms: number): number => {
    if (ms < 60_000) return ms * 4
    const wavering = 240_000 + (ms - 60_000) * 5
    return ms < 120_000 ? wavering : 540_000 + (ms - 120_000) * 100
  }
  const { told } = await play(ms => ({ bytesOut: Math.floor(speed(ms)) }), 150_000)
  assert.deepEqual(
    told.map(({ what, kind }) => [what, kind]),
    [
      ['verdict', 'dribbling-decompressor'],
      ['recovered', 'dribbling-decompressor'],
    ],
  )
  assert.ok((told[1]?.atMs ?? 0) > 120_000)
})

const shortLimits: BlameLimits = { ...defaultBlameLimits, decompressorIdleMs: 400, gapMaxMs: 100 }

/** The decompressor stands still in real time; the event loop may be held up. */
async function watchReally(work: (told: readonly Verdict[]) => Promise<void>): Promise<Verdict[]> {
  const told: Verdict[] = []
  const stages: StageFacts[] = [
    { name: 'decompress', kind: 'decompress', bytesIn: 0, bytesOut: 0, units: 0, waits: 'itself' },
  ]
  using _watching = watch(() => ({ timeMs: performance.now(), stages }), {
    signal: new AbortController().signal,
    everyMs: 10,
    limits: shortLimits,
    onVerdict: verdict => told.push(verdict),
  })
  await work(told)
  return told
}

test('a stage that stands still is found in real time', async () => {
  const [verdict] = await watchReally(async told => {
    for (let tries = 0; tries < 1_000 && told.length === 0; tries++) await sleep(10)
  })
  assert.equal(verdict?.kind, 'stuck-decompressor')
})

test('a held-up event loop accuses nobody', async () => {
  const told = await watchReally(async () => {
    await sleep(30)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000)
    await sleep(30)
  })
  assert.deepEqual(told, [])
})

test('a program that is stopped between its pipes is found, with the kernel as witness, and recovers when it goes on', async t => {
  const child = spawn('cat', { stdio: ['pipe', 'pipe', 'ignore'] })
  t.after(() => child.kill('SIGKILL'))
  const meter = new StageMeter('decompress', 'cat', closer => {
    const task = closer && child.pid !== undefined ? readTask(child.pid) : undefined
    return { waits: undefined, inputBytes: child.stdin.writableLength, outputRoom: 65536, task }
  })
  child.stdout.on('data', chunk => {
    meter.bytesOut += chunk.length
  })
  child.kill('SIGSTOP')
  child.stdin.write(Buffer.alloc(1024 * 1024))
  const verdict = Promise.withResolvers<Verdict>()
  const recovered = Promise.withResolvers<Verdict>()
  using _watching = watch(closer => samplePipeline([meter], closer), {
    signal: t.signal,
    everyMs: 50,
    limits: { ...defaultBlameLimits, decompressorIdleMs: 2_000 },
    onVerdict: verdict.resolve,
    onRecovered: recovered.resolve,
  })
  const keepAlive = setTimeout(() => {}, 20_000)
  t.after(() => clearTimeout(keepAlive))
  const { stage, kind, evidence } = await verdict.promise
  assert.deepEqual([stage, kind], ['cat', 'stopped'])
  assert.match(evidence.join(), /state T \(stopped by a signal\)/)
  child.kill('SIGCONT')
  assert.equal((await recovered.promise).stage, 'cat')
})

test('an aborted watch takes no more samples, and one aborted before takes none', async () => {
  const film = new Film(() => ({}))
  const controller = new AbortController()
  watch(closer => film.sample(closer), { signal: controller.signal, everyMs: 1, onVerdict: () => {} })
  await film.until(1_000)
  controller.abort()
  const { ms } = film
  watch(closer => film.sample(closer), { signal: controller.signal, everyMs: 1, onVerdict: () => {} })
  await sleep(20)
  assert.equal(film.ms, ms)
})

test('a watch keeps no process alive, and leaves nothing at its signal when it is disposed', async () => {
  const film = new Film(() => ({}))
  const { signal } = new AbortController()
  const before = process.getActiveResourcesInfo().length
  const watching = watch(closer => film.sample(closer), { signal, everyMs: 1, onVerdict: () => {} })
  assert.equal(process.getActiveResourcesInfo().length, before)
  assert.equal(getEventListeners(signal, 'abort').length, 1)
  watching[Symbol.dispose]()
  assert.equal(getEventListeners(signal, 'abort').length, 0)
  await sleep(10)
  assert.equal(film.ms, 0)
})

test('the history of an hour is bounded, fine at its end, never farther apart than a gap, and reaches ten minutes back', () => {
  const history = new SampleHistory()
  for (let timeMs = 0; timeMs <= 3_600_000; timeMs += 250) history.push({ timeMs, stages: [] })
  const times = history.samples.map(({ timeMs }) => timeMs)
  assert.ok(times.length <= 841, `${times.length}`)
  assert.deepEqual(
    times.slice(-241),
    Array.from({ length: 241 }, (_, at) => 3_540_000 + at * 250),
  )
  const first = times[0] ?? 0
  assert.ok(first >= 3_000_000 && first <= 3_001_000)
  assert.ok(times.every((time, at) => at === 0 || time - (times[at - 1] ?? 0) <= 1_000))
})

test('how long it has been so is told beyond the fine time', () => {
  const history = new SampleHistory()
  for (let timeMs = 0; timeMs <= 300_000; timeMs += 250) history.push({ timeMs, stages: [] })
  const [first, last] = [history.samples[0], history.samples.at(-1)]
  assert.deepEqual([first?.timeMs, last?.timeMs], [0, 300_000])
})
