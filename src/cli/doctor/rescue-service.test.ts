import assert from 'node:assert/strict'
import { once } from 'node:events'
import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { TestDirectory } from '../../../test/unpack-tar.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import type { Context } from '../command.ts'
import { RescueLimits } from './rescue-limits.ts'
import { forgetGone, formatMetrics, serveRescues, untilStill, writeMetrics } from './rescue-service.ts'
import { sweepTries, triesName } from './sweep-tries.ts'

const minute = 60_000

/** Which of these moments a try was allowed at, each for the process that `keyOf` gives; the host's own clock stands still meanwhile. */
async function triedAt(moments: readonly number[], keyOf: (now: number) => string): Promise<number[]> {
  const host = new FixtureHost({})
  const limits = new RescueLimits(host)
  const tried: number[] = []
  for (const moment of moments) {
    await host.pause(moment - host.elapsed())
    if (!limits.mayTry(keyOf(moment))) continue
    limits.tried(keyOf(moment))
    tried.push(moment)
  }
  return tried
}

test('one process is tried three times at most, ten minutes apart', async () => {
  const minutes = Array.from({ length: 120 }, (_, at) => at * minute)
  assert.deepEqual(await triedAt(minutes, () => '1@1'), [0, 10 * minute, 20 * minute])
})

test('a try that came to nothing for a reason that is gone does not count, and why there is none is told', async () => {
  const host = new FixtureHost({})
  const limits = new RescueLimits(host)
  limits.forgive('1@1') // it was not tried
  limits.tried('1@1')
  assert.match(limits.whyNot('1@1') ?? '', /less than 10 minutes ago/)
  limits.forgive('1@1')
  assert.equal(limits.whyNot('1@1'), undefined)
  for (let tries = 0; tries < 3; tries++) limits.tried('1@1')
  assert.match(limits.whyNot('1@1') ?? '', /3 times/)
  for (let other = 0; other < 27; other++) limits.tried(`${other}@2`)
  assert.match(limits.whyNot('1@3') ?? '', /30 were tried within an hour/)
  limits.forgive('1@2')
  assert.equal(limits.whyNot('1@3'), undefined)
})

test('a try that is no longer counted takes none from the count when it is forgiven', async () => {
  const host = new FixtureHost({})
  const limits = new RescueLimits(host)
  limits.tried('1@1')
  await host.pause(61 * minute)
  for (let other = 0; other < 30; other++) limits.tried(`${other}@2`)
  assert.match(limits.whyNot('1@3') ?? '', /30 were tried within an hour/)
  limits.forgive('1@1')
  assert.match(limits.whyNot('1@3') ?? '', /30 were tried within an hour/)
})

test('tries count also for the process that systemd starts in the place of one that a try has ended', async () => {
  using directory = new TestDirectory()
  const path = join(directory.path, 'not/there/tries')
  const host = new FixtureHost({})
  const mayTry = (key: string): boolean => new RescueLimits(host, path).mayTry(key)
  new RescueLimits(host, path).tried('1@1')
  assert.deepEqual([mayTry('1@1'), mayTry('1@2')], [false, true])
  await host.pause(10 * minute)
  assert.equal(mayTry('1@1'), true)
  for (let other = 0; other < 29; other++) new RescueLimits(host, path).tried(`${other}@2`)
  assert.equal(mayTry('2@3'), false, 'thirty an hour')
  for (const damaged of ['', '{}', '[["1@1", "soon"], 7]']) {
    writeFileSync(path, damaged)
    assert.equal(mayTry('1@1'), true)
  }
})

test('tries of stores and boots that are gone go, and those of processes that are there, and of the last hour, stay', async () => {
  using directory = new TestDirectory()
  const { startTicks } = readProcess(process.pid) as ProcessFacts
  const host = new FixtureHost({
    files: { [`/proc/${process.pid}/stat`]: readFileSync(`/proc/${process.pid}/stat`, 'latin1') },
    nowMs: Date.now() + 61 * minute,
  })
  const left = (name: string, key: string, ageMs = 0): string => {
    const path = join(directory.path, name)
    new RescueLimits(host, path).tried(key)
    utimesSync(path, (Date.now() - ageMs) / 1000, (Date.now() - ageMs) / 1000)
    return name
  }
  left(triesName('a'.repeat(64)), '1@2 3@4')
  const stay = [
    left('tries-there', `1@2 ${process.pid}@${startTicks}`),
    left('tries-young', '1@2', -2 * minute),
    left('rescue-1-2-3', '1@2'),
  ]
  mkdirSync(join(directory.path, 'tries-directory'))
  sweepTries(directory.path, host)
  sweepTries(join(directory.path, 'not-there'), host)
  assert.deepEqual(readdirSync(directory.path).sort(), ['tries-directory', ...stay].sort())
})

test('what the service keeps of decompressors goes with their last process', () => {
  const { startTicks } = readProcess(process.pid) as ProcessFacts
  const host = new FixtureHost({
    files: { [`/proc/${process.pid}/stat`]: readFileSync(`/proc/${process.pid}/stat`, 'latin1') },
  })
  const there = `4194305@2 ${process.pid}@${startTicks}`
  const keys = () => new Set([there, '4194305@2', `${process.pid}@${startTicks + 1}`])
  const service = { heldBack: keys(), unclear: keys() }
  forgetGone(host, service)
  assert.deepEqual(service, { heldBack: new Set([there]), unclear: new Set([there]) })
})

test('thirty rescues an hour are enough for a host', async () => {
  const seconds = Array.from({ length: 100 }, (_, at) => at * 1000)
  const tried = await triedAt([...seconds, 61 * minute], now => `${now}@1`)
  assert.deepEqual(tried, [...seconds.slice(0, 30), 61 * minute])
})

test('metrics have every result, also those that never came', () => {
  const text = formatMetrics({ counts: new Map([['rescued', 2]]), stuck: 1, now: 5000 })
  assert.match(text, /^windlass_rescues_total\{result="rescued"\} 2$/m)
  assert.match(text, /^windlass_rescues_total\{result="refused"\} 0$/m)
  assert.match(text, /^windlass_stuck_decompressors 1$/m)
  assert.match(text, /^windlass_last_look_timestamp_seconds 5\n$/m)
})

test('a rescue goes on as long as something moves, and is told when nothing has for too long', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const signal = new AbortController().signal
  const started = Promise.withResolvers<{ given: AbortSignal; moved: () => void }>()
  const ended = untilStill(
    async (given, moved) => {
      started.resolve({ given, moved })
      await once(given, 'abort')
      return (given.reason as Error).message
    },
    { signal, stillMs: 1000 },
  )
  const { given, moved } = await started.promise
  for (let steps = 0; steps < 5; steps++) {
    t.mock.timers.tick(999)
    moved()
  }
  assert.equal(given.aborted, false)
  t.mock.timers.tick(1000)
  assert.equal(await ended, 'nothing has moved for 1 s')
})

test('a rescue that does not even hear that it was given up is left behind', async () => {
  const deaf = () => new Promise<never>(() => {})
  const signal = AbortSignal.timeout(60_000)
  await assert.rejects(untilStill(deaf, { signal, stillMs: 20, lastWordMs: 20 }), /nothing has moved for 0\.02 s/)
})

test('what somebody else put where metrics are written is not followed', () => {
  using directory = new TestDirectory()
  const [metrics, victim] = [join(directory.path, 'windlass.prom'), join(directory.path, 'victim')]
  writeFileSync(victim, 'kept')
  symlinkSync(victim, `${metrics}.new`)
  symlinkSync(victim, metrics)
  writeMetrics({} as Context, metrics, { counts: new Map(), stuck: 0, now: 0 })
  assert.equal(readFileSync(victim, 'utf8'), 'kept')
  assert.ok(lstatSync(metrics).isFile())
  assert.match(readFileSync(metrics, 'utf8'), /^windlass_stuck_decompressors 0$/m)
})

test('before each look the service forgets what the look before was not told', async () => {
  const host = new FixtureHost({})
  let looks = 0
  const pause = host.pause.bind(host)
  Object.assign(host, {
    forget: () => looks++,
    pause: async (ms: number) => {
      assert.ok(ms < 5000 || looks < 3, 'enough')
      return await pause(ms)
    },
  })
  const context = { signal: AbortSignal.timeout(60_000), root: '/none' } as Context
  const options = { pid: undefined, image: undefined, metrics: undefined, 'give-up': undefined, 'dry-run': true }
  await assert.rejects(serveRescues(context, host, options), /enough/)
  assert.equal(looks, 3)
})
