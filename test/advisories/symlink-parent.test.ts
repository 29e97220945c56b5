import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Arena, dir, file, link, modes, symlink } from './arena.ts'

/** CWE-59, CVE-2018-15664, CVE-2019-14271 and their kin: a link is planted, then something is written, made or removed through it. */

for (const mode of modes) {
  test(`${mode}: what is written through a planted symlink lands inside`, async () => {
    using arena = new Arena()
    await arena.unpack(mode, [
      dir('etc'),
      symlink('abs', '/etc'),
      file('abs/windlass-evil'),
      symlink('up', '../../../../../../etc'),
      file('up/windlass-evil2'),
      symlink('chain1', 'abs'),
      symlink('chain2', 'chain1'),
      dir('chain2/windlass-evil3'),
      { name: 'chain2/null', typeflag: '3', devmajor: 1, devminor: 3 },
      symlink('chain2/sym', 'x'),
    ])
    assert.deepEqual(
      arena.inside().filter(name => name.startsWith('etc/')),
      ['etc/null', 'etc/sym', 'etc/windlass-evil', 'etc/windlass-evil2', 'etc/windlass-evil3'],
    )
    assert.equal(existsSync('/etc/windlass-evil'), false)
  })

  test(`${mode}: a symlink to a directory of the host leads to one of that name inside`, async () => {
    using arena = new Arena()
    await arena.unpack(mode, [symlink('s', arena.outside), file('s/file')])
    await arena.unpack(mode, [symlink('t', '../outside'), file('t/file'), dir('t/dir'), file('t/dir/file')])
    await arena.unpack(mode, [symlink('p', '/proc/1/root'), file('p/tmp/x')])
    for (const name of [`${arena.outside}/file`, 'outside/file', 'outside/dir/file', 'proc/1/root/tmp/x'])
      assert.equal(readFileSync(join(arena.root, name), 'utf8'), 'evil')
  })

  test(`${mode}: a symlink that is overwritten is replaced, not followed`, async () => {
    using arena = new Arena()
    const target = `${arena.outside}/file`
    await arena.unpack(mode, [symlink('s', target), file('s'), symlink('d', arena.outside), dir('d'), file('d/file')])
    await arena.unpack(mode, [symlink('s', target), { name: 's', typeflag: '6', mode: 0o777, uid: 7 }])
    assert.deepEqual(arena.inside(), ['d', 'd/file', 's'])
  })

  test(`${mode}: a directory that becomes a symlink between its entries is not followed out`, async () => {
    using arena = new Arena()
    const layer = [dir('d'), file('d/one'), symlink('d', arena.outside), file('d/file')]
    await arena.unpack(mode, layer)
    assert.equal(readFileSync(join(arena.root, arena.outside, 'file'), 'utf8'), 'evil')
  })

  test(`${mode}: owner, mode, times and attributes of a symlink are never its target's`, async () => {
    using arena = new Arena()
    const facts = { mode: 0o7777, uid: 9, gid: 9, mtime: 5, pax: { 'SCHILY.xattr.trusted.evil': '1' } }
    await arena.unpack(mode, [
      { ...symlink('s', '../outside/file'), ...facts },
      { ...symlink('d', '../outside/dir'), ...facts },
    ])
    assert.deepEqual(arena.inside(), ['d', 's'])
  })

  test(`${mode}: a hard link through or to a symlink reaches nothing outside`, async () => {
    using arena = new Arena()
    await assert.rejects(
      arena.unpack(mode, [symlink('s', arena.outside), link('h', 's/file'), file('h')]),
      /does not exist in this layer/,
    )
    await assert.rejects(arena.unpack(mode, [link('h', `${arena.outside}/file`)]), /does not exist/)
    // The link is to the symlink; what is then written under its name replaces it.
    await arena.unpack(mode, [symlink('t', `${arena.outside}/file`), link('l', 't'), file('l')])
    assert.deepEqual(arena.inside(), ['l', 's', 't'])
  })

  test(`${mode}: a symlink of a layer below is no way out for the one above`, async () => {
    using arena = new Arena()
    const lower = [symlink('s', arena.outside), symlink('u', '../outside')]
    await arena.unpack(mode, lower, [file('s/file'), file('u/file')])
    for (const name of [`${arena.outside}/file`, 'outside/file'])
      assert.equal(readFileSync(join(arena.root, name), 'utf8'), 'evil')
  })
}
