import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseStat } from './stat-line.ts'

const rest = `S 1 7 7 ${'0 '.repeat(46)}\n`

test('the last parenthesis ends a name, whatever is in it', () => {
  for (const name of ['unpigz', ') S 1 (', 'a b)', '\n9 (x) S 2', '', 'kworker/u8:3-events_unbound_with_a_long_name'])
    assert.equal(parseStat(`7 (${name}) ${rest}`)?.name, name)
  assert.equal(parseStat(`7 (x) R 12 7 7 -1 5\n`)?.field(4), 12)
})

test('two lines are not taken for one of a long name, nor what is no such line', () => {
  const line = `7 (sleep) ${rest}`
  for (const text of [`${line}7 (x/unpigz) ${rest}`, `${line.trim()} 7 (x) S 9`, '7 (x) S y', '7 (x)', 'x (x) S 1', ''])
    assert.equal(parseStat(text), undefined, text)
})
