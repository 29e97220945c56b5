import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { lstatSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isWindlassError } from '../../src/errors.ts'
import { defaultTarLimits, type TarLimits } from '../../src/tar/entry.ts'
import { paxEntry, paxSparse, type RawEntry, rawEntry } from '../tar-builder.ts'
import { unpackTar } from '../unpack-tar.ts'
import { Arena, dir, file, modes } from './arena.ts'

/** CWE-400, CWE-409: little that becomes much: entries, names, directories, lengths, headers, attributes. */

const long = (name: string): RawEntry => ({ name: 'long', data: 'x', gnuName: name })

async function refused(
  layer: Parameters<typeof unpackTar>[1],
  limits: Partial<TarLimits>,
  wanted: RegExp,
): Promise<void> {
  using arena = new Arena()
  await assert.rejects(unpackTar(arena.root, layer, { limits: { ...defaultTarLimits, ...limits } }), error => {
    assert.ok(isWindlassError(error, 'LIMIT_EXCEEDED'), String(error))
    return wanted.test(error.message)
  })
}

test('more entries than allowed are refused', async () => {
  const layer = Array.from({ length: 6 }, (_, n) => file(`f${n}`, ''))
  await refused(layer, { entriesMax: 5 }, /more than 5 entries/)
})

test('names that make a multitude of directories are refused, also where each replaces the one before', async () => {
  const deep = (first: string): RawEntry => long(`${first}/${'d/'.repeat(200)}f`)
  await refused(
    [0, 1, 2].map(n => deep(`${n}`)),
    { impliedMax: 500 },
    /more than 500 directories/,
  )
  const whiteouts = [0, 1, 2].map(n => long(`${n}/${'d/'.repeat(200)}.wh.f`))
  await refused(whiteouts, { impliedMax: 500 }, /more than 500 directories/)
  const again = [0, 1, 2].flatMap(() => [deep('x'), file('x'), dir('x')])
  await refused(again, { impliedMax: 500 }, /more than 500 directories/)
})

test('long names of directories that nothing describes are refused, however few they are', async () => {
  const layer = [long(`${'long-name/'.repeat(300)}f`)]
  await refused(layer, { impliedBytesMax: 400_000 }, /names of more than 400000 bytes/)
  using arena = new Arena()
  await unpackTar(arena.root, layer, { limits: { ...defaultTarLimits, impliedBytesMax: 500_000 } })
})

test('directories that are described count as entries only', async () => {
  using arena = new Arena()
  const layer = Array.from({ length: 50 }, (_, n) => dir(`d${n}`))
  await unpackTar(arena.root, layer, { limits: { ...defaultTarLimits, impliedMax: 0 } })
  assert.equal(arena.inside().length, 50)
})

test('lengths of sparse files whose sum no counter could hold are refused, one that is merely large is not', async () => {
  const sparse = (name: string, realSize: number): Buffer =>
    paxSparse('0.1', { name, realSize, segments: [{ offset: 0, data: 'x' }] })
  using arena = new Arena()
  await unpackTar(arena.root, [sparse('disk.img', 2 ** 40)])
  const { size, blocks } = statSync(join(arena.root, 'disk.img'))
  assert.deepEqual([size, blocks <= 16], [2 ** 40, true])
  await refused(
    [sparse('a', 2 ** 42), sparse('b', 2 ** 42), sparse('c', 2 ** 42)],
    {},
    /files of more than 8796093022208 bytes/,
  )
  await refused([sparse('a', Number.MAX_SAFE_INTEGER)], {}, /files of more than/)
})

test('a header as large as memory is refused before it is read', async () => {
  for (const typeflag of ['x', 'g', 'L', 'K'])
    await refused([rawEntry({ name: 'h', typeflag, size: 2 ** 40 }), file('f')], {}, /an extension header of/)
})

test('a flood of headers in front of an entry, and one that never comes, are refused', async () => {
  using arena = new Arena()
  const flood = Array.from({ length: 2000 }, () => paxEntry({ comment: 'c' }, 'g'))
  await assert.rejects(arena.unpack('overlay', [...flood, file('f')]), /too many extension headers/)
})

test('attributes of directories, which are held until the end, are bounded', async () => {
  using arena = new Arena()
  // 15 of 64 KiB each, as many as one header takes.
  const values = Array.from({ length: 15 }, (_, n) => [`SCHILY.xattr.user.${n}`, 'x'.repeat(65_000)])
  const flood = Array.from({ length: 70 }, (_, n) => dir(`d${n}`, { pax: Object.fromEntries(values) }))
  await assert.rejects(
    unpackTar(arena.root, flood),
    error =>
      isWindlassError(error, 'LIMIT_EXCEEDED') && /attributes of its directories exceed 64 MiB/.test(error.message),
  )
})

test('attributes that no inode could hold are refused as such, not as a full disk', async () => {
  using arena = new Arena()
  const values = {
    'user.large': 'x'.repeat(60_000),
    [`user.${'n'.repeat(300)}`]: 'x',
    'security.capability': 'no capability',
  }
  for (const [name, value] of Object.entries(values)) {
    const evil = file('f', 'x', { pax: { [`SCHILY.xattr.${name}`]: value } })
    await assert.rejects(
      unpackTar(arena.root, [evil]),
      error => isWindlassError(error, 'CORRUPT') && /extended attributes/.test(error.message),
    )
  }
})

for (const mode of modes)
  test(`${mode}: a maze of symlinks ends, and says so`, async () => {
    using arena = new Arena()
    const maze = Array.from({ length: 60 }, (_, n) => ({
      name: `s${n}`,
      typeflag: '2',
      linkname: `s${n + 1}`,
      mode: 0o777,
    }))
    const circle = [
      { name: 'a', typeflag: '2', linkname: 'b', mode: 0o777 },
      { name: 'b', typeflag: '2', linkname: 'a', mode: 0o777 },
    ]
    for (const [links, start] of [[maze, 's0'] as const, [circle, 'a'] as const]) {
      await assert.rejects(arena.unpack(mode, [...links, file(`${start}/f`)]), error =>
        isWindlassError(error, 'CORRUPT'),
      )
      await assert.rejects(
        arena.unpack(mode, [...links, { name: 'h', typeflag: '1', linkname: `${start}/f` }]),
        error => isWindlassError(error, 'CORRUPT'),
      )
    }
  })

/**
 * Symlinks, each of which leads through eight hundred directories and back before it comes to the next. Not forty: where something is renamed meanwhile,
 * the kernel walks anew, and counts on.
 */
const windings: RawEntry[] = Array.from({ length: 16 }, (_, n) => ({
  name: `s${n}`,
  typeflag: '2',
  gnuLink: `${'d/../'.repeat(800)}${n === 0 ? '.' : `s${n - 1}`}`,
  mode: 0o777,
}))
const winding = (name: string): RawEntry => file(`s15/${name}`, '')
/** Each of them walks anew: the directory of the one before is another. */
const windingFiles = Array.from({ length: 12 }, (_, n) => [winding(`f${n}`), file(`d/g${n}`, '')]).flat()

for (const mode of modes)
  test(`${mode}: names that wind through symlinks are bounded by the steps that they take`, {
    timeout: 60_000,
  }, async () => {
    const start = [dir('d'), file('f', ''), ...windings]
    const ways: Record<string, RawEntry[]> = {
      files: windingFiles,
      'hard links': Array.from({ length: 12 }, (_, n) => ({ name: `h${n}`, typeflag: '1', linkname: 's15/f' })),
      'attributes of nodes in one directory': Array.from({ length: 12 }, (_, n) => ({
        ...winding(`n${n}`),
        typeflag: '6',
        pax: { 'SCHILY.xattr.trusted.a': 'b' },
      })),
      directories: Array.from({ length: 12 }, (_, n) => ({ ...winding(`d${n}`), typeflag: '5', mode: 0o2755 })),
    }
    for (const [what, entries] of Object.entries(ways)) {
      using arena = new Arena()
      const limits = { ...defaultTarLimits, walkStepsMax: 150_000 }
      await assert.rejects(
        unpackTar(arena.root, [...start, ...entries], { mode, limits }),
        error => isWindlassError(error, 'LIMIT_EXCEEDED') && /lead through more than 150000/.test(error.message),
        what,
      )
    }
    using arena = new Arena()
    await unpackTar(arena.root, [...start, ...windingFiles.slice(0, 4)], { mode })
    assert.ok(arena.inside().includes('f1'))
  })

test('what a whiteout removes by a name that winds through symlinks is bounded, too', { timeout: 60_000 }, async () => {
  const many = Array.from({ length: 12 }, (_, n) => file(`many/${n}`, ''))
  using arena = new Arena()
  await arena.unpack('flat', [dir('d'), ...windings, ...many])
  const limits = { ...defaultTarLimits, walkStepsMax: 150_000 }
  await assert.rejects(
    unpackTar(arena.root, [file('s15/.wh.many', '')], { mode: 'flat', limits }),
    error => isWindlassError(error, 'LIMIT_EXCEEDED') && /lead through/.test(error.message),
  )
})

test('a tree deeper than any path, built through symlinks, is unpacked or refused, and taken away or refused; nothing hangs', async () => {
  using arena = new Arena()
  const step = 'd/'.repeat(1500)
  const layer = [long(`${step}f`)]
  for (let n = 0; n < 4; n++) {
    const target = n === 0 ? step : `s${n - 1}/${step}`
    layer.push({ name: `s${n}`, typeflag: '2', gnuLink: target, mode: 0o777 }, long(`s${n}/${step}f`))
  }
  await unpackTar(arena.root, layer)
  assert.ok(lstatSync(join(arena.root, 's3')).isSymbolicLink())
  // The next layer takes the whole of it away, as far as a path reaches: the rest is the store's to remove.
  await assert.rejects(unpackTar(arena.root, [file('d')], { mode: 'flat' }), error => isWindlassError(error, 'CORRUPT'))
  execFileSync('rm', ['-rf', join(arena.root, 'd')])
})
