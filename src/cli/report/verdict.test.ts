import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  diskStory,
  fallbackStory,
  healthyStory,
  type PullStory,
  recordStories,
  silentStory,
} from '../../../test/report-recordings.ts'
import { WindlassError } from '../../errors.ts'
import { planLanes, readSpans } from './lanes.ts'
import type { PullRecord } from './record.ts'
import { planTicks } from './timeline.ts'
import { describePull, listStalls, sumStages } from './verdict.ts'

function recordPull(story: PullStory): PullRecord {
  return recordStories([story]).snapshot().pulls[0] as PullRecord
}

const reference = '127.0.0.1:5000/app/core:2.4'

test('the verdict comes first, in one sentence', () => {
  const verdicts = [healthyStory, fallbackStory, silentStory, diskStory].map(story => describePull(recordPull(story)))
  assert.deepEqual(
    verdicts.map(({ tone, sentence }) => [tone, sentence]),
    [
      ['good', `${reference} was pulled in 9.4s, 170.9MB from the network; nothing stood still.`],
      [
        'survived',
        `${reference} was pulled in 16s, 114.7MB from the network, although stage decompress of layer 010101010101 was stopped by a signal for 10s, then was replaced.`,
      ],
      [
        'survived',
        `${reference} was pulled in 52s, 153MB from the network, although stage source of layer 010101010101 received nothing for 32s, then went on.`,
      ],
      [
        'bad',
        `The pull of ${reference} failed after 42s: stage unpack of layer 010101010101 hung in the kernel, waiting for the disk for 36s.`,
      ],
    ],
  )
})

test('a pull that fails for another reason is not blamed on a stall that was overcome', () => {
  const failure = new WindlassError('DENIED', 'Cannot pull: the registry denied access')
  const events = silentStory.events.filter(({ event }) => event.type !== 'done')
  const verdict = describePull(recordPull({ ...silentStory, events, failure }))
  assert.equal(verdict.guilty, undefined)
  assert.match(verdict.sentence, /failed after 52s: Cannot pull: the registry denied access$/)
})

test('a cancelled pull names the stage that stood still, or says that none did', () => {
  const failure = new WindlassError('CANCELLED', 'Cannot go on: stopped by SIGINT')
  assert.match(describePull(recordPull({ ...diskStory, failure })).sentence, /was cancelled after 42s: stage unpack of/)
  const early = { events: healthyStory.events.slice(0, 1), failure, endedMs: 3000 }
  assert.match(describePull(recordPull(early)).sentence, /after 3\.0s\. The registry had not answered yet\.$/)
})

test('a stall begins where nothing moved any more, and ends with a fallback, with movement, or never', () => {
  const ends = [fallbackStory, silentStory, diskStory].flatMap(story =>
    listStalls(recordPull(story)).map(({ fromMs, toMs, end }) => [fromMs, toMs, end]),
  )
  assert.deepEqual(ends, [
    [950, 11_300, 'fallback'],
    [8000, 40_150, 'moved'],
    [5100, 41_500, 'never'],
  ])
})

test('a stall that is told again while it lasts is one stall, and one of a stage without samples has a lane', () => {
  const stalls = diskStory.events.filter(({ event }) => event.type === 'stall')
  const again = stalls.map(({ at, event }) => ({ at: at + 3000, event: { ...event, atMs: at + 3000 } as typeof event }))
  const sync = stalls.map(({ at, event }) => ({ at, event: { ...event, stage: 'commit' } as typeof event }))
  const pull = recordPull({ ...diskStory, events: [...diskStory.events, ...again, ...sync] })
  const lanes = planLanes(pull.layers[0] as PullRecord['layers'][number], pull)
  assert.deepEqual(
    lanes.map(({ name, stalled }) => [name, stalled.length]),
    [
      ['source', 0],
      ['spool', 0],
      ['decompress', 0],
      ['unpack', 1],
      ['sync', 0],
      ['commit', 1],
    ],
  )
})

test('a program that was given up before the watch had a verdict stalled all the same; one that died had not', () => {
  const events = fallbackStory.events.filter(({ event }) => event.type !== 'stall')
  const [stall, ...more] = listStalls(recordPull({ ...fallbackStory, events }))
  assert.deepEqual(more, [])
  assert.deepEqual(
    [stall?.stall.stage, stall?.fromMs, stall?.toMs, stall?.end],
    ['decompress', 900, 11_300, 'fallback'],
  )
  const died = events.map(({ at, event }) =>
    event.type === 'fallback' ? { at: 800, event: { ...event, atMs: 800 } } : { at, event },
  )
  assert.deepEqual(listStalls(recordPull({ ...fallbackStory, events: died })), [])
})

test('spans say what a stage did between its samples', () => {
  const spans = readSpans({
    name: 'x',
    atMs: [0, 250, 500, 750, 1000, 9000],
    bytesIn: [0, 10, 10, 10, 10, 10],
    bytesOut: [0, 0, 5, 5, 5, 5],
    waitsFor: ['input', 'input', 'output', 'output', 'itself', 'input'],
  })
  assert.deepEqual(
    spans.map(({ fromMs, toMs, state }) => [fromMs, toMs, state]),
    [
      [0, 500, 'moving'],
      [500, 750, 'output'],
      [750, 1000, 'working'],
      // Nobody looked in these eight seconds.
      [1000, 9000, 'idle'],
    ],
  )
})

test('a lane has no more spans than a screen has columns, and loses no time', () => {
  const count = 4000
  const column = <Value>(make: (index: number) => Value) => Array.from({ length: count }, (_, index) => make(index))
  const pull = recordPull(healthyStory)
  const layer = {
    ...(pull.layers[1] as PullRecord['layers'][number]),
    stages: [
      {
        name: 'x',
        atMs: column(index => index * 250),
        bytesIn: column(index => index >> 1),
        bytesOut: column(() => 0),
        waitsFor: column(() => 'input' as const),
      },
    ],
  }
  const [lane] = planLanes(layer, pull)
  assert.ok((lane?.spans.length ?? 0) <= 300, `${lane?.spans.length} spans`)
  const total = lane?.spans.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0) ?? 0
  assert.ok(Math.abs(total - (count - 1) * 250) < 1)
})

test('the blame table says who waited for whom', () => {
  const rows = sumStages(recordPull(fallbackStory))
  assert.deepEqual(
    rows.map(({ name, isGuilty }) => [name, isGuilty]),
    [
      ['source', false],
      ['spool', false],
      ['decompress', true],
      ['unpack', false],
      ['sync', false],
    ],
  )
  const [source, , decompress, unpack] = rows
  assert.ok((source?.outputMs ?? 0) > 9500)
  assert.ok((unpack?.inputMs ?? 0) > 9500)
  assert.equal(decompress?.stalledMs, 10_350)
  assert.ok((decompress?.share ?? 0) > 0.9)
  for (const { busyMs, inputMs, outputMs, stalledMs } of rows)
    assert.ok(busyMs + inputMs + outputMs + stalledMs < 22_000)
})

test('an axis has up to five moments at round distances', () => {
  assert.deepEqual(planTicks(9400), [0, 2000, 4000, 6000, 8000])
  assert.deepEqual(planTicks(0), [0])
  for (const ms of [1, 99, 59_000, 61_000, 3_600_000, 40 * 3_600_000]) {
    const ticks = planTicks(ms)
    assert.ok(ticks.length >= 2 && ticks.length <= 5, `${ms}: ${ticks}`)
  }
})
