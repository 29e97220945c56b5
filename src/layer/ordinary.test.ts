import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { EntryType, TarEntry } from '../tar/entry.ts'
import { EntryAdapter } from './ordinary.ts'

const ids = [
  { inner: 0, outer: 1000, count: 1 },
  { inner: 1, outer: 100_000, count: 65_536 },
]

function adapt(type: EntryType, facts: Partial<TarEntry>): TarEntry & { owners: number; devices: number } {
  const adapter = new EntryAdapter({ uids: ids, gids: ids })
  const numbers = { size: 0, fileSize: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, major: 0, minor: 0, uid: 0, gid: 0 }
  const entry = {
    type,
    name: 'x',
    linkName: '',
    mode: 0o6755,
    ...numbers,
    xattrs: undefined,
    sparse: undefined,
    ...facts,
  }
  adapter.adapt(entry)
  return { ...entry, owners: adapter.owners, devices: adapter.devices }
}

test('an owner that the namespace has stays, with what its programs may do', () => {
  const { uid, gid, mode, owners } = adapt('file', { uid: 65_536, gid: 33 })
  assert.deepEqual([uid, gid, mode, owners], [65_536, 33, 0o6755, 0])
})

test('an owner or a group that it has not becomes root, and no program runs as that', () => {
  for (const [given, wanted] of [
    [{ uid: 65_537, gid: 33 }, [0, 33]],
    [{ uid: 33, gid: 4_294_967_294 }, [33, 0]],
  ] as const) {
    const { uid, gid, mode, owners } = adapt('file', given)
    assert.deepEqual([uid, gid, mode, owners], [...wanted, 0o755, 1])
  }
  // for a directory the bit says which group its files have
  assert.equal(adapt('directory', { gid: 70_000, mode: 0o2755 }).mode, 0o2755)
})

test('a device becomes an empty file; the one that stands for a whiteout stays', () => {
  for (const type of ['char', 'block'] as const) {
    const { type: made, size, devices } = adapt(type, { major: 8, minor: 0 })
    assert.deepEqual([made, size, devices], ['file', 0, 1])
  }
  assert.deepEqual([adapt('char', {}).type, adapt('fifo', {}).type], ['char', 'fifo'])
})
