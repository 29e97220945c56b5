import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { withIdle } from './idle.ts'

const silence = () => new Error('silence')

test('what keeps coming passes, however long it takes together', async () => {
  const source = (async function* () {
    for (let at = 0; at < 5; at++) {
      await sleep(60)
      yield Buffer.of(at)
    }
  })()
  assert.equal((await Array.fromAsync(withIdle(source, 200, silence))).length, 5)
})

test('silence ends it, and the source is told', async () => {
  let isTold = false
  const source: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => {}),
      return: async () => {
        isTold = true
        return { done: true, value: undefined }
      },
    }),
  }
  await assert.rejects(Array.fromAsync(withIdle(source, 50, silence)), /silence/)
  assert.ok(isTold)
})
