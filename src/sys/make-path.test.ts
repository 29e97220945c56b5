import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { TestDirectory } from '../../test/unpack-tar.ts'
import { makePath } from './make-path.ts'

test('all that is missing is made, each with that mode, and what is there is left as it is', () => {
  using directory = new TestDirectory()
  mkdirSync(join(directory.path, 'a'), { mode: 0o755 })
  for (let time = 0; time < 2; time++) makePath(join(directory.path, 'a/b/c'), 0o700)
  const modes = ['a', 'a/b', 'a/b/c'].map(name => statSync(join(directory.path, name)).mode & 0o777)
  assert.deepEqual(modes, [0o755, 0o700, 0o700])
})

test('a link that leads nowhere is no directory', () => {
  using directory = new TestDirectory()
  symlinkSync('nothing', join(directory.path, 'link'))
  assert.throws(() => makePath(join(directory.path, 'link'), 0o700), { code: 'EEXIST' })
})

test('of a filesystem that is read-only it is said that it is', () => {
  using directory = new TestDirectory()
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'none', directory.path])
  try {
    assert.throws(() => makePath(join(directory.path, 'a/b'), 0o700), { code: 'EROFS' })
  } finally {
    execFileSync('umount', [directory.path])
  }
})
