import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { waitUntil } from '../../../test/testbed/command.ts'
import { isWindlassError } from '../../errors.ts'
import { AT_FDCWD, cPath, lsetxattr, MS, makedev, mknodat, mount, umount } from '../../sys/libc.ts'
import { readMounts } from '../../sys/mounts.ts'
import { defer, makeDirectory, makeLayers, openStore, pullFixture } from './fixture.test.ts'
import type { Store } from './store.ts'

const characterDevice = 0o020000

/** Unmounts whatever a failed test left, before its directory is removed. */
async function openMountStore(t: TestContext): Promise<Store> {
  const store = await openStore(t)
  defer(t, async () => {
    for (const { target } of store.listMounts()) await store.umount(target)
  })
  return store
}

/** Three layers: files, then a whiteout and an opaque directory over them, then one more file. */
async function fillWithWhiteouts(diff: string, n: number): Promise<void> {
  if (n === 0) {
    await mkdir(join(diff, 'etc'))
    for (const name of ['gone', 'kept', 'etc/old']) await writeFile(join(diff, name), name)
  } else if (n === 1) {
    mknodat(AT_FDCWD, cPath(join(diff, 'gone')), characterDevice, makedev(0, 0))
    await mkdir(join(diff, 'etc'))
    lsetxattr(cPath(join(diff, 'etc')), cPath('trusted.overlay.opaque'), Buffer.from('y'))
    await writeFile(join(diff, 'etc/new'), 'new')
  } else {
    await writeFile(join(diff, 'top'), 'top')
  }
}

test('a mounted image shows its layers laid over each other, read-only', async t => {
  const store = await openMountStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(3, 'a', fillWithWhiteouts))
  const record = await store.mount(image)
  assert.deepEqual(readdirSync(record.target).sort(), ['etc', 'kept', 'top'])
  assert.deepEqual(readdirSync(join(record.target, 'etc')), ['new'])
  assert.throws(() => writeFileSync(join(record.target, 'x'), ''), { code: 'EROFS' })
  assert.deepEqual(store.listMounts(), [{ target: record.target, imageId: image.id, readOnly: true }])
  assert.notEqual(process.cwd(), join(store.root, 'overlay2'))
  await store.umount('app:1')
  assert.deepEqual(store.listMounts(), [])
  assert.deepEqual(readdirSync(join(store.root, 'mounts')), [])
})

test('a layer whose root directory is opaque hides all layers below it', async t => {
  const store = await openMountStore(t)
  const fill = async (diff: string, n: number) => {
    await writeFile(join(diff, `file-${n}`), '')
    if (n === 1) lsetxattr(cPath(diff), cPath('trusted.overlay.opaque'), Buffer.from('y'))
  }
  const image = await pullFixture(store, 'app:1', makeLayers(3, 'a', fill))
  for (const readOnly of [true, false]) {
    const { target } = await store.mount(image, undefined, { readOnly })
    assert.deepEqual(readdirSync(target).sort(), ['file-1', 'file-2'])
  }
  const top = await pullFixture(store, 'app:2', makeLayers(2, 'a', fill))
  assert.deepEqual(readdirSync((await store.mount(top)).target), ['file-1'])
})

test('an image that is removed while it is being mounted is NOT_FOUND, and nothing stays mounted', async t => {
  const root = (await openMountStore(t)).root
  const code = `
    const { Store } = await import(${JSON.stringify(new URL('./store.ts', import.meta.url).href)})
    const store = await Store.open(${JSON.stringify(root)})
    await store.removeImage('app:1')
    await store.collectGarbage()
    await store[Symbol.asyncDispose]()`
  const removeElsewhere = () => execFileSync(process.execPath, ['--input-type=module', '-e', code])
  const store = await openStore(t, root, { onStep: step => step === 'image-leased' && removeElsewhere() })
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  const isGone = (error: unknown) => isWindlassError(error, 'NOT_FOUND') && /no longer in store/.test(error.message)
  await assert.rejects(store.mount(image, undefined, { readOnly: false }), isGone)
  assert.deepEqual([store.listMounts(), readdirSync(join(root, 'mounts'))], [[], []])
  await store.collectGarbage()
  assert.deepEqual(readdirSync(join(root, 'overlay2')), ['l'])
  await assert.rejects(store.mount(image), error => isWindlassError(error, 'NOT_FOUND'))
})

test('a collection leaves the directory of a mount alone that is about to be made', async t => {
  const store = await openMountStore(t)
  await using session = await store.openSession()
  assert.ok(session)
  const [id] = readdirSync(join(store.root, 'ingest'))
  for (const name of [id ?? '', 'ffffffffffffffff']) mkdirSync(join(store.root, 'mounts', name))
  await store.collectGarbage()
  assert.deepEqual(readdirSync(join(store.root, 'mounts')), [id])
})

test('a collection of images without names leaves one that is mounted', async t => {
  const store = await openMountStore(t)
  const [old] = [
    await pullFixture(store, 'app:1', makeLayers(1, 'a')),
    await pullFixture(store, 'app:1', makeLayers(1, 'b')),
  ]
  using database = new DatabaseSync(join(store.root, 'windlass.db'))
  database.exec(`DELETE FROM repo_digests WHERE image = '${old.digest}'`)
  const { target } = await store.mount(store.findImage(old.id))
  await store.collectGarbage({ dangling: true })
  assert.deepEqual(readdirSync(target), ['layer-0'])
  await store.umount(target)
  await store.collectGarbage({ dangling: true })
  assert.equal(store.listImages().length, 1)
})

test('an image of one layer and one without layers can be mounted', async t => {
  const store = await openMountStore(t)
  const one = await store.mount(await pullFixture(store, 'one', makeLayers(1, 'a', fillWithWhiteouts)))
  assert.deepEqual(readdirSync(one.target).sort(), ['etc', 'gone', 'kept'])
  const none = await store.mount(await pullFixture(store, 'none', []))
  assert.deepEqual(readdirSync(none.target), [])
  assert.throws(() => mkdirSync(join(none.target, 'x')), { code: 'EROFS' })
})

test('130 layers fit into one mount, and far more are refused with a reason', async t => {
  const store = await openMountStore(t)
  const many = await pullFixture(store, 'many', makeLayers(130, 'a'))
  const { target } = await store.mount(many, undefined, { readOnly: false })
  assert.equal(readdirSync(target).length, 130)
  assert.equal(readFileSync(join(target, 'layer-129'), 'utf8'), 'a 129')
  const layers = Array.from({ length: 200 }, () => many.layers[0]).flatMap(layer => layer ?? [])
  await assert.rejects(store.mount({ ...many, layers }), error => isWindlassError(error, 'LIMIT_EXCEEDED'))
})

test('a writable mount takes writes that the image never sees and that go with it', async t => {
  const store = await openMountStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  const { target } = await store.mount(image, undefined, { readOnly: false })
  writeFileSync(join(target, 'layer-0'), 'changed')
  assert.equal(readFileSync(join(target, 'layer-0'), 'utf8'), 'changed')
  await store.umount(target)
  const again = await store.mount(image)
  assert.equal(readFileSync(join(again.target, 'layer-0'), 'utf8'), 'a 0')
  assert.equal(readdirSync(join(store.root, 'mounts')).length, 1)
})

test('a target of the caller gets no devices and no set-user-ID, and is left in place', async t => {
  const target = join(await makeDirectory(t), 'a b')
  const store = await openMountStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  const record = await store.mount(image, target)
  assert.equal(record.target, target)
  const options = readMounts().find(mount => mount.target === target)?.options
  assert.deepEqual(options?.slice(0, 3), ['ro', 'nosuid', 'nodev'])
  await store.umount(target)
  assert.deepEqual(readdirSync(target), [])
})

test('a target that would hide the store is refused', async t => {
  const store = await openMountStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(1, 'a'))
  for (const target of [join(store.root, 'overlay2'), join(store.root, '..')]) {
    await assert.rejects(store.mount(image, target), error => isWindlassError(error, 'FAILED'))
  }
  assert.deepEqual(readdirSync(join(store.root, 'mounts')), [])
})

test('a mounted image is removed only by force, and not while it is in use', async t => {
  const store = await openMountStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  const { target } = await store.mount(image)
  await assert.rejects(store.removeImage('app:1'), error => isWindlassError(error, 'FAILED'))
  assert.equal(existsSync(join(target, 'layer-1')), true)
  const cwd = process.cwd()
  defer(t, () => process.chdir(cwd))
  process.chdir(target)
  await assert.rejects(store.removeImage('app:1', { force: true }), /in use/)
  process.chdir(cwd)
  await store.removeImage('app:1', { force: true })
  assert.deepEqual([store.listMounts(), store.listImages()], [[], []])
})

test('unmounting what is not mounted is NOT_FOUND, and a foreign mount is left alone', async t => {
  const store = await openMountStore(t)
  await pullFixture(store, 'app:1', makeLayers(1, 'a'))
  const target = await makeDirectory(t)
  mount('mine', target, 'tmpfs', 0, '')
  defer(t, () => umount(target, 0))
  for (const text of ['app:1', 'nothing', target])
    await assert.rejects(store.umount(text), error => isWindlassError(error, 'NOT_FOUND'))
})

test('a collection clears away mounts of before a reboot, and never one that is alive in another namespace', async t => {
  const store = await openMountStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  const { target } = await store.mount(image, undefined, { readOnly: false })
  const id = target.split('/').at(-2) ?? ''
  mkdirSync(join(store.root, 'mounts', 'ffffffffffffffff', 'upper'), { recursive: true })
  await store.collectGarbage()
  assert.deepEqual(readdirSync(join(store.root, 'mounts')), [id])
  // detach it here; a process in a namespace of its own still has it
  const script = 'mount --make-rprivate / && echo ready && read line'
  const child = spawn('/usr/bin/unshare', ['-m', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  defer(t, () => child.kill('SIGKILL'))
  await new Promise(resolve => child.stdout.once('data', resolve))
  umount(target, 0)
  await store.collectGarbage()
  assert.equal(existsSync(join(store.root, 'mounts', id, 'upper')), true)
  await assert.rejects(store.removeImage('app:1'), /mounted/)
  child.stdin.end('\n')
  await new Promise(resolve => child.once('exit', resolve))
  // Whoever else has made a namespace of its own meanwhile has a copy of the mount, too, as long as it is there.
  await waitUntil('nobody has the mount any more', 100_000, async () => {
    await store.collectGarbage()
    return readdirSync(join(store.root, 'mounts')).length === 0
  })
})

test('what is mounted inside the store is never emptied', async t => {
  const store = await openMountStore(t)
  const precious = await makeDirectory(t)
  writeFileSync(join(precious, 'letter'), 'mine')
  const trap = join(store.root, 'ingest', 'dead', 'trap')
  mkdirSync(trap, { recursive: true })
  mount(precious, trap, '', MS.BIND, '')
  await assert.rejects(store.collectGarbage(), /mounted/)
  umount(trap, 0)
  assert.equal(readFileSync(join(precious, 'letter'), 'utf8'), 'mine')
  await store.collectGarbage()
  assert.equal(existsSync(trap), false)
})

test('info tells the disk, the counts and the host', async t => {
  const store = await openMountStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  await store.mount(image)
  const info = await store.info()
  const type = execFileSync('stat', ['-f', '-c', '%T', store.root], { encoding: 'utf8' }).trim()
  assert.ok(type.startsWith(info.backingFilesystem.slice(0, 3)), `${type} ${info.backingFilesystem}`)
  assert.deepEqual([info.images, info.layers, info.blobs, info.mounts, info.partials], [1, 2, 4, 1, 0])
  assert.deepEqual([info.supportsDType, info.supportsTrustedXattr, info.bytesLayers], [true, true, 20])
  assert.ok(info.filesystemBytes > info.filesystemBytesFree && info.memoryBytes > 0 && info.cores > 0)
  assert.equal(statSync(join(store.root, 'ingest')).isDirectory(), true)
})
