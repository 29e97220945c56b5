import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { base256, buildTar, magics, oldGnuSparse, paxBody, paxSparse, rawHeader } from './tar-builder.ts'

function list(archive: Uint8Array): string[] {
  return execFileSync('tar', ['--numeric-owner', '--utc', '-tvf', '-'], { input: archive })
    .toString()
    .trim()
    .split('\n')
}

const sparse = {
  name: 'holes',
  mode: 0o600,
  realSize: 200_000,
  segments: [
    { offset: 0, data: 'begin'.padEnd(1024) },
    { offset: 4096, data: 'a'.repeat(512) },
    { offset: 8192, data: 'b'.repeat(512) },
    { offset: 12288, data: 'c'.repeat(512) },
    { offset: 65536, data: 'd'.repeat(1536) },
    { offset: 131072, data: 'e' },
  ],
}

test('GNU tar lists files, links, devices and long names that were built', () => {
  const lines = list(
    buildTar([
      { name: 'dir/', typeflag: '5', mode: 0o755 },
      { name: 'dir/file', data: 'hello', uid: 1000, gid: 4_000_000_000, mtime: 86_400 },
      { name: 'link', typeflag: '2', linkname: 'dir/file' },
      { name: 'null', typeflag: '3', devmajor: 1, devminor: 3 },
      { name: 'short', gnuName: 'g'.repeat(150), magic: magics.gnu },
      { name: 'short', pax: { path: 'p'.repeat(300), mtime: '1.5' } },
    ]),
  )
  assert.equal(lines.length, 6)
  assert.match(lines[1] ?? '', /1000\/4000000000 +5 1970-01-02 00:00 dir\/file$/)
  assert.match(lines[2] ?? '', /link -> dir\/file$/)
  assert.match(lines[3] ?? '', /^c.* 1,3 .*null$/)
  assert.ok(lines[4]?.endsWith('g'.repeat(150)))
  assert.ok(lines[5]?.endsWith(` ${'p'.repeat(300)}`))
})

test('GNU tar unpacks every sparse format to the same file', () => {
  const expected = Buffer.alloc(sparse.realSize)
  for (const { offset, data } of sparse.segments) expected.write(data, offset)
  const archives = [
    oldGnuSparse(sparse),
    ...(['0.0', '0.1', '1.0'] as const).map(version => paxSparse(version, sparse)),
  ]
  for (const archive of archives) {
    const dir = mkdtempSync(join(tmpdir(), 'windlass-sparse-'))
    execFileSync('tar', ['-xf', '-', '-C', dir], { input: buildTar([archive]) })
    assert.ok(readFileSync(join(dir, 'holes')).equals(expected))
    assert.equal(statSync(join(dir, 'holes')).size, sparse.realSize)
    rmSync(dir, { recursive: true })
  }
})

test('a bad checksum is bad, and a signed one is taken by GNU tar', () => {
  const listing = (block: Uint8Array) => spawnSync('tar', ['-tf', '-'], { input: buildTar([block]) })
  assert.notEqual(listing(rawHeader({ name: 'x', checksum: 'bad' })).status, 0)
  assert.equal(listing(rawHeader({ name: 'é', checksum: 'signed' })).status, 0)
})

test('a PAX record counts its own length, also where the length gains a digit', () => {
  assert.equal(paxBody({ a: 'b' }).toString(), '6 a=b\n')
  for (let length = 1; length < 1200; length++) {
    const record = paxBody({ k: 'v'.repeat(length) })
    assert.equal(Number.parseInt(record.toString(), 10), record.length)
  }
})

test('base-256 holds negative and large numbers', () => {
  assert.equal(base256(-1, 12).toString('hex'), 'f'.repeat(24))
  assert.equal(base256(2 ** 40, 12).toString('hex'), '800000000000010000000000')
})
