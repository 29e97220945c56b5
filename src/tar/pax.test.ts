import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { paxBody, paxRecord } from '../../test/tar-builder.ts'
import { isWindlassError } from '../errors.ts'
import { parsePax, parsePaxNumber, parsePaxTime } from './pax.ts'

test('values are bytes, whatever they hold', () => {
  const value = Buffer.from('00ff0a3d20310a00', 'hex')
  const records = parsePax(paxBody({ 'SCHILY.xattr.security.capability': value, path: 'a=b c' }))
  assert.deepEqual([...records.keys()], ['SCHILY.xattr.security.capability', 'path'])
  assert.ok(records.get('SCHILY.xattr.security.capability')?.equals(value))
  assert.equal(records.get('path')?.toString(), 'a=b c')
})

test('a value stays what it was after its buffer is used again', () => {
  const body = paxBody({ path: 'kept' })
  const records = parsePax(body)
  body.fill(0)
  assert.equal(records.get('path')?.toString(), 'kept')
})

test('what is written is what is read', () => {
  const key = fc.string({ minLength: 1 }).filter(text => /^[ -<>-~]+$/.test(text) && !text.startsWith('GNU.'))
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(key, fc.uint8Array()), { selector: ([name]) => name }), pairs => {
      const records = parsePax(paxBody(pairs))
      assert.deepEqual(
        [...records].map(([name, value]) => [name, value.toString('hex')]),
        pairs.map(([name, value]) => [name, Buffer.from(value).toString('hex')]),
      )
    }),
  )
})

const malformed: [string, string][] = [
  ['a length that is too short', '5 path=x\n'],
  ['a length that is too long', '99 path=x\n'],
  ['a length that ends within the next record', '11 path=x\n9 gid=10\n'],
  ['no newline', '10 path=xx'],
  ['no equals sign', '9 pathxx\n'],
  ['no key', '5 =x\n'],
  ['no key, only a newline after the equals sign', '4 =\n'],
  ['a length that is no number', 'x path=x\n'],
  ['a negative length', '-9 path=x\n'],
  ['a length in hexadecimal', '0x9 path=\n'],
  ['a length beyond all numbers', '99999999999999999999 a=b\n'],
  ['zeros behind the last record', '6 a=b\n\0\0'],
  ['a NUL in the key', '8 a\0b=c\n'],
  ['nothing but a space', ' '],
]
for (const [what, body] of malformed) {
  test(`refused: ${what}`, () => {
    assert.throws(
      () => parsePax(Buffer.from(body)),
      error => isWindlassError(error, 'CORRUPT'),
    )
  })
}

test('a key that decides where entries lie may come twice only with one value', () => {
  assert.equal(
    parsePax(Buffer.concat([paxRecord('path', 'a'), paxRecord('path', 'a')]))
      .get('path')
      ?.toString(),
    'a',
  )
  for (const key of ['path', 'linkpath', 'size', 'GNU.sparse.map', 'GNU.sparse.name']) {
    const body = Buffer.concat([paxRecord(key, '1'), paxRecord(key, '2')])
    assert.throws(() => parsePax(body), /comes twice/)
  }
})

test('of any other key that comes twice the last value counts', () => {
  assert.equal(
    parsePax(Buffer.concat([paxRecord('mtime', '1'), paxRecord('mtime', '2')]))
      .get('mtime')
      ?.toString(),
    '2',
  )
})

test('the repeated keys of sparse format 0.0 become the map of 0.1', () => {
  const body = paxBody([
    ['GNU.sparse.offset', '0'],
    ['GNU.sparse.numbytes', '512'],
    ['GNU.sparse.offset', '4096'],
    ['GNU.sparse.numbytes', '1'],
  ])
  assert.equal(parsePax(body).get('GNU.sparse.map')?.toString(), '0,512,4096,1')
  assert.throws(() => parsePax(paxBody([['GNU.sparse.numbytes', '1']])), /out of order/)
})

test('numbers are plain decimal numbers in range', () => {
  assert.equal(parsePaxNumber('size', Buffer.from('9007199254740991')), Number.MAX_SAFE_INTEGER)
  for (const text of ['-1', '+1', '1.5', '1e3', ' 1', '9007199254740992', '', '0x10', '99999999999999999999'])
    assert.throws(() => parsePaxNumber('size', Buffer.from(text)), /size is not a number in range/)
})

const times: [string, number, number][] = [
  ['0', 0, 0],
  ['-0', 0, 0],
  ['1500000000', 1_500_000_000, 0],
  ['1.5', 1, 500_000_000],
  ['1.', 1, 0],
  ['1.1234567899', 1, 123_456_789],
  ['5000000000.000000001', 5_000_000_000, 1],
  ['-1', -1, 0],
  ['-1.25', -2, 750_000_000],
  ['-0.000000001', -1, 999_999_999],
]
for (const [text, seconds, nanoseconds] of times) {
  test(`the time ${text} is read to the nanosecond`, () => {
    assert.deepEqual(parsePaxTime('mtime', Buffer.from(text)), { seconds, nanoseconds })
  })
}

test('what is no time is refused', () => {
  for (const text of ['', '.5', 'now', '1e9', '1,5', '1.-5', '--1', '9999999999999999999'])
    assert.throws(() => parsePaxTime('mtime', Buffer.from(text)), /mtime is not a time/)
})

test('any bytes give records or an error of ours', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      try {
        parsePax(bytes)
      } catch (error) {
        assert.ok(isWindlassError(error, 'CORRUPT'))
      }
    }),
  )
})
