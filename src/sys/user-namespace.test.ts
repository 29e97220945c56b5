import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isMapped, parseIdMap, parseSubIds, planIdMap } from './user-namespace.ts'

test('a map is read as the kernel writes it', () => {
  const map = parseIdMap('         0       1000          1\n         1     100000      65536\n')
  assert.deepEqual(map, [
    { inner: 0, outer: 1000, count: 1 },
    { inner: 1, outer: 100_000, count: 65_536 },
  ])
  assert.deepEqual(parseIdMap(''), [])
  const ids = [0, 1, 65_536, 65_537, 4_294_967_294]
  assert.deepEqual(
    ids.map(id => isMapped(id, map)),
    [true, true, true, false, false],
  )
})

test('subordinate IDs are given to a name or a number, in several lines, and nonsense gives none', () => {
  const text = 'other:1:2\npawl:100000:65536\n# pawl:5:5\n1000:300000:10\npawl:x:1\npawl:7\npawl:9:0\n10000:1:1\n'
  assert.deepEqual(parseSubIds(text, 'pawl', 1000), [
    { start: 100_000, count: 65_536 },
    { start: 300_000, count: 10 },
  ])
  assert.deepEqual(parseSubIds('', 'pawl', 1000), [])
})

test('the user is root of the namespace, and the ranges follow one after the other', () => {
  const ranges = [
    { start: 100_000, count: 10 },
    { start: 500_000, count: 5 },
  ]
  assert.deepEqual(planIdMap(1000, ranges), [
    { inner: 0, outer: 1000, count: 1 },
    { inner: 1, outer: 100_000, count: 10 },
    { inner: 11, outer: 500_000, count: 5 },
  ])
})
