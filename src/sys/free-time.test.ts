import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterFreeTime, settlesInFreeTime } from './free-time.ts'

/** As reading from a process whose memory is locked holds up whoever waits for it. */
function holdUp(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

test('an answer that comes while this thread is held up is not late', async () => {
  const settled = settlesInFreeTime(stat(import.meta.filename), 200)
  holdUp(1500)
  assert.equal(await settled, true)
})

test('what does not come is waited for as long as was said, and no longer', async () => {
  const start = performance.now()
  assert.equal(await settlesInFreeTime(new Promise(() => {}), 600), false)
  assert.ok(performance.now() - start > 590)
})

test('what was cancelled is not done', async () => {
  let count = 0
  const cancels = [0, 1, 300, 600].map(ms => afterFreeTime(ms, () => count++))
  await sleep(2)
  for (const cancel of cancels) cancel()
  const before = count
  await sleep(700)
  assert.equal(count, before)
})
