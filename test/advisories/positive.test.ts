import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { unpackTar } from '../unpack-tar.ts'
import { Arena, dir, file, link, modes, symlink } from './arena.ts'

/** What sound images hold, and what hasty fixes of other engines broke with the attacks. */

for (const mode of modes) {
  test(`${mode}: entries below an absolute symlink, and hard links to absolute targets, are unpacked`, async () => {
    using arena = new Arena()
    await arena.unpack(mode, [
      dir('usr'),
      dir('usr/lib'),
      symlink('lib', '/usr/lib'),
      file('lib/a.so', 'library'),
      link('usr/lib/b.so', '/usr/lib/a.so'),
      link('lib/c.so', '/lib/b.so'),
    ])
    assert.equal(readFileSync(join(arena.root, 'usr/lib/c.so'), 'utf8'), 'library')
    assert.equal(lstatSync(join(arena.root, 'usr/lib/a.so')).nlink, 3)
  })

  test(`${mode}: parents that no entry describes are made with mode 0755, whatever the umask`, async () => {
    using arena = new Arena()
    const old = process.umask(0o077)
    try {
      await arena.unpack(mode, [file('opt/app/run', 'x', { mode: 0o751 })])
    } finally {
      process.umask(old)
    }
    const modesOf = ['opt', 'opt/app', 'opt/app/run'].map(name => lstatSync(join(arena.root, name)).mode & 0o7777)
    assert.deepEqual(modesOf, [0o755, 0o755, 0o751])
  })

  test(`${mode}: devices are made on a filesystem without devices, with the mode they have in the image`, async () => {
    using arena = new Arena()
    const place = join(arena.path, 'nodev')
    mkdirSync(place)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'nodev,nosuid', 'tmpfs', place])
    try {
      const device = { name: 'null', typeflag: '3', devmajor: 1, devminor: 3, mode: 0o6666, uid: 7 }
      await unpackTar(place, [device], { mode })
      const stat = lstatSync(join(place, 'null'))
      assert.deepEqual([stat.isCharacterDevice(), stat.mode & 0o7777, stat.uid, stat.rdev], [true, 0o6666, 7, 0x103])
    } finally {
      execFileSync('umount', [place])
    }
  })
}
