import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StageFacts } from '../../copy/events.ts'
import { Samples, type StageSeries } from './series.ts'

const stage = (name: string, bytes: number): StageFacts => ({
  name,
  bytesIn: bytes,
  bytesOut: bytes,
  waitsFor: 'input',
})

test('a day of samples stays within the bound, from the first to the newest, in order', () => {
  const samples = new Samples(1000)
  const layers: StageSeries[][] = [[], [], []]
  let most = 0
  for (let at = 0; at < 86_400_000; at += 2500) {
    for (const series of layers) samples.add(series, at, [stage('source', at * 7), stage('unpack', at * 3)])
    most = Math.max(most, samples.points)
  }
  assert.ok(most <= 1001, `${most} points`)
  for (const series of layers.flat()) {
    assert.equal(series.atMs.length, series.bytesIn.length)
    assert.equal(series.atMs.length, series.waitsFor.length)
    assert.ok(series.atMs.length > 50, `${series.atMs.length} points`)
    assert.equal(series.atMs[0], 0)
    assert.equal(series.atMs.at(-1), 86_397_500)
    assert.deepEqual(
      series.atMs,
      series.atMs.toSorted((a, b) => a - b),
    )
    for (const [index, at] of series.atMs.entries())
      assert.equal(series.bytesIn[index], at * (series.name === 'source' ? 7 : 3))
  }
})

test('after thinning the distances are even enough for a line', () => {
  const samples = new Samples(100)
  const series: StageSeries[] = []
  for (let at = 0; at < 250_000; at += 250) samples.add(series, at, [stage('source', at)])
  const { atMs } = series[0] as StageSeries
  const distances = atMs.slice(1, -1).map((at, index) => at - (atMs[index] ?? 0))
  assert.ok(Math.max(...distances) <= 4 * Math.min(...distances), distances.join(' '))
})

test('stages whose names change all the time do not fill the memory', () => {
  const samples = new Samples()
  const series: StageSeries[] = []
  for (let at = 0; at < 1000; at++) samples.add(series, at, [stage(`stage ${at}`, at)])
  assert.equal(series.length, 16)
})
