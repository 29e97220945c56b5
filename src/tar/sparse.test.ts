import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type ReadEntry, readTar } from '../../test/memory-source.ts'
import { buildTar, magics, oldGnuSparse, padded, paxSparse, rawEntry } from '../../test/tar-builder.ts'
import { defaultTarLimits } from './entry.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-sparse-'))
after(() => rmSync(directory, { recursive: true }))
const names = ['empty', 'hole', 'lead', 'many', 'middle', 'tail']
execFileSync(
  'sh',
  [
    '-ec',
    `truncate -s 0 empty; truncate -s 5M hole
    { truncate -s 2M /dev/stdout; } >lead 2>/dev/null || true; truncate -s 2M lead; seq 3000 >>lead
    { seq 3000; } >tail; truncate -s 3M tail
    { seq 300; } >middle; truncate -s 1M middle; seq 300 >>middle; truncate -s 4000001 middle
    i=0; while [ $i -lt 60 ]; do printf x | dd of=many bs=1 seek=$((i * 65536)) conv=notrunc status=none; i=$((i + 1)); done`,
  ],
  { cwd: directory },
)

/** The file as its pieces and holes say. */
function expand(entry: ReadEntry): Buffer {
  const file = Buffer.alloc(entry.fileSize)
  let at = 0
  for (const { offset, length } of entry.sparse ?? [{ offset: 0, length: entry.size }]) {
    entry.content.copy(file, offset, at, at + length)
    at += length
  }
  assert.equal(at, entry.content.length)
  return file
}

const formats: [string, string[]][] = [
  ['the old GNU format', ['--format=gnu']],
  ['PAX 0.0', ['--format=posix', '--sparse-version=0.0']],
  ['PAX 0.1', ['--format=posix', '--sparse-version=0.1']],
  ['PAX 1.0', ['--format=posix', '--sparse-version=1.0']],
]
for (const [what, options] of formats) {
  test(`what GNU tar writes in ${what} is read as the same files`, () => {
    const archive = execFileSync('tar', ['-S', ...options, '-cf', '-', ...names], {
      cwd: directory,
      maxBuffer: 64 * 1024 * 1024,
    })
    const entries = readTar(archive, { chunkMax: 1000 })
    assert.deepEqual(
      entries.map(entry => entry.name),
      names,
    )
    for (const entry of entries) {
      assert.ok(expand(entry).equals(readFileSync(join(directory, entry.name))), entry.name)
      if (entry.name !== 'empty') assert.ok(entry.size < entry.fileSize, `${entry.name} has holes`)
    }
  })
}

const file = { name: 'f', realSize: 8192, segments: [{ offset: 4096, data: 'x'.repeat(512) }] }
const next = { name: 'next', data: 'n' }

test('the entry after a sparse file is found, in every format', () => {
  for (const sparse of [oldGnuSparse(file), ...(['0.0', '0.1', '1.0'] as const).map(v => paxSparse(v, file))]) {
    const entries = readTar(buildTar([sparse, next]))
    assert.deepEqual(
      entries.map(entry => [entry.name, entry.fileSize, entry.content.length]),
      [
        ['f', 8192, 512],
        ['next', 1, 1],
      ],
    )
  }
})

function refused(entry: Uint8Array, wanted: RegExp): void {
  assert.throws(() => readTar(buildTar([entry, next])), wanted)
}

function paxMap(map: string, realSize = 8192): Buffer {
  const pax = { 'GNU.sparse.size': `${realSize}`, 'GNU.sparse.map': map }
  return rawEntry({ name: 'f', pax, data: 'x'.repeat(512) })
}

test('a map that overlaps, goes back, leaves the file or does not fit the content is refused', () => {
  refused(paxMap('0,256,128,256'), /overlap/)
  refused(paxMap('4096,256,0,256'), /overlap or go backwards/)
  refused(paxMap('8000,512'), /behind the end/)
  refused(paxMap('0,511'), /do not add up/)
  refused(paxMap('0,512,600'), /has no length/)
  refused(paxMap('0,-512'), /number is wrong/)
  refused(paxMap('0x0,512'), /number is wrong/)
  refused(paxMap('9007199254740992,0'), /number is wrong/)
})

test('a map in the content that is cut, too long or no numbers is refused', () => {
  const inContent = (content: string): Buffer =>
    rawEntry({
      name: 'f',
      pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '100' },
      data: padded(Buffer.from(content)),
    })
  refused(inContent('1\n0\n'), /number is wrong|too long/)
  refused(inContent('9'.repeat(30)), /too long/)
  refused(inContent('4\n'.repeat(256)), /overlap|ends within/)
  refused(inContent('x\n'), /number is wrong/)
})

test('more pieces than allowed are refused before they take memory', () => {
  const limits = { ...defaultTarLimits, sparsePiecesMax: 3 }
  const many = { ...file, segments: [0, 1, 2, 3, 4, 5].map(n => ({ offset: n * 1024, data: 'x'.repeat(512) })) }
  for (const sparse of [oldGnuSparse(many), ...(['0.0', '0.1', '1.0'] as const).map(v => paxSparse(v, many))])
    assert.throws(() => readTar(buildTar([sparse]), { limits }), { code: 'LIMIT_EXCEEDED' })
})

test('a sparse format that is not known, or is not what its header says, is refused', () => {
  refused(rawEntry({ name: 'f', pax: { 'GNU.sparse.major': '2', 'GNU.sparse.minor': '0' }, data: 'x' }), /unknown/)
  refused(rawEntry({ name: 'f', typeflag: 'S', magic: magics.ustar, data: 'x' }), /not in GNU format/)
})
