import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { passThrottled, Throttle } from './throttle.ts'

const never = new AbortController().signal

async function measure(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await work()
  return performance.now() - startedMs
}

test('bytes take the time that the rate gives them, however they are cut', async () => {
  for (const size of [1_000, 50_000]) {
    const throttle = new Throttle(500_000)
    const elapsedMs = await measure(async () => {
      for (let taken = 0; taken < 200_000; taken += size) await throttle.take(size, never)
    })
    assert.ok(elapsedMs > 340 && elapsedMs < 30_000, `${elapsedMs} ms for chunks of ${size}`)
  }
})

test('those who share it get the rate together', async () => {
  const throttle = new Throttle(500_000)
  const elapsedMs = await measure(() => Promise.all([1, 2, 3, 4].map(() => throttle.take(50_000, never))))
  assert.ok(elapsedMs > 340 && elapsedMs < 30_000, `${elapsedMs} ms`)
})

test('a pause is not saved up for a burst', async () => {
  const throttle = new Throttle(100_000)
  await throttle.take(1_000, never)
  await sleep(300)
  const elapsedMs = await measure(() => throttle.take(20_000, never))
  assert.ok(elapsedMs > 170, `${elapsedMs} ms`)
})

test('an abort ends the wait at once', async () => {
  const controller = new AbortController()
  const waiting = new Throttle(1_000).take(60_000, controller.signal)
  setTimeout(() => controller.abort(), 20)
  assert.ok((await measure(() => assert.rejects(waiting))) < 30_000)
})

test('at a low rate a chunk flows evenly, and those who share the rate come to their turn', async () => {
  const throttle = new Throttle(16_384)
  const passed = [0, 0]
  const gapsMs: number[] = []
  let firstDone: number[] | undefined
  await Promise.all(
    passed.map(async (_, which) => {
      let lastMs = performance.now()
      for await (const piece of passThrottled(new Uint8Array(6_000), throttle, never)) {
        passed[which] = (passed[which] ?? 0) + piece.length
        gapsMs.push(performance.now() - lastMs)
        lastMs = performance.now()
      }
      firstDone ??= [...passed]
    }),
  )
  assert.deepEqual(passed, [6_000, 6_000])
  assert.ok(Math.min(...(firstDone ?? [0])) > 4_000, `when the first was done: ${firstDone}`)
  const middleMs = gapsMs.toSorted((a, b) => a - b)[gapsMs.length >> 1] ?? 0
  assert.ok(gapsMs.length >= 12 && middleMs < 5_000, `${gapsMs.length} pieces, the middle gap ${middleMs} ms`)
})
