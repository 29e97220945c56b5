import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  FilesystemSync,
  FilesystemSyncs,
  hasDType,
  hasTrustedXattr,
  readDiskSpace,
  syncDirectory,
  syncDirectoryNow,
} from './disk.ts'

function makeDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-disk-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

test('calls that overlap share the next sync, and a call after it starts another', async t => {
  using disk = new FilesystemSync(makeDirectory(t))
  const first = disk.sync()
  const [second, third] = [disk.sync(), disk.sync()]
  assert.notEqual(first, second)
  assert.equal(second, third)
  await Promise.all([first, second, third])
  const fourth = disk.sync()
  assert.notEqual(fourth, second)
  await fourth
})

test('a disposed sync still ends what is running', async t => {
  const disk = new FilesystemSync(makeDirectory(t))
  const running = [disk.sync(), disk.sync()]
  disk[Symbol.dispose]()
  await Promise.all(running)
})

test('a sync that fails fails for all who wait, and for all who ask later', async t => {
  const gate = Promise.withResolvers<void>()
  let runs = 0
  using disk = new FilesystemSync(makeDirectory(t), () => (++runs === 1 ? gate.promise : Promise.resolve()))
  const calls = [disk.sync(), disk.sync()]
  gate.reject(new Error('lost'))
  for (const call of calls) await assert.rejects(call, /^Error: lost$/)
  await assert.rejects(disk.sync(), /^Error: lost$/)
  assert.equal(runs, 1)
})

test('who writes after a sync that failed gets another one, who wrote before it does not', async t => {
  const directory = makeDirectory(t)
  const results = [() => Promise.reject(new Error('lost')), () => Promise.resolve()]
  using disk = new FilesystemSyncs(directory, () => new FilesystemSync(directory, results.shift()))
  const before = disk.current()
  assert.equal(disk.current(), before)
  await assert.rejects(before.sync(), /^Error: lost$/)
  await disk.current().sync()
  await assert.rejects(before.sync(), /^Error: lost$/)
})

test('a directory tells its free space and what it can do', async t => {
  const directory = makeDirectory(t)
  writeFileSync(join(directory, 'entry'), '')
  const { bytes, bytesFree } = await readDiskSpace(directory)
  assert.ok(bytes > bytesFree && bytesFree > 0)
  assert.equal(hasDType(directory), true)
  assert.equal(hasTrustedXattr('/proc'), false)
  await syncDirectory(directory)
  syncDirectoryNow(directory)
})
