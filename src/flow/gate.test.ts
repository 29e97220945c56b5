import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Gate } from './gate.ts'

const never = new AbortController().signal

test('no more than its slots are inside, and they enter in the order they came', async () => {
  const gate = new Gate(2)
  const order: number[] = []
  let inside = 0
  const visit = async (n: number): Promise<void> => {
    using _ = await gate.enter(never)
    order.push(n)
    assert.ok(++inside <= 2)
    await turn()
    inside--
  }
  await Promise.all([0, 1, 2, 3, 4, 5, 6].map(visit))
  assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6])
})

test('the heaviest of those that wait enters first', async () => {
  const gate = new Gate(1)
  const order: number[] = []
  const visit = async (weight: number): Promise<void> => {
    using _ = await gate.enter(never, weight)
    order.push(weight)
    await turn()
  }
  await Promise.all([3, 1, 7, 5, 7, 0].map(visit))
  assert.deepEqual(order, [3, 7, 7, 5, 1, 0])
})

test('leaving twice frees one slot only', async () => {
  const gate = new Gate(1)
  const first = await gate.enter(never)
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  await gate.enter(never)
  let entered = false
  void gate.enter(never).then(() => {
    entered = true
  })
  await turn()
  assert.equal(entered, false)
})

test('who is aborted while queued leaves the queue, with the reason, and takes no slot along', async () => {
  const gate = new Gate(1)
  const first = await gate.enter(never)
  const controller = new AbortController()
  const aborted = gate.enter(controller.signal)
  const third = gate.enter(never)
  controller.abort(new Error('no more'))
  await assert.rejects(aborted, /no more/)
  first[Symbol.dispose]()
  using _ = await third
})

test('an abort after entering changes nothing', async () => {
  const gate = new Gate(1)
  const first = await gate.enter(never)
  const controller = new AbortController()
  const second = gate.enter(controller.signal)
  const third = gate.enter(never)
  first[Symbol.dispose]()
  controller.abort()
  const inside = await second
  inside[Symbol.dispose]()
  using _ = await third
})

test('who is aborted already does not enter', async () => {
  const gate = new Gate(1)
  await assert.rejects(gate.enter(AbortSignal.abort(new Error('before'))), /before/)
  using _ = await gate.enter(never)
})
