import assert from 'node:assert/strict'
import { test } from 'node:test'
import { base256 } from '../../test/tar-builder.ts'
import { isWindlassError } from '../errors.ts'
import { parseNumeric } from './numeric.ts'

function parse(field: string | Uint8Array): number {
  const bytes = typeof field === 'string' ? Buffer.from(field, 'latin1') : field
  return parseNumeric(Buffer.concat([Buffer.from('77'), bytes, Buffer.from('77')]), 2, bytes.length, 'size')
}

const octal: [string, number][] = [
  ['0000644\0', 0o644],
  ['00000644', 0o644],
  ['   644 \0', 0o644],
  ['644 \0\0\0\0', 0o644],
  ['\0\0\0\0\0\0\0\0', 0],
  ['        ', 0],
  ['\0 644\0\0\0', 0o644],
  ['644\0dirt', 0o644],
  ['644 \0dir', 0o644],
  ['77777777777', 0o77777777777],
]
for (const [field, value] of octal) {
  test(`octal ${JSON.stringify(field)} is ${value}`, () => assert.equal(parse(field), value))
}

for (const field of ['0000648\0', '-000644\0', '0x1a4\0\0\0', '644 7\0\0\0', '+644\0\0\0\0', '12.5\0\0\0\0']) {
  test(`${JSON.stringify(field)} is refused`, () => {
    assert.throws(
      () => parse(field),
      error => isWindlassError(error, 'CORRUPT') && /field size/.test(error.message),
    )
  })
}

for (const value of [
  0,
  1,
  255,
  2 ** 32,
  2 ** 40,
  Number.MAX_SAFE_INTEGER,
  -1,
  -256,
  -(2 ** 31),
  Number.MIN_SAFE_INTEGER,
]) {
  test(`base-256 ${value} is read`, () => assert.equal(parse(base256(value, 12)), value))
}

test('base-256 beyond what a number holds exactly is refused', () => {
  assert.throws(() => parse(base256(2n ** 53n, 12)), /too large/)
  assert.throws(() => parse(base256(-(2n ** 60n), 12)), /too large/)
  assert.throws(() => parse(Buffer.from('bfffffffffffffffffffffff', 'hex')), /too large/)
})
