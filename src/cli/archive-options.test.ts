import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isWindlassError } from '../errors.ts'
import { readFileOptions } from './archive-options.ts'

test('a part is smaller than the size that is named, so that FAT takes one of 4G', () => {
  const partSize = (split: string) => readFileOptions({ checksum: false, split }).partSize
  const fatMax = 2 ** 32 - 1
  assert.ok((partSize('4G') ?? Number.POSITIVE_INFINITY) <= fatMax)
  assert.equal(partSize('64K'), 64 * 1024 - 512)
  assert.equal(readFileOptions({ checksum: true, split: undefined }).partSize, undefined)
  for (const split of ['', '4', '1K', '-4G', '4GB', '4.5G', '99999999999T'])
    assert.throws(
      () => partSize(split),
      error => isWindlassError(error, 'USAGE'),
      split,
    )
})
