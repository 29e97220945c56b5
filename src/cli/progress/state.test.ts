import assert from 'node:assert/strict'
import { test } from 'node:test'
import { layerEvent, makeDigest, progressEvent, recording, replay } from '../../../test/pull-recording.ts'
import { applyEvent, newPullState, phaseWord, readRate, shortDigest, sumLayers } from './state.ts'

test('the rate is that of the last three seconds, and falls to nothing when nothing comes', () => {
  const state = newPullState('x', 0)
  applyEvent(state, layerEvent(0, 'pulling', 100_000_000), 0)
  for (let at = 100; at <= 10_000; at += 100) applyEvent(state, progressEvent(0, at * 1000, at * 3000, 100_000_000), at)
  const layer = state.layers[0]
  assert.ok(layer)
  assert.ok(Math.abs(readRate(layer.network, 10_000) - 1_000_000) < 1000)
  assert.ok(Math.abs(readRate(layer.unpack, 10_000) - 3_000_000) < 3000)
  assert.ok(readRate(layer.network, 11_500) < 700_000)
  assert.equal(readRate(layer.network, 14_000), 0)
  assert.ok(layer.network.length <= 33, `${layer.network.length} samples are kept`)
})

test('bytes that an earlier pull left are no network rate', () => {
  const state = newPullState('x', 0)
  applyEvent(state, layerEvent(0, 'pulling', 1000), 0)
  applyEvent(state, { ...progressEvent(0, 900, 0, 1000), bytesResumed: 900 }, 100)
  assert.equal(sumLayers(state, 100).networkRate, 0)
  assert.equal(sumLayers(state, 100).bytesDownloaded, 900)
})

test('a layer that starts again has no negative rate', () => {
  const state = newPullState('x', 0)
  applyEvent(state, layerEvent(0, 'pulling', 1000), 0)
  applyEvent(state, progressEvent(0, 900, 5000, 1000), 500)
  applyEvent(state, progressEvent(0, 950, 6000, 1000), 3000)
  applyEvent(state, progressEvent(0, 10, 20, 1000), 3700)
  assert.equal(sumLayers(state, 3700).networkRate, 0)
})

test('totals leave out what is in the store already, and count what is done', () => {
  const state = replay(recording, 4000)
  const totals = sumLayers(state, 4000)
  assert.deepEqual(
    { layers: totals.layers, done: totals.layersDone, existing: totals.layersExisting, bytes: totals.bytes },
    { layers: 4, done: 2, existing: 1, bytes: 26_660_000 + 402_000_000 + 12_000_000 },
  )
  assert.equal(totals.bytesDownloaded, 26_660_000 + 212_300_000)
})

test('idle time runs from the last move of any layer, and only while one is at work', () => {
  const state = replay(recording, 4000)
  assert.equal(sumLayers(state, 4000).idleMs, 0)
  assert.equal(sumLayers(state, 12_000).idleMs, 8000)
  applyEvent(state, progressEvent(2, 212_300_000, 640_000_000, 402_000_000), 13_000)
  assert.equal(sumLayers(state, 13_000).idleMs, 9000)
  assert.equal(sumLayers(newPullState('x', 0), 9000).idleMs, 0)
})

test('phases have the words of docker, and unpacking begins to show when the last byte is here', () => {
  const layer = replay(recording, 4000).layers[2]
  assert.ok(layer)
  assert.equal(phaseWord(layer), 'Pulling')
  assert.equal(phaseWord({ ...layer, bytesDownloaded: layer.size }), 'Unpacking')
  assert.equal(phaseWord({ ...layer, phase: 'syncing' }), 'Syncing')
})

test('a short digest has 12 digits', () => assert.equal(shortDigest(makeDigest(7)), '070707070707'))
