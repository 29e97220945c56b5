import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatAge, formatTable } from './table.ts'

test('columns are as wide as their widest cell, and what strangers wrote is made safe', () => {
  assert.deepEqual(
    formatTable(
      ['A', 'LONG', 'C'],
      [
        ['aaaa', 'b', 'c\x1b[2J'],
        ['a', '', ''],
      ],
    ),
    ['A      LONG   C', 'aaaa   b      c[2J', 'a'],
  )
})

const now = Date.parse('2026-11-23T12:00:00Z')

for (const [created, wanted] of [
  ['2026-11-23T12:00:00Z', 'Less than a second ago'],
  ['2026-11-23T11:59:59Z', '1 second ago'],
  ['2026-11-23T11:59:01Z', '59 seconds ago'],
  ['2026-11-23T11:59:00Z', 'About a minute ago'],
  ['2026-11-23T11:15:00Z', '45 minutes ago'],
  ['2026-11-23T11:00:00Z', 'About an hour ago'],
  ['2026-11-22T12:00:00Z', '24 hours ago'],
  ['2026-11-20T12:00:00Z', '3 days ago'],
  ['2026-11-01T12:00:00Z', '3 weeks ago'],
  ['2026-08-01T12:00:00Z', '3 months ago'],
  ['2020-08-01T12:00:00Z', '6 years ago'],
  ['2030-01-01T00:00:00Z', 'Less than a second ago'],
  ['yesterday', 'N/A'],
  [undefined, 'N/A'],
] as const) {
  test(`created ${created} is ${wanted}`, () => assert.equal(formatAge(created, now), wanted))
}
