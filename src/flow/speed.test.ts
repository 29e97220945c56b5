import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { SpeedMeter } from './speed.ts'

/** Chunks of 1000 bytes, each of which takes so long to come. */
async function* chunks(count: number, comesMs: number): AsyncGenerator<Uint8Array, void, void> {
  for (let n = 0; n < count; n++) {
    if (comesMs > 0) await sleep(comesMs)
    yield new Uint8Array(1000)
  }
}

const tooSlow = (bytesPerSecond: number): Error => new Error(`${bytesPerSecond} bytes/s`)

test('a source below the floor ends with its speed, after the chunk that decided it was given out', async () => {
  const meter = new SpeedMeter({ bytesPerSecond: 1_000_000, windowMs: 50 })
  let given = 0
  await assert.rejects(async () => {
    for await (const chunk of meter.measure(chunks(100, 20), tooSlow)) given += chunk.length
  }, /^Error: \d+ bytes\/s$/)
  assert.equal(given, meter.bytes)
  assert.ok(meter.waitedMs >= 50)
  assert.equal(meter.isFast, false)
})

test('time of the consumer does not count', async () => {
  const meter = new SpeedMeter({ bytesPerSecond: 100_000, windowMs: 250 })
  for await (const _ of meter.measure(chunks(10, 0), tooSlow)) await sleep(30)
  assert.ok(meter.waitedMs < 250 && meter.elapsedMs >= 290)
  assert.equal(meter.isFast, true)
})

test('a floor of 0 lets every speed pass', async () => {
  const meter = new SpeedMeter({ bytesPerSecond: 0, windowMs: 10 })
  assert.equal((await Array.fromAsync(meter.measure(chunks(3, 30), tooSlow))).length, 3)
  assert.equal(meter.isFast, true)
})

test('a source is closed when the consumer leaves, and when it is too slow', async () => {
  let closed = 0
  async function* source(): AsyncGenerator<Uint8Array, void, void> {
    try {
      yield* chunks(100, 20)
    } finally {
      closed++
    }
  }
  for await (const _ of new SpeedMeter({ bytesPerSecond: 0, windowMs: 10 }).measure(source(), tooSlow)) break
  assert.equal(closed, 1)
  const slow = new SpeedMeter({ bytesPerSecond: 1e9, windowMs: 10 })
  await assert.rejects(Array.fromAsync(slow.measure(source(), tooSlow)))
  assert.equal(closed, 2)
})
