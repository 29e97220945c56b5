import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import { readTar } from '../../test/memory-source.ts'
import {
  base256,
  buildTar,
  gnuLongEntry,
  magics,
  paxEntry,
  type RawEntry,
  rawEntry,
  rawHeader,
} from '../../test/tar-builder.ts'
import { isWindlassError } from '../errors.ts'
import { defaultTarLimits } from './entry.ts'

function names(archive: Uint8Array): string[] {
  return readTar(archive).map(entry => entry.name)
}

function only(entry: RawEntry | Uint8Array): ReturnType<typeof readTar>[number] {
  const [first, second] = readTar(buildTar([entry, { name: 'next', data: 'next' }]))
  assert.equal(second?.content.toString(), 'next', 'the entry after it is found')
  assert.ok(first !== undefined)
  return first
}

function refused(entries: readonly (RawEntry | Uint8Array)[], wanted: RegExp, code = 'CORRUPT'): void {
  assert.throws(
    () => readTar(buildTar(entries)),
    error => isWindlassError(error) && error.code === code && wanted.test(error.message),
  )
}

test('all facts of a header are read', () => {
  const entry = only({ name: 'a/b', mode: 0o100_6755, uid: 7, gid: 8, mtime: 9, data: 'hello' })
  assert.deepEqual(
    { ...entry, content: entry.content.toString() },
    {
      type: 'file',
      name: 'a/b',
      linkName: '',
      mode: 0o6755,
      uid: 7,
      gid: 8,
      size: 5,
      fileSize: 5,
      mtimeSeconds: 9,
      mtimeNanoseconds: 0,
      major: 0,
      minor: 0,
      xattrs: undefined,
      sparse: undefined,
      content: 'hello',
    },
  )
})

test('every type is told', () => {
  const types = { '0': 'file', '7': 'file', '1': 'link', '2': 'symlink', '3': 'char', '4': 'block', '5': 'directory' }
  for (const [typeflag, type] of Object.entries({ ...types, '6': 'fifo', '\0': 'file' }))
    assert.equal(only({ name: 'x', typeflag, linkname: 'y' }).type, type)
  const device = only({ name: 'd', typeflag: '3', devmajor: 259, devminor: 70_000 })
  assert.deepEqual([device.major, device.minor], [259, 70_000])
})

test('names come from the field, the prefix of ustar and of star, GNU L and K, and PAX', () => {
  const long = 'n'.repeat(300)
  assert.equal(only({ name: 'n'.repeat(100), prefix: 'p'.repeat(155) }).name, `${'p'.repeat(155)}/${'n'.repeat(100)}`)
  const star = [
    { at: 345 + 131, bytes: '00000000000\x0000000000000\0' },
    { at: 508, bytes: 'tar\0' },
  ]
  assert.equal(only({ name: 'n', prefix: 'p'.repeat(131), patches: star }).name, `${'p'.repeat(131)}/n`)
  assert.equal(only({ name: 'n', prefix: 'not a prefix', magic: magics.v7 }).name, 'n')
  const gnu = only({ name: 'short', typeflag: '2', gnuName: long, gnuLink: `${long}/l`, magic: magics.gnu })
  assert.deepEqual([gnu.name, gnu.linkName], [long, `${long}/l`])
  const pax = only({ name: 'short', typeflag: '2', pax: { path: long, linkpath: 'to' } })
  assert.deepEqual([pax.name, pax.linkName], [long, 'to'])
  assert.equal(only({ name: Buffer.from('66e9ff0a', 'hex') }).name, 'f\xe9\xff\n')
})

test('times in a GNU header are no prefix, but a prefix that old Go wrote there is one', () => {
  const times = { name: 'n', magic: magics.gnu, patches: [{ at: 345, bytes: '14371573513\x0014371573513\0' }] }
  assert.equal(only(times).name, 'n')
  assert.equal(
    only({ name: 'n', magic: magics.gnu, prefix: 'usr/share/a/long/directory' }).name,
    'usr/share/a/long/directory/n',
  )
  assert.equal(only({ name: 'n', magic: magics.gnu, prefix: Buffer.from('usr/\xff', 'latin1') }).name, 'n')
})

test('a file of v7 whose name ends with a slash is a directory, also where the name is a long one', () => {
  assert.equal(only({ name: 'd/', typeflag: '\0', magic: magics.v7 }).type, 'directory')
  assert.equal(only({ name: 'd', gnuName: `${'d'.repeat(200)}/`, typeflag: '\0', magic: magics.gnu }).type, 'directory')
  assert.equal(only({ name: 'f/', typeflag: '0' }).type, 'file')
})

test('PAX values count before those of the header, and an empty one does not', () => {
  const pax = { path: '', size: '3', uid: '3000000', gid: '', mtime: '-1.5', 'SCHILY.xattr.user.empty': '' }
  const entry = only({ name: 'n', gid: 5, size: 1, pax, data: 'abc' })
  assert.deepEqual(
    [entry.name, entry.size, entry.uid, entry.gid, entry.mtimeSeconds, entry.mtimeNanoseconds],
    ['n', 3, 3_000_000, 5, -2, 500_000_000],
  )
  assert.equal(entry.content.toString(), 'abc')
  assert.equal(entry.xattrs?.get('user.empty')?.length, 0)
})

test('the size of what has no content is ignored', () => {
  for (const typeflag of ['1', '2', '3', '4', '5', '6'])
    assert.equal(only({ name: 'x', linkname: 'y', typeflag, size: 4096 }).size, 0)
  assert.equal(only({ name: 'd/', typeflag: '\0', size: 4096 }).size, 0)
})

test('large and negative numbers are read in base-256', () => {
  const entry = only({ name: 'n', uid: 2 ** 31, gid: 4_294_967_294, mtime: base256(-5, 12) })
  assert.deepEqual([entry.uid, entry.gid, entry.mtimeSeconds], [2 ** 31, 4_294_967_294, -5])
})

test('a checksum of signed bytes is taken, a wrong one is not', () => {
  assert.equal(only(rawEntry({ name: 'é', checksum: 'signed' })).name, 'Ã©')
  refused([{ name: 'x', checksum: 'bad' }], /checksum/)
  refused([Buffer.alloc(512, 'x')], /checksum|octal/)
})

test('the archive ends with two blocks of zeros, or where the stream ends between entries', () => {
  const entry = rawEntry({ name: 'a', data: 'x' })
  assert.deepEqual(names(Buffer.concat([entry, Buffer.alloc(1024), entry])), ['a'])
  assert.deepEqual(names(entry), ['a'])
  assert.deepEqual(names(Buffer.concat([entry, Buffer.alloc(512)])), ['a'])
  assert.deepEqual(names(entry.subarray(0, 600)), ['a'], 'only padding is missing')
  assert.deepEqual(names(Buffer.alloc(0)), [])
})

test('a single block of zeros between entries is refused', () => {
  refused([{ name: 'a' }, Buffer.alloc(512), { name: 'b' }], /block of zeros/)
})

test('an archive that is cut within a header, a content or an extension is refused', () => {
  const archive = buildTar([{ name: 'a', data: 'x'.repeat(2000), pax: { path: 'p', comment: 'c'.repeat(600) } }])
  const cuts = [1, 511, 513, 600, 1100, 1537, 2047, 2049, 3000, 4047]
  for (const cut of cuts) assert.throws(() => readTar(archive.subarray(0, cut)), { code: 'CORRUPT' }, `cut at ${cut}`)
})

test('types that are not known are refused by name', () => {
  for (const typeflag of ['D', 'M', 'N', 'V', 'X', '8', 'A', '\x01'])
    refused([{ name: 'odd', typeflag }], /"odd" is of unknown type/)
})

test('a refusal says where it was', () => {
  refused([{ name: 'first' }, { name: 'x', checksum: 'bad' }], /\(entry 2, at or after "first"\)/)
})

test('a global header is ignored, unless it would move entries for other readers', () => {
  const comment = { comment: 'a git commit', uid: '5', 'SCHILY.xattr.user.x': 'y' }
  const entry = only({ name: 'a', uid: 1, globalPax: comment })
  assert.deepEqual([entry.uid, entry.xattrs], [1, undefined])
  for (const key of ['path', 'linkpath', 'size', 'GNU.sparse.map'])
    refused([{ name: 'a', globalPax: { [key]: '1' } }], /global PAX header sets/)
})

test('extensions on which readers disagree are refused', () => {
  refused([paxEntry({ path: 'a' }), paxEntry({ uid: '1' }), { name: 'n' }], /two PAX headers/)
  refused([paxEntry({ path: 'a' }), paxEntry({ comment: 'c' }, 'g'), { name: 'n' }], /between an entry and its ext/)
  refused([gnuLongEntry('L', 'a'), paxEntry({ path: 'b' }), { name: 'n' }], /different path/)
  refused([gnuLongEntry('K', 'a'), paxEntry({ linkpath: 'b' }), { name: 'n', typeflag: '2' }], /different linkpath/)
  refused([gnuLongEntry('L', Buffer.from('..\0')), { name: 'n', pax: { path: 'a\0b' } }], /NUL|different/)
})

test('extensions belong to one entry only', () => {
  const entries = readTar(buildTar([{ name: 'a', pax: { path: 'long', uid: '9' } }, { name: 'b' }]))
  assert.deepEqual(
    entries.map(entry => [entry.name, entry.uid]),
    [
      ['long', 9],
      ['b', 0],
    ],
  )
})

test('a flood of extensions, entries or long names is refused', () => {
  refused(
    [...Array(50)].map(() => gnuLongEntry('L', 'x')),
    /too many extension headers/,
  )
  const limits = { ...defaultTarLimits, entriesMax: 3 }
  const archive = buildTar(['a', 'b', 'c', 'd'].map(name => ({ name })))
  assert.throws(() => readTar(archive, { limits }), { code: 'LIMIT_EXCEEDED' })
  assert.equal(readTar(buildTar([{ name: 'a' }, { name: 'b' }, { name: 'c' }]), { limits }).length, 3)
  refused([{ name: 'x', gnuName: 'n'.repeat(5000) }], /extension header of 5001 bytes/, 'LIMIT_EXCEEDED')
  refused([{ name: 'x', pax: { path: 'n'.repeat(5000) } }], /longer than 4096/, 'LIMIT_EXCEEDED')
  refused([{ name: 'x', typeflag: '2', pax: { linkpath: 'n'.repeat(5000) } }], /longer than 4096/, 'LIMIT_EXCEEDED')
  refused([{ name: 'x', pax: { comment: 'c'.repeat(1024 * 1024) } }], /extension header of/, 'LIMIT_EXCEEDED')
})

test('a PAX header beyond what a source gives at once is read where the limit allows it', () => {
  const value = Buffer.alloc(3 * 1024 * 1024, 'v')
  const archive = buildTar([{ name: 'x', pax: { 'SCHILY.xattr.user.big': value, path: 'big' } }, { name: 'y' }])
  const [entry, after] = readTar(archive, {
    chunkMax: 100_000,
    limits: { ...defaultTarLimits, paxMax: 4 * 1024 * 1024 },
  })
  assert.ok(entry?.xattrs?.get('user.big')?.equals(value))
  assert.deepEqual([entry?.name, after?.name], ['big', 'y'])
})

test('owners, sizes and names out of range are refused', () => {
  refused([{ name: 'x', uid: base256(-1, 8) }], /negative owner/)
  refused([{ name: 'x', gid: 0xffff_ffff }], /owner out of range/)
  refused([{ name: 'x', pax: { uid: '4294967296' } }], /owner out of range/)
  refused([rawHeader({ name: 'x', size: base256(-512, 12) })], /negative size/)
  refused([{ name: 'x', pax: { size: '-1' } }], /size is not a number/)
  refused([{ name: 'x', typeflag: '2', pax: { linkpath: 'a\0b' } }], /NUL/)
  refused([{ name: 'x', pax: { size: '8796093022208' } }, { name: 'y' }], /archive ends within/)
})

const entryArbitrary = fc.record({
  name: fc.stringMatching(/^[a-z][a-z0-9./ -]{0,80}[a-z]$/),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  mtime: fc.integer({ min: 0, max: 2 ** 36 }),
  data: fc.uint8Array({ maxLength: 2000 }),
  pax: fc.option(fc.record({ path: fc.stringMatching(/^[a-z/]{1,200}x$/), mtime: fc.constant('5.5') }), {
    nil: undefined,
  }),
})

function clean({ pax, ...rest }: Omit<RawEntry, 'pax'> & { pax: Record<string, string> | undefined }): RawEntry {
  return pax === undefined ? rest : { ...rest, pax }
}

test('however the stream is cut into chunks, the same entries come out', () => {
  fc.assert(
    fc.property(fc.array(entryArbitrary, { maxLength: 5 }), fc.integer({ min: 1, max: 3000 }), (entries, chunkMax) => {
      const archive = buildTar(entries.map(clean))
      assert.deepEqual(readTar(archive, { chunkMax }), readTar(archive))
    }),
    { numRuns: 60 },
  )
})

test('GNU tar and bsdtar list the same names, sizes and times', () => {
  const archives = fc.sample(fc.array(entryArbitrary, { minLength: 1, maxLength: 12 }), 8)
  for (const entries of archives) {
    const archive = buildTar(entries.map(clean))
    const ours = readTar(archive).map(entry => `${entry.size} ${entry.name}`)
    const gnu = execFileSync('tar', ['-P', '--numeric-owner', '--full-time', '-tvf', '-'], { input: archive })
    const lines = gnu.toString().trim().split('\n')
    assert.deepEqual(
      lines.map(line => line.replace(/^\S+ \S+ +(\d+) \S+ \S+ +/, '$1 ')),
      ours,
    )
    const bsd = execFileSync('bsdtar', ['-P', '-tf', '-'], { input: archive }).toString().trim().split('\n')
    assert.deepEqual(
      bsd,
      readTar(archive).map(entry => entry.name),
    )
  }
})

test('any bytes, and any damage to an archive, end with entries or an error of ours', () => {
  const archive = buildTar([
    { name: 'a', data: 'x'.repeat(700), pax: { path: 'b', 'GNU.sparse.map': '0,700', 'GNU.sparse.size': '9000' } },
    { name: 'c', gnuName: 'd', magic: magics.gnu, typeflag: '5' },
    { name: 'e', typeflag: '2', linkname: 'f' },
  ])
  const check = (bytes: Uint8Array): void => {
    try {
      readTar(bytes)
    } catch (error) {
      assert.ok(isWindlassError(error), String(error))
    }
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 1600 }), check), { numRuns: 200 })
  const damage = fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(damage, fc.boolean(), (changes, fixed) => {
      const bytes = Buffer.from(archive)
      for (const [at, value] of changes) bytes[at] = value
      // With right checksums the damage gets further.
      if (fixed) for (let at = 0; at + 512 <= bytes.length; at += 512) fixChecksum(bytes.subarray(at, at + 512))
      check(bytes)
    }),
    { numRuns: 1000 },
  )
})

function fixChecksum(block: Buffer): void {
  if (block.toString('latin1', 257, 262) !== 'ustar') return
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
}
