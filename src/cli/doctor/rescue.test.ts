import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Interrupted } from '../../doctor/rescue/carry-out.ts'
import { Refusal } from '../../doctor/rescue/refusal.ts'
import { endOf } from './rescue.ts'

test('of a rescue that was broken off it is told to go on only where something stands', () => {
  const next = /; it stands still; the same command goes on from there$/
  assert.match(endOf(new Interrupted('broken off')).message, next)
  for (const left of ['unread', 'gone'] as const) {
    const { result, message } = endOf(new Interrupted('all was given', { left }))
    assert.deepEqual([result, message], ['interrupted', 'all was given'])
  }
})

test('a refusal keeps its code, and what is no end of a rescue is passed on', () => {
  const refused = endOf(new Refusal('RESCUE_MOVES', 'it moves'))
  assert.deepEqual(refused, { result: 'refused', code: 'RESCUE_MOVES', message: 'it moves' })
  assert.throws(() => endOf(new TypeError('a fault')), TypeError)
})
