import assert from 'node:assert/strict'
import { test } from 'node:test'
import { layerEvent, progressEvent, resolvedEvent } from '../../../test/pull-recording.ts'
import {
  diskStory,
  fallbackStory,
  healthyStory,
  recordStories,
  silentStory,
  testHost,
} from '../../../test/report-recordings.ts'
import type { StageFacts } from '../../copy/events.ts'
import { WindlassError } from '../../errors.ts'
import { ReportRecord } from './record.ts'

const stall = {
  type: 'stall',
  layer: 0,
  atMs: 1000,
  stage: 'decompress',
  kind: 'stopped',
  confidence: 'certain',
  sinceMs: 500,
} as const

test('a report survives JSON', () => {
  for (const story of [healthyStory, fallbackStory, silentStory, diskStory]) {
    const report = recordStories([story]).snapshot()
    assert.equal(report.schemaVersion, 1)
    assert.deepEqual(JSON.parse(JSON.stringify(report)), report)
  }
})

test('a snapshot does not change when the pull goes on', () => {
  const record = new ReportRecord('windlass pull x', testHost)
  const pull = record.openPull('x')
  pull.handle(resolvedEvent([1000]))
  const before = record.snapshot()
  pull.handle(layerEvent(0, 'pulling', 1000))
  pull.handle({ ...stall, evidence: [] })
  assert.deepEqual(before.pulls[0]?.layers[0]?.phases, [])
  assert.deepEqual(before.pulls[0]?.happenings, [])
})

test('layers keep their phases, last counters and samples', () => {
  let now = 0
  const record = new ReportRecord('windlass pull x', testHost)
  const pull = record.openPull('x', { clock: () => now })
  pull.handle(resolvedEvent([1000]))
  pull.handle(layerEvent(0, 'pulling', 1000))
  const source: StageFacts = { name: 'source', bytesIn: 1, bytesOut: 1, waitsFor: 'input' }
  pull.handle({ type: 'stages', layer: 0, atMs: 250.4, stages: [source] })
  pull.handle(progressEvent(0, 1000, 3000, 1000))
  now = 1234
  pull.handle(layerEvent(0, 'done', 1000))
  const [layer] = record.snapshot().pulls[0]?.layers ?? []
  assert.deepEqual(layer?.phases, [
    { phase: 'pulling', atMs: 0 },
    { phase: 'done', atMs: 1234 },
  ])
  assert.deepEqual(layer?.progress, { bytesDownloaded: 1000, bytesResumed: 0, bytesUnpacked: 3000, entries: 12 })
  assert.deepEqual(layer?.stages, [{ name: 'source', atMs: [250], bytesIn: [1], bytesOut: [1], waitsFor: ['input'] }])
})

test('whatever strangers send, the record stays small', () => {
  const record = new ReportRecord('windlass pull x', testHost)
  for (let image = 0; image < 30; image++) {
    const pull = record.openPull(`x${image}`)
    pull.handle(resolvedEvent([1000]))
    for (let at = 0; at < 2000; at++) {
      pull.handle({ ...stall, evidence: Array.from({ length: 100 }, () => 'e'.repeat(100)) })
      pull.handle({ type: 'warning', message: 'w'.repeat(100_000) })
      pull.handle(layerEvent(0, 'pulling', 1000))
      pull.handle({ ...layerEvent(0, 'pulling', 1000), layer: 100_000 })
    }
  }
  const { pulls, pullsLeftOut } = record.snapshot()
  assert.deepEqual([pulls.length, pullsLeftOut], [20, 10])
  for (const { happenings, happeningsLeftOut, layers } of pulls) {
    assert.deepEqual([happenings.length, happeningsLeftOut, layers.length], [500, 3500, 1])
    assert.ok((layers[0]?.phases.length ?? 0) <= 32)
    for (const event of happenings) {
      if (event.type === 'stall') assert.ok(event.evidence.length <= 32)
      if (event.type === 'warning') assert.ok(event.message.length <= 5001)
    }
  }
})

test('what a user typed before an @, and the query of an address, are not kept', () => {
  const record = new ReportRecord('windlass pull https://me:secret@registry.example/app', testHost)
  const pull = record.openPull('https://me:secret@registry.example/app')
  const url = 'https://cdn.example/blob?X-Amz-Signature=secret&x=secret'
  pull.handle({ type: 'retry', atMs: 0, host: 'cdn.example', message: `Cannot read ${url}, status 403`, pauseMs: 1 })
  pull.handle({ ...stall, evidence: [url] })
  pull.handle({ type: 'warning', message: `see ${url}` })
  pull.fail(new WindlassError('DENIED', `Cannot read ${url}`, { facts: { url } }))
  const text = JSON.stringify(record.snapshot())
  assert.doesNotMatch(text, /secret/)
  assert.match(text, /https:\/\/cdn\.example\/blob\?…, status 403/)
})

test('a cancelled command ends what is under way, and what was done stays done', () => {
  const record = recordStories([healthyStory])
  record.openPull('next')
  record.failOpen(new WindlassError('CANCELLED', 'Cannot go on: stopped by SIGINT'))
  assert.deepEqual(
    record.snapshot().pulls.map(({ outcome }) => outcome.status),
    ['done', 'cancelled'],
  )
})

test('each stall is told as it is recorded', () => {
  let told = 0
  const pull = new ReportRecord('x', testHost).openPull('x', { onStall: () => told++ })
  pull.handle({ ...stall, evidence: [] })
  pull.handle({ type: 'warning', message: 'no stall' })
  assert.equal(told, 1)
})
