import assert from 'node:assert/strict'
import { lstatSync } from 'node:fs'
import { test } from 'node:test'
import { isForbiddenXattr } from '../../src/layer/metadata.ts'
import { base256 } from '../tar-builder.ts'
import { readTree } from '../tree.ts'
import { Arena, dir, file, link, modes, symlink } from './arena.ts'

/** The root of a layer replaced by a link, and device numbers that the kernel would cut to others. */

for (const mode of modes) {
  test(`${mode}: the root cannot be replaced or removed`, async () => {
    using arena = new Arena()
    const roots = [symlink('./', arena.outside), symlink('/', '../outside'), file('.'), link('..', 'x'), file('a/..')]
    for (const entry of roots)
      await assert.rejects(arena.unpack(mode, [file('x'), entry, file('file')]), /root of a layer must be a directory/)
    assert.ok(lstatSync(arena.root).isDirectory())
    assert.deepEqual(arena.inside(), ['x'])
  })

  test(`${mode}: facts of the root are the layer root's, not those of the directory around it`, async () => {
    using arena = new Arena()
    const around = lstatSync(arena.path)
    await arena.unpack(mode, [dir('../../', { mode: 0o700, uid: 77, mtime: 5 })])
    assert.equal(lstatSync(arena.root).uid, 77)
    assert.deepEqual([lstatSync(arena.path).uid, lstatSync(arena.path).mtimeMs], [around.uid, around.mtimeMs])
  })

  test(`${mode}: a device number that would be cut to another device is refused`, async () => {
    using arena = new Arena()
    const numbers: [number, number][] = [
      [4096 + 8, 0],
      [8, 1_048_576],
      [2 ** 32 + 8, 0],
      [-1, 0],
    ]
    for (const [major, minor] of numbers) {
      const device = { name: 'sda', typeflag: '4', devmajor: base256(major, 8), devminor: base256(minor, 8) }
      await assert.rejects(arena.unpack(mode, [device]), /out of range/)
    }
    assert.deepEqual(arena.inside(), [])
  })

  test(`${mode}: an owner of 2^32 - 1, which chown takes for "leave it", is refused`, async () => {
    using arena = new Arena()
    for (const uid of [0xffff_ffff, 2 ** 32, -1])
      await assert.rejects(arena.unpack(mode, [file('suid', 'x', { mode: 0o4755, uid: base256(uid, 8) })]), /owner/)
    assert.deepEqual(arena.inside(), [])
  })
}

test('labels of the host and access lists of a file server are left out; capabilities and signatures stay', async () => {
  using arena = new Arena()
  const labels = ['security.SMACK64', 'security.apparmor', 'security.selinux', 'system.nfs4_acl']
  const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex')
  const pax: [string, string | Buffer][] = labels.map(name => [`SCHILY.xattr.${name}`, 'evil'])
  pax.push(['SCHILY.xattr.security.capability', capability], ['SCHILY.xattr.security.ima', 'signature'])
  const [applied] = await arena.unpack('overlay', [file('f', 'x', { pax })])
  assert.deepEqual([...(applied?.droppedXattrs ?? [])].sort(), labels.sort())
  // Whatever filesystem this is: where it knows of such lists, they would be set.
  for (const label of labels) assert.ok(isForbiddenXattr(label), label)
  const xattrs = readTree(arena.root).get('f')?.xattrs ?? ''
  assert.deepEqual(
    xattrs.split(' ').map(text => text.replace(/=.*/, '')),
    ['security.capability', 'security.ima'],
  )
})
