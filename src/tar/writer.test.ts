import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { isWindlassError } from '../errors.ts'
import { formatPaxTime } from './pax-record.ts'
import { type TarHeaderFields, tarEnd, tarHeader, tarPadding } from './writer.ts'

const plain: TarHeaderFields = {
  name: Buffer.from('name'),
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtimeNs: 0n,
}

function list(...parts: Uint8Array[]): string {
  const input = Buffer.concat([...parts, tarEnd])
  return execFileSync('tar', ['--numeric-owner', '--utc', '--full-time', '-tvf', '-'], { input }).toString()
}

test('what ustar can say takes one block, all else a PAX header in front', () => {
  assert.equal(tarHeader(plain).length, 512)
  assert.equal(tarHeader({ ...plain, name: Buffer.alloc(100, 'n') }).length, 512)
  for (const more of [
    { name: Buffer.alloc(101, 'n') },
    { type: 'directory', name: Buffer.alloc(100, 'n') },
    { linkName: Buffer.alloc(101, 'l') },
    { size: 8 ** 11 },
    { uid: 8 ** 7 },
    { gid: 8 ** 7 },
    { mtimeNs: 1n },
    { mtimeNs: -1_000_000_000n },
    { xattrs: [['user.a', Buffer.from('b')]] },
  ] as const) {
    assert.equal(tarHeader({ ...plain, ...more }).length, 3 * 512)
  }
})

test('GNU tar reads long names, large sizes and ids, and times to the nanosecond', () => {
  const long = Buffer.from(`${'d'.repeat(120)}/é`)
  const header = tarHeader({
    ...plain,
    name: long,
    uid: 4_294_967_294,
    gid: 8 ** 7,
    mtimeNs: 1_600_000_000_123_456_789n,
  })
  assert.match(list(header), /4294967294\/2097152 +0 2020-09-13 12:26:40.123456789 d{120}\//)
  const link = { ...plain, type: 'symlink', linkName: Buffer.alloc(300, 'l') } as const
  assert.match(list(tarHeader(link)), /name -> l{300}\n/)
})

test('a size of 8 GiB and more stands in the PAX header', () => {
  assert.match(tarHeader({ ...plain, size: 10_000_000_000 }).toString('latin1'), /20 size=10000000000\n/)
})

test('xattr values may hold any bytes, names no equals sign', () => {
  const header = tarHeader({ ...plain, xattrs: [['user.a', Buffer.from([0, 0xff, 0x0a, 0x3d])]] })
  assert.ok(header.includes(Buffer.from('28 SCHILY.xattr.user.a=\0\xff\n=\n', 'latin1')))
  assert.throws(
    () => tarHeader({ ...plain, xattrs: [['user.a=b', Buffer.alloc(1)]] }),
    error => isWindlassError(error, 'UNSUPPORTED'),
  )
})

test('PAX times are exact decimals, also before the epoch', () => {
  const cases = [
    [0n, '0'],
    [1n, '0.000000001'],
    [-1n, '-0.000000001'],
    [-1_500_000_000n, '-1.5'],
    [10_000_000_000n, '10'],
  ] as const
  for (const [nanoseconds, text] of cases) assert.equal(formatPaxTime(nanoseconds), text)
})

test('padding fills up to full blocks', () => {
  const lengths = [0, 1, 511, 512, 513].map(size => tarPadding(size).length)
  assert.deepEqual(lengths, [0, 511, 1, 0, 511])
})
