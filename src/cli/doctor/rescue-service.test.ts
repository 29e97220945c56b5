import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RescueLimits } from './rescue-limits.ts'
import { formatMetrics } from './rescue-service.ts'

const minute = 60_000

test('one process is tried three times at most, ten minutes apart', () => {
  const limits = new RescueLimits()
  const tries = Array.from({ length: 120 }, (_, at) => at * minute).filter(now => {
    const may = limits.mayTry('1@1', now)
    if (may) limits.tried('1@1', now)
    return may
  })
  assert.deepEqual(tries, [0, 10 * minute, 20 * minute])
})

test('thirty rescues an hour are enough for a host', () => {
  const limits = new RescueLimits()
  const tried = Array.from({ length: 100 }, (_, at) => at).filter(at => {
    const may = limits.mayTry(`${at}@1`, at * 1000)
    if (may) limits.tried(`${at}@1`, at * 1000)
    return may
  })
  assert.equal(tried.length, 30)
  assert.ok(limits.mayTry('new@1', 61 * minute))
})

test('metrics have every result, also those that never came', () => {
  const text = formatMetrics({ counts: new Map([['rescued', 2]]), stuck: 1, now: 5000 })
  assert.match(text, /^windlass_rescues_total\{result="rescued"\} 2$/m)
  assert.match(text, /^windlass_rescues_total\{result="refused"\} 0$/m)
  assert.match(text, /^windlass_stuck_decompressors 1$/m)
  assert.match(text, /^windlass_last_look_timestamp_seconds 5\n$/m)
})
