import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { waitUntil } from '../../test/testbed/command.ts'
import { openFailingFilesystem } from '../../test/testbed/failing-filesystem.ts'
import { DiskSlots } from '../sys/disk-slots.ts'
import { LiveHost } from '../sys/host-view.ts'
import { findSilentFiles } from './silent-files.ts'

test('files that do not answer are told, others are not asked meanwhile, and all are asked again when they have', {
  skip: process.getuid?.() !== 0 && 'only root may mount',
}, async () => {
  await using served = await openFailingFilesystem()
  const [first, second] = ['first', 'second'].map(name => join(served.directory, name)) as [string, string]
  const host = new LiveHost(new DiskSlots(4))
  const isTold = async () => (await host.disk.file(import.meta.filename)) !== undefined
  await waitUntil('it answers', 60_000, isTold)
  assert.deepEqual(findSilentFiles(host), [])
  await served.order({ requests: ['LOOKUP'], hang: true })
  try {
    assert.equal(await host.disk.file(first), undefined)
    await waitUntil('others are still asked', 60_000, isTold)
    assert.equal(await host.disk.file(second), undefined)
    assert.equal(await isTold(), false)
    const [finding] = findSilentFiles(host)
    assert.deepEqual(finding?.evidence, [
      `${first} did not answer in time`,
      `${second} did not answer in time`,
      '1 were not asked any more, for want of these answers',
    ])
  } finally {
    await served.order({})
  }
  await waitUntil('it answers again', 60_000, isTold)
  const [finding] = findSilentFiles(host)
  assert.deepEqual(finding?.facts, { silent: 2, unasked: 0 })
})

test('a file that answers while this thread is held up is not called silent', async () => {
  const host = new LiveHost()
  const asked = host.disk.file(import.meta.filename)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000)
  assert.notEqual(await asked, undefined)
  assert.deepEqual(findSilentFiles(host), [])
})
