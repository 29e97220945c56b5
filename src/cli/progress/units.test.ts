import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatBar, formatDuration, formatRate, formatSize } from './units.ts'

test('sizes are those that docker prints', () => {
  const sizes = [0, 1, 999, 1000, 294_912, 26_660_000, 999_949, 999_950, 1_840_000_000, 5e15, 5e18]
  const wanted = ['0B', '1B', '999B', '1kB', '294.9kB', '26.66MB', '999.9kB', '1MB', '1.84GB', '5PB', '5000PB']
  assert.deepEqual(
    sizes.map(size => formatSize(size)),
    wanted,
  )
  assert.equal(formatSize(116_812_345, 3), '117MB')
  assert.equal(formatRate(96_123_456), '96.1MB/s')
  assert.equal(formatSize(-1), '0B')
})

test('durations have two units at most', () => {
  const times = [0, 340, 9_949, 9_950, 59_400, 59_600, 125_000, 3_599_400, 3_720_000]
  const wanted = ['0.0s', '0.3s', '9.9s', '10s', '59s', '1m00s', '2m05s', '59m59s', '1h02m']
  assert.deepEqual(times.map(formatDuration), wanted)
})

test('a bar is as wide as asked for, whatever the share', () => {
  assert.equal(formatBar(0, 12), '[>         ]')
  assert.equal(formatBar(0.5, 12), '[=====>    ]')
  assert.equal(formatBar(1, 12), '[==========]')
  assert.equal(formatBar(7, 12), '[==========]')
  assert.equal(formatBar(-1, 12), '[>         ]')
  assert.equal(formatBar(0.95, 12).length, 12)
})
