import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { waitUntil } from '../../test/testbed/command.ts'
import { DiskSlots, ownDiskSlots } from './disk-slots.ts'
import { LiveHost } from './host-view.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-slots-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const file = join(directory, 'file')
writeFileSync(file, 'here')

test('two that hang leave nobody else without an answer, and come back late', async () => {
  const fifos = ['a', 'b'].map(name => join(directory, name))
  assert.equal(spawnSync('mkfifo', fifos).status, 0)
  const { disk } = new LiveHost(new DiskSlots(8))
  const within = (path: string) => `/proc/${process.pid}/root${path}`
  try {
    // Whoever opens a FIFO without a writer hangs, as with a dead disk.
    assert.deepEqual(await Promise.all(fifos.map(path => disk.hasTypes(within(path)))), [undefined, undefined])
    assert.deepEqual([...disk.silent].toSorted(), fifos.map(within))
    assert.equal(await disk.text(within(file)), undefined)
    assert.deepEqual([...disk.unasked], [within(file)])
    assert.ok((await disk.filesystem(within(directory)))?.bytesTotal)
    assert.equal(await disk.text(file), 'here')
    assert.equal(await disk.text(`/proc/${process.ppid}/root${file}`), 'here', 'another process')
    assert.equal(await disk.text(`${within(fifos[0] ?? '')}/below`), undefined)
  } finally {
    for (const path of fifos) closeSync(openSync(path, constants.O_RDWR))
  }
  await waitUntil('it is asked again', 60_000, async () => (await disk.text(within(file))) === 'here')
})

test('who asks one disk waits for those before him, and no longer once they hang', async () => {
  const slots = new DiskSlots(8)
  const [first, second] = [await slots.take('a'), await slots.take('a')]
  const third = slots.take('a')
  assert.notEqual(await slots.take('b'), undefined)
  first?.hang()
  second?.release()
  const taken = await third
  assert.notEqual(taken, undefined)
  const fourth = slots.take('a')
  taken?.hang()
  assert.equal(await fourth, undefined)
  assert.notEqual(await slots.take('a', true), undefined, 'whether the disk answers at all')
  first?.release()
  assert.equal(await slots.take('a', true).then(slot => slot === undefined), false)
})

test('however many disks hang, some threads of the pool are left', async () => {
  const slots = new DiskSlots(5)
  for (const name of ['a', 'b', 'c']) (await slots.take(name))?.hang()
  assert.equal(await slots.take('d', true), undefined)
})

test('who only looks again has no more threads, and what has not come back is silent for him, too', async () => {
  const fifo = join(directory, 'shared')
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0)
  const slots = new DiskSlots(4)
  const visit = () => new LiveHost(slots).disk
  try {
    assert.equal(await visit().hasTypes(fifo), undefined)
    for (let visits = 0; visits < 3; visits += 1) {
      const disk = visit()
      assert.equal(await disk.filesystem(fifo), undefined)
      assert.deepEqual([...disk.silent], [fifo])
      assert.equal(await disk.text(file), 'here', 'no further thread hangs')
    }
  } finally {
    closeSync(openSync(fifo, constants.O_RDWR))
  }
  await waitUntil('it is asked again', 60_000, async () => (await visit().filesystem(fifo)) !== undefined)
})

test('one process has one pool, whoever looks', () => {
  assert.equal(ownDiskSlots(), ownDiskSlots())
})

test('hashing that takes too long is left off, and neither keeps a thread nor accuses the disk', async () => {
  const large = ['c', 'd', 'e', 'f'].map(name => join(directory, name))
  for (const path of large) {
    writeFileSync(path, '')
    truncateSync(path, 2 ** 30)
  }
  const { disk } = new LiveHost(new DiskSlots(4), 1)
  assert.deepEqual(await Promise.all(large.map(path => disk.digest(path))), [
    undefined,
    undefined,
    undefined,
    undefined,
  ])
  assert.deepEqual([...disk.silent, ...disk.unasked], [])
  for (const path of large) assert.equal((await disk.file(path))?.size, 2 ** 30)
  assert.ok((await disk.filesystem(directory))?.bytesTotal)
})

test('a host that is looked at for months forgets what it was not told, and sees what is mounted meanwhile', {
  skip: process.getuid?.() !== 0,
}, async () => {
  const place = join(directory, 'mounted')
  mkdirSync(place)
  const host = new LiveHost(new DiskSlots(8))
  assert.equal(await host.disk.text(file), 'here')
  assert.equal(spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', place]).status, 0)
  const fifos = ['a', 'b'].map(name => join(place, name))
  const third = join(place, 'file')
  try {
    assert.equal(spawnSync('mkfifo', fifos).status, 0)
    writeFileSync(third, 'here')
    host.forget()
    await Promise.all(fifos.map(path => host.disk.hasTypes(path)))
    assert.equal(await host.disk.text(third), undefined, 'all that may ask there hang')
    assert.deepEqual([host.disk.silent.size, host.disk.unasked.size], [2, 1])
    host.forget()
    assert.deepEqual([host.disk.silent.size, host.disk.unasked.size], [0, 0])
    await host.disk.hasTypes(fifos[0] ?? '')
    assert.deepEqual([...host.disk.silent], [fifos[0]], 'it is still out')
  } finally {
    for (const fifo of fifos) closeSync(openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK))
    await waitUntil('it is unmounted', 20_000, () => spawnSync('umount', [place]).status === 0)
  }
  host.forget()
  assert.equal(await host.disk.text(file), 'here')
  assert.equal(host.disk.silent.size, 0)
})
