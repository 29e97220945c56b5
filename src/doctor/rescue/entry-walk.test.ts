import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildTar } from '../../../test/tar-builder.ts'
import { EntryWalk } from './entry-walk.ts'

const long = `directory/${'n'.repeat(180)}`
const tar = buildTar([
  { name: 'empty', typeflag: '0' },
  { name: 'first', typeflag: '0', data: Buffer.alloc(1000, 'a') },
  { name: 'link', typeflag: '2', linkname: 'first' },
  { name: 'second', typeflag: '0', data: Buffer.alloc(70_000, 'b'), pax: { path: long } },
])

for (const size of [1, 100, 511, 512, 4097, 1 << 20]) {
  test(`entries are found where they lie, in pieces of ${size} bytes`, () => {
    const found: [string, number][] = []
    const walk = new EntryWalk(({ entry, dataStart }) => found.push([entry.name, dataStart]))
    for (let at = 0; at < tar.length; at += size) walk.push(tar.subarray(at, at + size))
    assert.deepEqual(found, [
      ['empty', 512],
      ['first', 1024],
      ['link', 1024 + 1024 + 512],
      [long, 1024 + 1024 + 512 + 1024 + 512],
    ])
    assert.equal(tar.subarray(1024, 1026).toString(), 'aa')
  })
}
