import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { readAhead } from './read-ahead.ts'

/** Counts what it was asked for; fails at `failAt`, and notes that it was closed. */
function source(length: number, failAt = -1): AsyncIterable<number> & { asked: number; closed: number } {
  const state = { asked: 0, closed: 0 }
  return Object.assign(state, {
    async *[Symbol.asyncIterator]() {
      try {
        for (let n = 0; n < length; n++) {
          state.asked++
          await turn()
          if (n === failAt) throw new Error(`broken at ${n}`)
          yield n
        }
      } finally {
        state.closed++
      }
    },
  })
}

test('all comes in order, and one is asked for ahead, not more', async () => {
  const numbers = source(5)
  const got: number[] = []
  for await (const n of readAhead(numbers)) {
    got.push(n)
    await turn()
    await turn()
    assert.equal(numbers.asked, Math.min(n + 2, 5))
  }
  assert.deepEqual(got, [0, 1, 2, 3, 4])
  assert.equal(numbers.closed, 1)
})

test('an error comes once, after what was there before it, also where the consumer is slow', async () => {
  const unhandled: unknown[] = []
  const note = (error: unknown): unknown => unhandled.push(error)
  process.on('unhandledRejection', note)
  const got: number[] = []
  const numbers = source(5, 2)
  await assert.rejects(async () => {
    for await (const n of readAhead(numbers)) {
      got.push(n)
      for (let turns = 0; turns < 5; turns++) await turn()
    }
  }, /broken at 2/)
  await turn()
  process.off('unhandledRejection', note)
  assert.deepEqual([got, unhandled, numbers.closed], [[0, 1], [], 1])
})

test('who stops early frees the source, also one that fails meanwhile', async () => {
  for (const failAt of [-1, 1]) {
    const numbers = source(5, failAt)
    for await (const _ of readAhead(numbers)) break
    assert.equal(numbers.closed, 1)
  }
})

test('the error of a consumer is its own, and frees the source', async () => {
  const numbers = source(5)
  await assert.rejects(async () => {
    for await (const _ of readAhead(numbers)) throw new Error('mine')
  }, /mine/)
  assert.equal(numbers.closed, 1)
})
