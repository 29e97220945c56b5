import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Flow, findExcused } from './slow-layers.ts'

const begun = (idleMs: number) => ({ bytes: 1 << 20, idleMs })
const waiting = (idleMs: number) => ({ bytes: 0, idleMs })

/** On which something came last so long ago, and so much a second while it was looked at. */
function flow(idleMs: number, bytesPerSecond?: number, bytes = 50_000_000): Flow {
  return { socket: '1', bytes, idleMs, bytesPerSecond }
}

/** How many of the layers that are late are excused. */
function count(layers: readonly { bytes: number; idleMs: number }[], flows?: readonly Flow[]): number {
  return findExcused(layers, flows).length
}

const pooled = flow(20_000, 0)

test('a late layer is excused by a connection that was seen to bring something, and not as much as would be written', () => {
  assert.equal(count([begun(200_000)], [flow(100, 6000), pooled]), 1)
  for (const flows of [[pooled], [flow(100), pooled], [flow(100, 900)], [flow(100, 60_000), pooled], undefined])
    assert.equal(count([begun(200_000)], flows), 0)
})

test('what comes in bursts is late, and not silent between two of them', () => {
  assert.equal(count([begun(200_000)], [flow(9000, 0)]), 1)
  assert.equal(count([begun(200_000), begun(30_000)], [flow(9000, 0), flow(100, 30_000)]), 1)
  assert.equal(count([begun(200_000), begun(30_000)], [flow(15_000, 0), flow(100, 30_000)]), 0)
})

test('what an earlier pull has begun comes on a connection that is young, or waits for its turn', () => {
  assert.equal(count([begun(9_000_000)], [flow(100, 60_000, 700_000), pooled]), 1)
  assert.equal(count([begun(9_000_000), begun(9_000_000), begun(10_000)], [flow(100, 60_000)]), 2)
  // Of a record: that nobody is silent is told there, too.
  assert.equal(count([begun(9_000_000), begun(10_000)], [flow(100), flow(200)]), 1)
  assert.equal(count([begun(9_000_000), begun(10_000)], [flow(100), flow(200), flow(15_000)]), 0)
})

test('each layer has a connection of its own', () => {
  const layers = [begun(200_000), begun(30_000)]
  assert.equal(count(layers, [flow(100, 6000), flow(100, 6000)]), 1)
  // The other one has it: what came last on the silent one came before that one was written to.
  assert.equal(count(layers, [flow(100, 6000), flow(150_000, 0)]), 0)
  assert.equal(count(layers, [flow(20_000, 0), flow(100, 90_000)]), 0)
  // Whichever comes first, the fast one is for the layer that was written to lately.
  assert.equal(count(layers, [flow(100, 6000), flow(100, 40_000), pooled]), 1)
  assert.equal(count(layers.toReversed(), [flow(100, 6000), flow(100, 40_000), pooled]), 1)
})

test('a layer that goes on after a pause, as fast as it may, takes no connection from others', () => {
  assert.equal(count([begun(200_000), begun(100_000)], [flow(100, 6000), flow(100, 90_000), pooled]), 1)
})

test('where one late layer has no connection that brings something, none of them is excused: whose is there cannot be known', () => {
  assert.equal(count([begun(200_000), begun(130_000)], [flow(100, 6000), flow(125_000, 0)]), 0)
})

test('a layer of which nothing has come waits for its turn, unless somebody was asked and has not answered', () => {
  assert.equal(count([waiting(200_000), begun(30_000)], [flow(100, 30_000)]), 1)
  assert.equal(count([waiting(200_000), begun(30_000)], [flow(100, 30_000), flow(61_000, 0)]), 0)
  // It is kept for the next request for a while.
  assert.equal(count([waiting(200_000), begun(30_000)], [flow(100, 30_000), flow(29_000, 0)]), 1)
  // It was asked for something else, long before.
  assert.equal(count([waiting(200_000), begun(30_000)], [flow(100, 30_000), flow(900_000, 0)]), 1)
  // One that is silent in the middle was asked for, too.
  assert.equal(count([waiting(200_000), begun(30_000), begun(190_000)], [flow(100, 30_000), flow(180_000, 0)]), 1)
})

test('where no connection can be seen a layer of which nothing has come may wait for its turn, and for its first piece after that', () => {
  assert.equal(count([waiting(200_000), begun(30_000)]), 1)
  assert.equal(count([waiting(200_000), begun(200_000)]), 1)
  assert.equal(count([waiting(200_000)]), 1)
})
