import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Arena, dir, file, link, modes, symlink } from './arena.ts'

/** CWE-22: names that climb out of the directory or start at the root of the host. */

for (const mode of modes) {
  test(`${mode}: names with .. stay inside`, async () => {
    using arena = new Arena()
    const up = '../'.repeat(20)
    await arena.unpack(mode, [
      file('../outside/file'),
      file(`${up}tmp/windlass-evil`),
      file('a/../../outside/dir/file'),
      dir(`${up}etc`),
      file(`a/${up}etc/windlass-evil`),
      symlink('../outside/link', 'x'),
      link('../outside/hard', '../outside/file'),
    ])
    assert.deepEqual(arena.inside(), [
      'etc',
      'etc/windlass-evil',
      'outside',
      'outside/dir',
      'outside/dir/file',
      'outside/file',
      'outside/hard',
      'outside/link',
      'tmp',
      'tmp/windlass-evil',
    ])
    assert.equal(existsSync('/etc/windlass-evil') || existsSync('/tmp/windlass-evil'), false)
  })

  test(`${mode}: absolute names stay inside`, async () => {
    using arena = new Arena()
    await arena.unpack(mode, [file(`${arena.outside}/file`), file(`//${arena.outside}/dir/file`)])
    assert.equal(readFileSync(join(arena.root, arena.outside, 'file'), 'utf8'), 'evil')
  })

  test(`${mode}: names of PAX and GNU headers are no way out either`, async () => {
    using arena = new Arena()
    await arena.unpack(mode, [
      { name: 'x', data: 'evil', pax: { path: '../outside/file' } },
      { name: 'x', data: 'evil', gnuName: '../../outside/dir/file' },
      { name: 'x', data: 'evil', prefix: '../outside' },
    ])
    assert.deepEqual(arena.inside(), ['outside', 'outside/dir', 'outside/dir/file', 'outside/file', 'outside/x'])
  })

  test(`${mode}: a name that two readers read differently is refused`, async () => {
    using arena = new Arena()
    const two = { name: 'x', data: 'evil', pax: { path: 'harmless' }, gnuName: '../outside/file' }
    await assert.rejects(arena.unpack(mode, [two]), /different path/)
    const nul = { name: 'x', data: 'evil', pax: { path: 'harmless\0/../../outside/file' } }
    await assert.rejects(arena.unpack(mode, [nul]), /NUL/)
  })
}
