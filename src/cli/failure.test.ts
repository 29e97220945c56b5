import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WindlassError } from '../errors.ts'
import { formatFailure, toWindlassError } from './failure.ts'

const error = new WindlassError('NETWORK', 'Cannot read from host\x1b[2J: closed', {
  cause: new Error('socket\nhang up'),
  hint: 'look at the cable',
  facts: { status: 502 },
})

test('an error is its message and its hint, without control characters', () => {
  assert.equal(
    formatFailure(error, { json: false, debug: false }),
    'windlass: Cannot read from host[2J: closed\nhint: look at the cable\n',
  )
})

test('with debug, the code and the causes follow', () => {
  const lines = formatFailure(error, { json: false, debug: true }).split('\n')
  assert.equal(lines[2], 'code: NETWORK')
  assert.match(lines[3] ?? '', /^caused by: Error: socket hang up \(at /)
})

test('as JSON it is one line', () => {
  const text = formatFailure(error, { json: true, debug: false })
  assert.equal(text.indexOf('\n'), text.length - 1)
  const { code, hint, facts } = JSON.parse(text).error
  assert.deepEqual({ code, hint, facts }, { code: 'NETWORK', hint: 'look at the cable', facts: { status: 502 } })
})

test('causes that go in a circle end', () => {
  const first = new Error('first')
  first.cause = new Error('second', { cause: first })
  const text = formatFailure(new WindlassError('FAILED', 'Cannot end', { cause: first }), { json: false, debug: true })
  assert.ok(text.split('\n').length < 30)
})

test('what is not a WindlassError is told as a bug, an abort as cancelled', () => {
  assert.equal(toWindlassError(error), error)
  assert.match(toWindlassError(new TypeError('x is undefined')).message, /internal error: x is undefined/)
  assert.equal(toWindlassError(new DOMException('stop', 'AbortError')).code, 'CANCELLED')
  assert.equal(toWindlassError('text').code, 'FAILED')
  assert.equal(toWindlassError(undefined).code, 'FAILED')
})
