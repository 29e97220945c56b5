import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Arena, dir, file, link, modes, symlink } from './arena.ts'

/** Whiteouts are orders to remove: through a planted link, or for a name like `..`, they would remove what is not the image's. */

for (const mode of modes) {
  test(`${mode}: a whiteout through a planted symlink removes nothing outside`, async () => {
    using arena = new Arena()
    const layer = [
      symlink('a', '/'),
      file('a/.wh.etc', ''),
      symlink('b', '../../../../..'),
      file('b/.wh.tmp', ''),
      symlink('c', '/'),
      file('c/.wh..wh..opq', ''),
    ]
    await arena.unpack(mode, layer)
    assert.ok(existsSync('/etc') && existsSync('/tmp'))
    using second = new Arena()
    const out = [dir(second.outside), symlink('o', second.outside), file('o/.wh.file', ''), file('o/.wh..wh..opq', '')]
    await second.unpack(mode, [file(`${second.outside}/file`)], out)
  })

  test(`${mode}: a whiteout in a symlink that leads out of the root is no removal there`, async () => {
    using arena = new Arena()
    const lower = [symlink('s', arena.outside), symlink('t', '../outside')]
    for (const name of ['s/.wh.file', 't/.wh.file', 's/.wh..wh..opq', 't/.wh.dir'])
      await arena.unpack(mode, lower, [file(name, '')])
    // What it is said to be in is made where that is inside.
    const made = arena.inside().filter(name => !`${arena.outside}/`.startsWith(`/${name}/`))
    assert.deepEqual(
      made.filter(name => !/(^|\/)(outside|file|dir)$/.test(name)),
      ['s', 't'],
    )
  })

  test(`${mode}: a whiteout of a symlink removes the symlink`, async () => {
    using arena = new Arena()
    await arena.unpack(
      'flat',
      [symlink('s', arena.outside), dir('d'), symlink('d/in', '/')],
      [file('.wh.s', ''), file('.wh.d', '')],
    )
    assert.deepEqual(arena.inside(), [])
  })

  test(`${mode}: a whiteout of nothing, of . and of .. is refused`, async () => {
    for (const name of ['.wh.', '.wh..', '.wh...', 'd/.wh..', 'd/.wh...', '../.wh...', './d/../.wh...']) {
      using arena = new Arena()
      await assert.rejects(arena.unpack(mode, [file('d/kept')], [file(name, '')]), /names no file/)
      assert.deepEqual(arena.inside(), ['d', 'd/kept'])
    }
  })

  test(`${mode}: a whiteout that climbs stays inside`, async () => {
    using arena = new Arena()
    await arena.unpack(mode, [file('kept')], [file('../outside/.wh.file', ''), file('../../.wh.outside', '')])
    assert.ok(existsSync(join(arena.root, 'kept')))
  })
}

test('a whiteout in overlay form cannot be smuggled in as a device, an attribute or a link', async () => {
  using arena = new Arena()
  const device = { name: 'etc', typeflag: '3', devmajor: 0, devminor: 0 }
  await assert.rejects(arena.unpack('overlay', [device]), /would be a whiteout/)
  await assert.rejects(arena.unpack('overlay', [file('.wh.a', ''), link('b', 'a')]), /does not exist/)
  const xattrs = [
    'trusted.overlay.opaque',
    'trusted.overlay.redirect',
    'trusted.overlay.metacopy',
    'user.overlay.whiteout',
  ]
  const pax = Object.fromEntries(xattrs.map(name => [`SCHILY.xattr.${name}`, 'y']))
  const [applied] = await arena.unpack('overlay', [dir('d', { pax }), file('f', 'x', { pax })])
  assert.deepEqual([...(applied?.droppedXattrs ?? [])].sort(), xattrs.sort())
})
