import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, lstatSync, readdirSync, readlinkSync, statSync } from 'node:fs'
import { chmod, chown, link, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { buildTar, type RawEntry } from '../../test/tar-builder.ts'
import {
  defer,
  digestOf,
  makeBlob,
  makeDirectory,
  never,
  openStore,
  pullFixture,
} from '../places/store/fixture.test.ts'
import { tryLockDirectory } from '../sys/directory-lock.ts'
import { cPath, lgetxattr, lsetxattr, MNT_DETACH, mount, umount } from '../sys/libc.ts'
import { unpackImage } from './unpack.ts'

const root: RawEntry = {
  name: './',
  typeflag: '5',
  mode: 0o751,
  uid: 11,
  gid: 12,
  pax: { mtime: '1000000000.123456789', 'SCHILY.xattr.user.colour': 'blue' },
}
const usual: RawEntry[] = [
  root,
  { name: 'etc/', typeflag: '5', mode: 0o700, mtime: 1_100_000_000 },
  { name: 'etc/name', data: 'windlass' },
  { name: Buffer.from('caf\xe9', 'latin1'), data: 'not UTF-8' },
  { name: 'bin', typeflag: '2', linkname: 'usr/bin' },
]

async function openImage(t: TestContext, entries: readonly RawEntry[] = usual, change = (tar: Buffer) => tar) {
  const store = await openStore(t)
  const tar = buildTar(entries)
  const diffId = digestOf(tar)
  const layer = { blob: makeBlob(change(tar)), diffId, chainId: diffId, parent: undefined, fill: async () => {} }
  const image = await pullFixture(store, 'debian:12', [layer])
  const directory = await makeDirectory(t)
  return { directory, unpack: (to: string, bundle = false) => unpackImage(store, image, to, { bundle, signal: never }) }
}

/** The names in a directory, as bytes of one character each. */
function namesIn(directory: string): string[] {
  return readdirSync(directory, { encoding: 'latin1' as BufferEncoding }).toSorted()
}

function assertUnpacked(directory: string, others: string[] = []): void {
  assert.deepEqual(namesIn(directory), ['bin', 'caf\xe9', 'etc', ...others].toSorted())
  assert.equal(readlinkSync(join(directory, 'bin')), 'usr/bin')
  const { mode, mtimeMs } = statSync(join(directory, 'etc'))
  assert.deepEqual([mode & 0o7777, mtimeMs], [0o700, 1_100_000_000_000])
}

function assertRootFacts(directory: string): void {
  const { mode, uid, gid, mtimeNs } = statSync(directory, { bigint: true })
  assert.deepEqual([mode & 0o7777n, uid, gid, mtimeNs], [0o751n, 11n, 12n, 1_000_000_000_123_456_789n])
  assert.equal(lgetxattr(cPath(directory), cPath('user.colour'))?.toString(), 'blue')
}

test('a new directory, with parents that are new, is the root of the image', async t => {
  const { directory, unpack } = await openImage(t)
  const target = join(directory, 'a/b')
  await unpack(target)
  assertUnpacked(target)
  assertRootFacts(target)
  assert.deepEqual(namesIn(join(directory, 'a')), ['b'])
})

test('a directory that exists stays the same, and gets the facts of the root', async t => {
  const { directory, unpack } = await openImage(t)
  const target = join(directory, 'box')
  await mkdir(target, { mode: 0o2700 })
  const { ino } = statSync(target)
  await unpack(target)
  assertUnpacked(target)
  assertRootFacts(target)
  assert.equal(statSync(target).ino, ino)
  assert.deepEqual(namesIn(directory), ['box'])
})

test("an image that says nothing of its root leaves it root's, with mode 0755, whoever had it before", async t => {
  const { directory, unpack } = await openImage(t, usual.slice(1))
  const target = join(directory, 'box')
  await mkdir(target)
  await chown(target, 1000, 1000)
  await chmod(target, 0o2770)
  await unpack(target)
  const { mode, uid, gid } = statSync(target)
  assert.deepEqual([mode & 0o7777, uid, gid], [0o755, 0, 0])
})

test('a symlink to an empty directory is followed', async t => {
  const { directory, unpack } = await openImage(t)
  await mkdir(join(directory, 'real'))
  await symlink('real', join(directory, 'link'))
  await unpack(join(directory, 'link'))
  assertUnpacked(join(directory, 'real'))
  assert.ok(lstatSync(join(directory, 'link')).isSymbolicLink())
})

test('a mount point is filled on its own filesystem, and lost+found does not count', async t => {
  const { directory, unpack } = await openImage(t)
  const target = join(directory, 'mounted')
  await mkdir(target)
  mount('none', target, 'tmpfs', 0, 'size=1m')
  defer(t, () => umount(target, MNT_DETACH))
  await mkdir(join(target, 'lost+found'))
  await unpack(target)
  assertUnpacked(target, ['lost+found'])
  assert.deepEqual(namesIn(directory), ['mounted'])
})

test("an image's own lost+found takes the place of an empty one", async t => {
  const { directory, unpack } = await openImage(t, [...usual, { name: 'lost+found/', typeflag: '5', mode: 0o711 }])
  await mkdir(join(directory, 'lost+found'))
  await unpack(directory)
  assertUnpacked(directory, ['lost+found'])
  assert.equal(statSync(join(directory, 'lost+found')).mode & 0o7777, 0o711)
})

test('what is not empty, not a directory or a symlink to nothing is refused before anything is written', async t => {
  const { directory, unpack } = await openImage(t)
  await mkdir(join(directory, 'full/lost+found/#12'), { recursive: true })
  await mkdir(join(directory, 'used/etc'), { recursive: true })
  await writeFile(join(directory, 'file'), '')
  await symlink('nothing', join(directory, 'link'))
  const before = execFileSync('find', [directory])
  for (const [name, message] of [
    ['full', /it is not empty: it has "lost\+found"; wanted a new or empty directory/],
    ['used', /it is not empty: it has "etc"/],
    ['file', /it is no directory/],
    ['link', /it is a symlink to nothing/],
    ['file/below', /^Cannot unpack into .*ENOTDIR/],
  ] as const) {
    await assert.rejects(unpack(join(directory, name)), { code: 'FAILED', message })
  }
  assert.deepEqual(execFileSync('find', [directory]), before)
})

test('a failure leaves an existing directory as it was, and nothing of a new one', async t => {
  const { directory, unpack } = await openImage(t, usual, tar => Buffer.from(tar).fill('x', 2048, 2052))
  const target = join(directory, 'box')
  await mkdir(target)
  await chown(target, 1000, 1001)
  chmodSync(target, 0o2750)
  await assert.rejects(unpack(target), { name: 'WindlassError' })
  await assert.rejects(unpack(join(directory, 'new')), { name: 'WindlassError' })
  assert.deepEqual([namesIn(directory), namesIn(target)], [['box'], []])
  const { mode, uid, gid } = statSync(target)
  assert.deepEqual([mode & 0o7777, uid, gid], [0o2750, 1000, 1001])
})

test('a name that cannot be moved up takes the others back', async t => {
  const { directory, unpack } = await openImage(t, [...usual, { name: 'lost+found', data: 'a file' }])
  const target = join(directory, 'box')
  await mkdir(join(target, 'lost+found'), { recursive: true })
  await chown(target, 1000, 1001)
  await assert.rejects(unpack(target), { code: 'FAILED', message: /^Cannot unpack into .*EISDIR/ })
  assert.deepEqual(namesIn(target), ['lost+found'])
  const { mode, uid, gid } = statSync(target)
  assert.deepEqual([mode & 0o7777, uid, gid], [0o755, 1000, 1001])
})

test('a bundle keeps the owner and mode of its directory; the root filesystem in it has those of the image', async t => {
  const { directory, unpack } = await openImage(t)
  const target = join(directory, 'bundle')
  await mkdir(target)
  await chown(target, 1000, 1001)
  await chmod(target, 0o700)
  lsetxattr(cPath(target), cPath('user.mine'), Buffer.from('yes'))
  await unpack(target, true)
  assert.deepEqual(namesIn(target), ['config.json', 'rootfs'])
  assertUnpacked(join(target, 'rootfs'))
  assertRootFacts(join(target, 'rootfs'))
  const { mode, uid, gid } = statSync(target)
  assert.deepEqual([mode & 0o7777, uid, gid], [0o700, 1000, 1001])
  await unpack(join(directory, 'new'), true)
  assert.equal(statSync(join(directory, 'new')).mode & 0o7777, 0o755)
})

test('what a dead process was building is removed, and nothing else', async t => {
  const { directory, unpack } = await openImage(t)
  const makeLeft = async (parent: string, name: string, isMarked = true): Promise<string> => {
    const path = join(parent, name)
    await mkdir(join(path, 'tree/etc'), { recursive: true })
    await writeFile(join(path, 'tree/etc/half'), 'x')
    await writeFile(join(path, 'windlass'), `${statSync(path).ino + (isMarked ? 0 : 1)}\n`)
    return path
  }
  await makeLeft(directory, '.windlass-dead01')
  using _lock = tryLockDirectory(await makeLeft(directory, '.windlass-living')) ?? assert.fail('it was locked')
  await chown(await makeLeft(directory, '.windlass-others'), 7, 7)
  await makeLeft(directory, '.windlass-x')
  await makeLeft(directory, '.windlass-amark1', false)
  await chown(join(await makeLeft(directory, '.windlass-amark2'), 'windlass'), 7, 7)
  await link(join(await makeLeft(directory, '.windlass-amark3'), 'windlass'), join(directory, 'again'))
  await mkdir(join(directory, '.windlass-roots1/data'), { recursive: true })
  await mkdir(join(directory, '.windlass-empty1'))
  await symlink('.windlass-x', join(directory, '.windlass-symlnk'))
  await unpack(join(directory, 'new'))
  assertUnpacked(join(directory, 'new'))
  const left = ['amark1', 'amark2', 'amark3', 'living', 'others', 'roots1', 'symlnk', 'x']
  assert.deepEqual(namesIn(directory), [...left.map(name => `.windlass-${name}`), 'again', 'new'])
  const existing = join(directory, 'existing')
  await mkdir(existing)
  await makeLeft(existing, '.windlass-dead03')
  await unpack(existing)
  assertUnpacked(existing)
})

test('where a shell stands, it goes on standing', async t => {
  const { directory, unpack } = await openImage(t)
  const before = process.cwd()
  const target = join(directory, 'here')
  await mkdir(target)
  process.chdir(target)
  defer(t, () => process.chdir(before))
  await unpack(process.cwd())
  assert.deepEqual(namesIn('.'), namesIn(target))
})

test('another user than root is told at once', async t => {
  const { directory, unpack } = await openImage(t)
  process.seteuid?.(65_534)
  try {
    await assert.rejects(unpack(join(directory, 'box')), {
      code: 'PERMISSION',
      message: /: the user is 65534; .* root/,
    })
  } finally {
    process.seteuid?.(0)
  }
})
