import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildTar, magics, paxBody, paxEntry, paxRecord, rawEntry } from '../tar-builder.ts'
import { Arena, dir, file, link } from './arena.ts'

/** Entries that one reader sees and another takes for content (as in CVE-2025-62518): an archive that could be two is refused. */

const hidden = buildTar([file('hidden', 'evil')], { end: false })

async function refused(entries: Parameters<Arena['unpack']>[1], wanted: RegExp): Promise<void> {
  using arena = new Arena()
  await assert.rejects(arena.unpack('overlay', entries), wanted)
  assert.equal(arena.inside().includes('hidden'), false)
}

test('the size of a PAX header counts, for what follows as for the content', async () => {
  using arena = new Arena()
  const entry = rawEntry({ name: 'carrier', size: 0, data: hidden, pax: { size: `${hidden.length}` } })
  await arena.unpack('overlay', [entry, file('next')])
  assert.deepEqual(arena.inside(), ['carrier', 'next'])
})

test('two sizes in one PAX header, or one in a global header, are refused', async () => {
  const two = Buffer.concat([paxRecord('size', '0'), paxRecord('size', `${hidden.length}`)])
  await refused([paxEntry(two), { name: 'carrier', size: 0, data: hidden }], /comes twice/)
  await refused([{ name: 'carrier', size: 0, data: hidden, globalPax: { size: `${hidden.length}` } }], /global/)
})

test('a size that is no plain number is refused', async () => {
  for (const size of ['-512', '+1024', '1e3', '0x400', '1024.0', ' 1024', '18446744073709551616'])
    await refused([{ name: 'carrier', size: 0, data: hidden, pax: { size } }], /not a number in range/)
})

test('a PAX record whose length reaches into the next one is refused', async () => {
  const body = paxBody({ comment: 'x', size: `${hidden.length}` })
  const bad = Buffer.concat([Buffer.from(`${body.length + 10}`), body.subarray(2)])
  await refused([paxEntry(bad), { name: 'carrier', size: 0, data: hidden }], /wrong length/)
})

test('PAX extensions cut off from their entry are refused', async () => {
  const global = paxEntry({ comment: 'c' }, 'g')
  await refused([paxEntry({ size: '0' }), global, { name: 'carrier', data: hidden }], /between an entry and/)
  await refused([paxEntry({ size: '0' }), paxEntry({ uid: '0' }), { name: 'carrier', data: hidden }], /two PAX/)
})

test('content after a link or a directory is no content: its size is ignored, as docker ignores it', async () => {
  for (const entry of [link('l', 'f'), dir('d'), dir('d/', { typeflag: '\0', magic: magics.v7 })]) {
    using arena = new Arena()
    await arena.unpack('overlay', [file('f'), { ...entry, size: hidden.length }, hidden])
    assert.ok(arena.inside().includes('hidden'))
  }
})

test('an end of archive in the middle is refused, so that nothing stands behind it', async () => {
  await refused([file('first'), Buffer.alloc(512), hidden], /block of zeros/)
})

test('what stands behind the end of the archive is not unpacked', async () => {
  using arena = new Arena()
  await arena.unpack('overlay', [file('first'), Buffer.alloc(1024), hidden])
  assert.deepEqual(arena.inside(), ['first'])
})

test('a GNU long name that ends for one reader and goes on for another is refused', async () => {
  const long = (size: number): Buffer =>
    rawEntry({ name: '././@LongLink', typeflag: 'L', magic: magics.gnu, data: 'a/hidden\0', size })
  await refused([long(2), file('short')], /has no end/)
  await refused([Buffer.concat([long(8).subarray(0, 520), Buffer.alloc(504, 'x')]), file('short')], /has no end/)
  // Without a NUL of its own, yet with nothing behind it: some writers do so.
  using arena = new Arena()
  await arena.unpack('overlay', [long(8), file('short'), long(9), file('again')])
  assert.deepEqual(arena.inside(), ['a', 'a/hidden'])
})

test('a sparse map that claims more or less than the content is refused', async () => {
  const map = (text: string): Buffer =>
    rawEntry({ name: 'c', data: hidden, pax: { 'GNU.sparse.map': text, 'GNU.sparse.size': '9999' } })
  await refused([map('0,512')], /do not add up/)
  await refused([map(`0,${hidden.length + 512}`)], /do not add up/)
})
