/** A store on a filesystem of its own: filled to the last block, or mounted read-only. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { isWindlassError } from '../../errors.ts'
import { defer, makeBlob, makeDirectory, makeLayers, never, openStore, pullFixture } from './fixture.test.ts'
import { Store } from './store.ts'

function call(program: string, ...args: string[]): void {
  execFileSync(program, args)
}

/** ext4 of 48 MiB with `inodes` inodes and no blocks held back. */
async function makeFilesystem(t: TestContext, inodes = 2048): Promise<string> {
  const directory = await makeDirectory(t)
  const [image, target] = [join(directory, 'image'), join(directory, 'mount')]
  writeFileSync(image, '')
  truncateSync(image, 48 * 1024 * 1024)
  call('mkfs.ext4', '-q', '-F', '-m', '0', '-N', String(inodes), image)
  mkdirSync(target)
  call('mount', '-o', 'loop', image, target)
  defer(t, () => call('umount', target))
  return target
}

/** Until not one byte more goes in. */
function fill(path: string): void {
  for (const size of [1024 * 1024, 4096, 512]) {
    try {
      while (true) appendFileSync(path, Buffer.alloc(size, 'x'))
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
    }
  }
}

function fillInodes(directory: string): void {
  mkdirSync(directory)
  try {
    for (let n = 0; ; n += 1) writeFileSync(join(directory, String(n)), '')
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
  }
}

/** As one run of the program: opened and closed. */
async function run<T>(root: string, work: (store: Store) => T | Promise<T>): Promise<T> {
  await using store = await Store.open(root)
  return await work(store)
}

async function makeStore(filesystem: string): Promise<string> {
  const root = join(filesystem, 'store')
  await run(root, async store => {
    await pullFixture(store, 'app:1', makeLayers(30, 'a'))
    await pullFixture(store, 'app:2', makeLayers(30, 'b'))
  })
  return root
}

test('a store on a full disk is listed, collected and cleared out', async t => {
  const filesystem = await makeFilesystem(t)
  const root = await makeStore(filesystem)
  fill(join(filesystem, 'filler'))
  assert.equal(statfsSync(filesystem).bavail, 0)
  for (let n = 0; n < 3; n += 1) assert.equal((await run(root, store => store.listImages())).length, 2)
  assert.ok(statfsSync(filesystem).bavail < 64, 'the reserve is made again')
  fill(join(filesystem, 'filler'))
  await run(root, store => store.collectGarbage())
  fill(join(filesystem, 'filler'))
  const removed = await run(root, store => store.removeImage('app:1'))
  assert.equal(removed.deleted.length, 31)
  assert.deepEqual(await run(root, store => Array.fromAsync(store.verify({ signal: never }))), [])
  rmSync(join(filesystem, 'filler'))
  await run(root, store => pullFixture(store, 'app:3', makeLayers(2, 'c')))
  assert.equal(readdirSync(join(root, 'reserve')).length, 8)
})

test('a store without a free inode is cleared out, too', async t => {
  const filesystem = await makeFilesystem(t, 1024)
  const root = await makeStore(filesystem)
  fillInodes(join(filesystem, 'filler'))
  assert.equal((await run(root, store => store.listImages())).length, 2)
  await run(root, store => store.removeImage('app:1'))
  assert.deepEqual(await run(root, store => Array.fromAsync(store.verify({ signal: never }))), [])
})

test('a full disk without a reserve is NO_SPACE, whatever SQLite calls it', async t => {
  const filesystem = await makeFilesystem(t)
  const root = await makeStore(filesystem)
  rmSync(join(root, 'reserve'), { recursive: true })
  fill(join(filesystem, 'filler'))
  await assert.rejects(Store.open(root), error => isWindlassError(error, 'NO_SPACE'))
})

test('a disk that fills up while the store is open is cleared out by the same process', async t => {
  const filesystem = await makeFilesystem(t)
  const root = await makeStore(filesystem)
  const store = await openStore(t, root)
  const { descriptor } = makeBlob(Buffer.alloc(60_000_000))
  const session = await store.openSession()
  const blob = await session.openBlob(descriptor, never)
  const write = async () => {
    while (true) await blob.write(Buffer.alloc(65_536))
  }
  await assert.rejects(write(), error => isWindlassError(error, 'NO_SPACE'))
  fill(join(filesystem, 'filler'))
  await session[Symbol.asyncDispose]()
  await store.removeImage('app:1')
  assert.equal(store.listImages().length, 1)
  await store.collectGarbage({ partialIdleMs: 0 })
  assert.equal(existsSync(join(root, 'partial', descriptor.digest.replace(':', '-'))), false)
  assert.deepEqual(readdirSync(join(root, 'ingest')), [])
})

function remount(filesystem: string, mode: 'ro' | 'rw'): void {
  call('mount', '-o', `remount,${mode}`, filesystem)
}

/** Looks at everything that there is to see, and tries whatever would change it. */
async function checkReadOnly(root: string): Promise<void> {
  await run(root, async store => {
    assert.equal(store.listImages().length, 2)
    const image = store.findImage('app:1')
    assert.equal((await store.readBlob(image.digest)).length > 0, true)
    assert.equal((await store.info()).images, 2)
    assert.deepEqual(await Array.fromAsync(store.verify({ signal: never })), [])
    const isRefused = (error: unknown) => isWindlassError(error, 'PERMISSION') && /read-only/.test(error.message)
    await assert.rejects(store.openSession(), isRefused)
    await assert.rejects(store.removeImage('app:1'), isRefused)
    await assert.rejects(store.removeImage('app:1', { force: true }), isRefused)
    await assert.rejects(store.collectGarbage(), isRefused)
    await assert.rejects(store.mount(image), isRefused)
    assert.throws(() => store.tag(image, 'app:3'), isRefused)
    assert.throws(() => store.verify({ signal: never, repair: true }), isRefused)
  })
}

test('a store on a read-only filesystem can be looked at, and says why it cannot be changed', async t => {
  const filesystem = await makeFilesystem(t)
  const root = await makeStore(filesystem)
  remount(filesystem, 'ro')
  await checkReadOnly(root)
})

test('a store that was not closed before its filesystem became read-only shows its last state, or says what is missing', async t => {
  const filesystem = await makeFilesystem(t)
  const root = await makeStore(filesystem)
  const code = `
    const { Store } = await import(${JSON.stringify(new URL('./store.ts', import.meta.url).href)})
    const store = await Store.open(${JSON.stringify(root)})
    store.tag(store.findImage('app:1'), 'app:late')
    process.kill(process.pid, 'SIGKILL')`
  assert.equal(spawnSync(process.execPath, ['--input-type=module', '-e', code]).signal, 'SIGKILL')
  remount(filesystem, 'ro')
  await checkReadOnly(root)
  assert.equal(await run(root, store => store.findImage('app:late').names.length), 2)
  remount(filesystem, 'rw')
  rmSync(join(root, 'windlass.db-shm'))
  remount(filesystem, 'ro')
  await assert.rejects(Store.open(root), /was not closed; wanted once a writable filesystem/)
  remount(filesystem, 'rw')
  assert.equal(await run(root, store => store.findImage('app:late').names.length), 2)
})
