import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { base256, type RawEntry } from '../../test/tar-builder.ts'
import { type Facts, readTree } from '../../test/tree.ts'
import { TestDirectory, unpackTar } from '../../test/unpack-tar.ts'
import { cPath, lgetxattr } from '../sys/libc.ts'
import { defaultTarLimits } from '../tar/entry.ts'
import { adoptImplied } from './implied.ts'

/** Entries by their kind, short enough to read a layer at one look. */
const file = (name: string, data: string | Uint8Array = 'x', more: RawEntry = {}): RawEntry => ({ name, data, ...more })
const dir = (name: string, more: RawEntry = {}): RawEntry => ({ name, typeflag: '5', mode: 0o755, ...more })
const symlink = (name: string, linkname: string, more: RawEntry = {}): RawEntry => ({
  name,
  typeflag: '2',
  linkname,
  mode: 0o777,
  ...more,
})
const link = (name: string, linkname: string): RawEntry => ({ name, typeflag: '1', linkname })
const xattr = (name: string, value: string | Uint8Array): RawEntry => ({ pax: [[`SCHILY.xattr.${name}`, value]] })

function opaque(path: string): boolean {
  return lgetxattr(cPath(path), cPath('trusted.overlay.opaque'))?.toString() === 'y'
}

function isWhiteout(path: string): boolean {
  const stat = lstatSync(path)
  return stat.isCharacterDevice() && stat.rdev === 0
}

async function overlay(...entries: RawEntry[]): Promise<TestDirectory & { facts(name: string): Facts | undefined }> {
  const directory = new TestDirectory()
  await unpackTar(directory.path, entries)
  return Object.assign(directory, { facts: (name: string) => readTree(directory.path).get(name) })
}

async function flat(...layers: RawEntry[][]): Promise<TestDirectory & { names(): string[] }> {
  const directory = new TestDirectory()
  for (const layer of layers) await unpackTar(directory.path, layer, { mode: 'flat' })
  return Object.assign(directory, { names: () => [...readTree(directory.path).keys()].filter(name => name !== '.') })
}

async function refused(entries: RawEntry[], wanted: RegExp, code = 'CORRUPT'): Promise<void> {
  using directory = new TestDirectory()
  await assert.rejects(unpackTar(directory.path, entries), (error: Error & { code: string }) => {
    assert.match(error.message, wanted)
    assert.equal(error.code, code, error.message)
    return true
  })
}

test('a plain tree is unpacked with all its facts', async () => {
  using root = await overlay(
    dir('./', { mode: 0o750, uid: 5, gid: 6, mtime: 1_000_000_000 }),
    dir('./d/', { mode: 0o700, uid: 1, gid: 2, mtime: 1_100_000_000 }),
    file('./d/f', 'hello', { mode: 0o640, uid: 3, gid: 4, pax: { mtime: '1200000000.123456789' } }),
    symlink('./d/s', '../nowhere', { uid: 7, gid: 8, mtime: 1_300_000_000 }),
  )
  const tree = readTree(root.path)
  assert.deepEqual([...tree.keys()], ['.', 'd', 'd/f', 'd/s'])
  const short = (name: string): unknown[] => {
    const { type, mode, uid, gid, mtime } = tree.get(name) as Facts
    return [type, mode, uid, gid, mtime]
  }
  assert.deepEqual(short('.'), ['directory', '0750', 5, 6, '1000000000.000000000'])
  assert.deepEqual(short('d'), ['directory', '0700', 1, 2, '1100000000.000000000'])
  assert.deepEqual(short('d/f'), ['file', '0640', 3, 4, '1200000000.123456789'])
  assert.deepEqual(short('d/s'), ['symlink', '0777', 7, 8, '1300000000.000000000'])
  assert.equal(readFileSync(join(root.path, 'd/f'), 'utf8'), 'hello')
})

test('what a layer was found to be is told', async () => {
  using directory = new TestDirectory()
  const layer = await unpackTar(directory.path, [
    file('a/b/f', 'xyz'),
    link('a/b/g', 'a/b/f'),
    dir('a'),
    file('h', 'four', xattr('trusted.overlay.opaque', 'y')),
  ])
  assert.deepEqual(layer, { entries: 4, size: 7, implied: ['a/b'], droppedXattrs: ['trusted.overlay.opaque'] })
})

test('times before 1970 and beyond 32 bits are kept, also those of directories', async () => {
  using root = await overlay(
    dir('past', { mtime: base256(-86_400, 12) }),
    file('past/f', 'x', { pax: { mtime: '-1.25' } }),
    file('f31', 'x', { mtime: 2 ** 31 + 1 }),
    file('f32', 'x', { pax: { mtime: '4294967297.000000001' } }),
    dir('future', { mtime: 5_000_000_000 }),
  )
  assert.equal(root.facts('past')?.mtime, '-86400.000000000')
  assert.equal(root.facts('past/f')?.mtime, '-1.250000000')
  assert.equal(root.facts('f31')?.mtime, '2147483649.000000000')
  assert.equal(root.facts('f32')?.mtime, '4294967297.000000001')
  assert.equal(root.facts('future')?.mtime, '5000000000.000000000')
})

test('the time of a directory is set after everything in it, also of what is replaced later', async () => {
  using root = await overlay(dir('d', { mtime: 5 }), dir('d/e', { mtime: 6 }), file('d/e/f'), file('d/e/f', 'again'))
  assert.equal(root.facts('d')?.mtime, '5.000000000')
  assert.equal(root.facts('d/e')?.mtime, '6.000000000')
  assert.equal(readFileSync(join(root.path, 'd/e/f'), 'utf8'), 'again')
})

test('setuid, setgid and sticky survive the change of owner and the writing', async () => {
  using root = await overlay(
    file('suid', 'x', { mode: 0o4755, uid: 1000 }),
    file('both', 'x', { mode: 0o6711, uid: 1000, gid: 1000 }),
    file('root', 'x', { mode: 0o6755 }),
    dir('sticky', { mode: 0o1777 }),
    dir('all', { mode: 0o7777, uid: 9 }),
    dir('own', { mode: 0o6755 }),
    { name: 'fifo', typeflag: '6', mode: 0o6622, uid: 9 },
  )
  assert.deepEqual(
    ['suid', 'both', 'root', 'sticky', 'all', 'own', 'fifo'].map(name => root.facts(name)?.mode),
    ['4755', '6711', '6755', '1777', '7777', '6755', '6622'],
  )
})

test('nothing inherits the group or the bit of a setgid directory', async () => {
  using root = await overlay(
    dir('s', { mode: 0o2755, gid: 50 }),
    file('s/f'),
    dir('s/d'),
    symlink('s/l', 'f'),
    { name: 's/p', typeflag: '6' },
    file('s/implied/f'),
    dir('s/d/e', { mode: 0o2700, gid: 60 }),
    file('s/d/e/f', 'x', { gid: 50 }),
  )
  const gids = ['s/f', 's/d', 's/l', 's/p', 's/implied', 's/implied/f', 's/d/e', 's/d/e/f'].map(name => {
    const facts = root.facts(name)
    return [facts?.gid, facts?.mode]
  })
  assert.deepEqual(gids, [
    [0, '0644'],
    [0, '0755'],
    [0, '0777'],
    [0, '0644'],
    [0, '0755'],
    [0, '0644'],
    [60, '2700'],
    [50, '0644'],
  ])
})

test('a directory that becomes setgid while it is in use is seen to be', async () => {
  using root = await overlay(dir('d'), file('d/a'), dir('d', { mode: 0o2755, gid: 50 }), file('d/b'))
  assert.equal(root.facts('d/b')?.gid, 0)
  using second = await overlay(file('a'), dir('./', { mode: 0o2755, gid: 50 }), file('b'))
  assert.equal(second.facts('b')?.gid, 0)
})

test('owners beyond 2^21 and devices are kept', async () => {
  using root = await overlay(
    file('f', 'x', { uid: 3_000_000, gid: 4_294_967_294 }),
    { name: 'c', typeflag: '3', mode: 0o666, devmajor: 1, devminor: 3, uid: 5 },
    { name: 'b', typeflag: '4', mode: 0o660, devmajor: 259, devminor: 1_048_575, gid: 6 },
  )
  assert.deepEqual([root.facts('f')?.uid, root.facts('f')?.gid], [3_000_000, 4_294_967_294])
  assert.deepEqual([root.facts('c')?.type, root.facts('c')?.device, root.facts('c')?.mode], ['char', '1:3', '0666'])
  assert.deepEqual([root.facts('b')?.type, root.facts('b')?.device, root.facts('b')?.gid], ['block', '259:1048575', 6])
})

test('names are bytes: not UTF-8, with newlines, 255 long, and 4000 deep', async () => {
  const odd = Buffer.from('latin\xe9\xff\x01\n', 'latin1')
  const deep = Array(40).fill('p'.repeat(99)).join('/')
  using root = await overlay(
    file('', 'x', { name: odd }),
    file('n'.repeat(100), '1', { pax: { path: 'n'.repeat(255) } }),
    file('short', 'deep', { gnuName: `${deep}/f` }),
    symlink('sym', '', { pax: { linkpath: 't'.repeat(4000) } }),
  )
  assert.ok(readdirSync(root.path, { encoding: 'latin1' }).includes(odd.toString('latin1')))
  assert.equal(readFileSync(join(root.path, 'n'.repeat(255)), 'utf8'), '1')
  process.chdir(root.path)
  try {
    assert.equal(readFileSync(`${deep}/f`, 'utf8'), 'deep')
  } finally {
    process.chdir('/')
  }
  assert.equal(readlinkSync(join(root.path, 'sym')).length, 4000)
})

test('a name that the filesystem cannot hold is refused by name', async () => {
  await refused([file('x', 'x', { pax: { path: 'n'.repeat(256) } })], /entry "nnn.*longer than the filesystem allows/)
})

test('runs of zeros and sparse files take no room', async () => {
  const content = Buffer.alloc(6_000_000)
  content.write('start', 0)
  content.write('middle', 3_000_000)
  content.write('end', 5_999_990)
  const tail = Buffer.alloc(5_000_001)
  tail.write('start')
  using root = await overlay(file('middle', content), file('tail', tail), file('zeros', Buffer.alloc(1_000_000)))
  for (const [name, wanted] of [
    ['middle', content],
    ['tail', tail],
    ['zeros', Buffer.alloc(1_000_000)],
  ] as const) {
    assert.ok(readFileSync(join(root.path, name)).equals(wanted), name)
    assert.ok(statSync(join(root.path, name)).blocks * 512 <= 300_000, name)
  }
})

test('extended attributes and capabilities are kept byte for byte', async () => {
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
  using root = await overlay(
    file('f', 'x', { uid: 7, mode: 0o755, ...xattr('security.capability', capability) }),
    dir('d', { mode: 0o555, ...xattr('user.bytes', Buffer.from('00ff0a3d', 'hex')) }),
    file('d/e', 'x', xattr('trusted.empty', '')),
    file('closed', 'x', { mode: 0, ...xattr('user.a', 'b') }),
  )
  assert.equal(root.facts('f')?.xattrs, `security.capability=${capability.toString('hex')}`)
  assert.equal(root.facts('d')?.xattrs, 'user.bytes=00ff0a3d')
  assert.equal(root.facts('d/e')?.xattrs, 'trusted.empty=')
  assert.equal(root.facts('closed')?.xattrs, 'user.a=62')
})

test('attributes that an image must not set, or that its type cannot have, are left out and told', async () => {
  using directory = new TestDirectory()
  const { droppedXattrs } = await unpackTar(directory.path, [
    symlink('s', 'x', xattr('user.on.symlink', '1')),
    dir('d', xattr('trusted.overlay.redirect', '/etc')),
    file('f', 'x', xattr('security.selinux', 'label')),
    file('g', 'x', xattr('user.overlay.whiteout', 'y')),
    file('h', 'x', xattr('nonamespace', 'y')),
    file('kept', 'x', xattr('user.kept', 'y')),
  ])
  assert.deepEqual(
    [...droppedXattrs].sort(),
    ['nonamespace', 'security.selinux', 'trusted.overlay.redirect', 'user.on.symlink', 'user.overlay.whiteout'].sort(),
  )
  const withXattrs = [...readTree(directory.path)].filter(([, facts]) => facts.xattrs !== '').map(([name]) => name)
  assert.deepEqual(withXattrs, ['kept'])
})

const acl = Buffer.from('0200000001000700ffffffff04000500ffffffff20000500ffffffff', 'hex')

test('a default ACL of a directory does not reach what the layer puts into it', async () => {
  using root = await overlay(
    dir('d', xattr('system.posix_acl_default', acl)),
    file('d/f', 'x', { mode: 0o666 }),
    dir('d/e'),
  )
  assert.equal(root.facts('d')?.xattrs, `system.posix_acl_default=${acl.toString('hex')}`)
  assert.deepEqual([root.facts('d/f')?.mode, root.facts('d/f')?.xattrs], ['0666', ''])
  assert.equal(root.facts('d/e')?.xattrs, '')
})

test('nor does one of the host, or of a layer below, which keeps it', async () => {
  using directory = new TestDirectory()
  execFileSync('setfattr', ['-n', 'system.posix_acl_default', '-v', `0x${acl.toString('hex')}`, directory.path])
  await unpackTar(directory.path, [file('f', 'x', { mode: 0o666 }), file('d/g', 'x', { mode: 0o666 })])
  const tree = readTree(directory.path)
  assert.deepEqual([tree.get('f')?.mode, tree.get('f')?.xattrs, tree.get('d')?.xattrs], ['0666', '', ''])
  using root = await flat(
    [dir('d', xattr('system.posix_acl_default', acl))],
    [file('d/f', 'x', { mode: 0o666 }), file('d/e/f', 'x', { mode: 0o666 })],
  )
  const both = readTree(root.path)
  assert.equal(both.get('d')?.xattrs, `system.posix_acl_default=${acl.toString('hex')}`)
  for (const name of ['d/f', 'd/e', 'd/e/f']) assert.equal(both.get(name)?.xattrs, '', name)
  assert.equal(both.get('d/f')?.mode, '0666')
})

test('hard links are relative to the root, whatever their target looks like', async () => {
  using root = await overlay(
    file('d/f', 'x'),
    link('a', 'd/f'),
    link('b', '/d/f'),
    link('c', './d/../d/f'),
    link('e/f', '../../d/f'),
  )
  assert.equal(root.facts('a')?.links, 'a b c d/f e/f')
})

test('a hard link to a symlink links the symlink', async () => {
  using root = await overlay(symlink('s', '/etc/passwd'), link('l', 's'))
  assert.deepEqual([root.facts('l')?.type, root.facts('l')?.links], ['symlink', 'l s'])
})

test('a hard link to itself, or to what it is already, changes nothing', async () => {
  using root = await overlay(file('f', 'kept'), link('f', 'f'), link('g', 'f'), link('g', './f'))
  assert.equal(readFileSync(join(root.path, 'f'), 'utf8'), 'kept')
  assert.equal(root.facts('f')?.links, 'f g')
})

test('a hard link takes the place of what was there', async () => {
  using root = await overlay(file('f', 'new'), file('g', 'old'), link('g', 'f'), dir('d'), file('d/x'), link('d', 'f'))
  assert.equal(root.facts('f')?.links, 'd f g')
})

test('a hard link to nothing, to a directory or to a whiteout is refused by name', async () => {
  await refused(
    [link('l', 'missing')],
    /entry "l": the target "missing" of this hard link does not exist in this layer/,
  )
  await refused([dir('d'), link('l', 'd')], /"d" of this hard link is a directory/)
  await refused([link('l', '')], /hard link is a directory/)
  await refused([file('.wh.f', ''), link('l', 'f')], /does not exist/)
})

test('a symlink without a target is refused', async () => {
  await refused([symlink('s', '')], /entry "s": a symlink without a target/)
})

test('symlinks as parents lead to where they point within the root', async () => {
  using root = await overlay(
    dir('usr/lib'),
    symlink('lib', 'usr/lib'),
    symlink('abs', '/usr/lib'),
    symlink('up', '../../../../usr/lib'),
    file('lib/a'),
    file('abs/b'),
    file('up/c'),
    file('abs/new/d'),
  )
  assert.deepEqual(readdirSync(join(root.path, 'usr/lib')).sort(), ['a', 'b', 'c', 'new'])
})

test('an entry in something that is no directory is refused by name', async () => {
  await refused([file('f'), file('f/g')], /"f".*not a directory, yet entries stand in it/)
  await refused([symlink('s', 's'), file('s/g')], /"s".*not a directory/)
})

test('a symlink to a directory that only the layer below has is followed, and the directory keeps the facts that it had there', async () => {
  using lower = new TestDirectory()
  using upper = new TestDirectory()
  await unpackTar(lower.path, [dir('usr/lib', { mode: 0o750, uid: 9 }), file('usr/lib/below')])
  const { implied } = await unpackTar(upper.path, [symlink('lib', 'usr/lib'), file('lib/above')])
  assert.deepEqual(implied, ['usr', 'usr/lib'])
  await adoptImplied(upper.path, [lower.path], implied)
  const { mode, uid } = lstatSync(join(upper.path, 'usr/lib'))
  assert.deepEqual([mode & 0o7777, uid], [0o750, 9])
  assert.deepEqual(readdirSync(join(upper.path, 'usr/lib')), ['above'])
})

test('missing parents are made, and described later if an entry comes for them', async () => {
  using directory = new TestDirectory()
  const { implied } = await unpackTar(directory.path, [
    file('a/b/c/f'),
    dir('a/b', { mode: 0o700, uid: 9, mtime: 77 }),
    file('a/g'),
  ])
  assert.deepEqual(implied, ['a', 'a/b/c'])
  const tree = readTree(directory.path)
  assert.deepEqual([tree.get('a')?.mode, tree.get('a/b')?.mode, tree.get('a/b')?.uid], ['0755', '0700', 9])
  assert.equal(tree.get('a/b')?.mtime, '77.000000000')
})

test('the last entry of a name counts, whatever type the others had', async () => {
  using root = await overlay(
    dir('a', { mtime: 5 }),
    file('a/deep/in'),
    file('a', 'a file now'),
    file('b', 'a file first'),
    dir('b'),
    file('b/in'),
    symlink('c', '/etc'),
    dir('c'),
    file('c/in'),
    file('d', 'one'),
    file('d', 'two', { mode: 0o600 }),
    file('e'),
    symlink('e', 'a'),
  )
  const tree = readTree(root.path)
  assert.deepEqual([...tree.keys()], ['.', 'a', 'b', 'b/in', 'c', 'c/in', 'd', 'e'])
  assert.deepEqual([...tree.values()].map(facts => facts.type).slice(1), [
    'file',
    'directory',
    'file',
    'directory',
    'file',
    'file',
    'symlink',
  ])
  assert.deepEqual([readFileSync(join(root.path, 'd'), 'utf8'), tree.get('d')?.mode], ['two', '0600'])
})

test('a symlink that is replaced no longer leads entries where it pointed', async () => {
  using root = await overlay(dir('b'), dir('c'), symlink('a', 'b'), file('a/x'), symlink('a', 'c'), file('a/y'))
  assert.deepEqual([readdirSync(join(root.path, 'b')), readdirSync(join(root.path, 'c'))], [['x'], ['y']])
})

test('a directory whose parent was replaced by something else needs no finishing', async () => {
  using root = await overlay(dir('b'), symlink('a', 'b'), dir('a/d', { mtime: 5 }), file('b', 'a file'), file('f'))
  assert.deepEqual([root.facts('b')?.type, root.facts('f')?.type], ['file', 'file'])
})

test('names with .., . and // stay within the root', async () => {
  using root = await overlay(file('../../a'), file('/b'), file('./d//e/../f'), dir('..'), dir('/'))
  assert.deepEqual([...readTree(root.path).keys()], ['.', 'a', 'b', 'd', 'd/f'])
})

test('in overlay form a whiteout is a device 0:0, and opaque an attribute', async () => {
  using root = await overlay(
    file('.wh.gone', ''),
    file('d/.wh.gone', ''),
    dir('o'),
    file('o/.wh..wh..opq', ''),
    file('o/new'),
    file('implied/.wh..wh..opq', ''),
  )
  assert.ok(isWhiteout(join(root.path, 'gone')) && isWhiteout(join(root.path, 'd/gone')))
  assert.ok(opaque(join(root.path, 'o')) && opaque(join(root.path, 'implied')))
  assert.deepEqual(readdirSync(join(root.path, 'o')), ['new'])
})

test('an opaque mark that is reached through a symlink is set on the directory that it leads to', async () => {
  using root = await overlay(dir('d'), symlink('way', 'd'), file('way/.wh..wh..opq', ''), file('d/new'))
  assert.ok(opaque(join(root.path, 'd')))
  assert.ok(!opaque(join(root.path, 'way')))
})

test('a whiteout and an entry of the same name: the entry stays, in both orders', async () => {
  for (const order of [1, -1]) {
    using root = await overlay(...[file('.wh.f', ''), file('f', 'own')].sort(() => order))
    assert.equal(readFileSync(join(root.path, 'f'), 'utf8'), 'own')
  }
  using before = await overlay(file('.wh.d', ''), dir('d', { mtime: 5 }), file('d/f'))
  using after = await overlay(dir('d', { mtime: 5 }), file('d/f'), file('.wh.d', ''))
  for (const root of [before, after]) {
    assert.ok(opaque(join(root.path, 'd')), 'the lower directory stays hidden')
    assert.deepEqual(readdirSync(join(root.path, 'd')), ['f'])
    assert.equal(root.facts('d')?.mtime, '5.000000000')
  }
})

test('what stands in a directory that is whited out makes a new one', async () => {
  for (const entries of [
    [file('.wh.d', ''), file('d/e/f')],
    [file('d/e/f'), file('.wh.d', '')],
  ]) {
    using directory = new TestDirectory()
    const { implied } = await unpackTar(directory.path, entries)
    assert.ok(opaque(join(directory.path, 'd')))
    assert.deepEqual(implied, ['d/e'], 'd is new: it adopts nothing from the one it hides')
    assert.ok(existsSync(join(directory.path, 'd/e/f')))
  }
})

test('a directory that takes the place of a file hides the lower one, as the file did', async () => {
  using root = await overlay(file('d'), dir('d'))
  assert.ok(opaque(join(root.path, 'd')))
})

test("aufs' bookkeeping is skipped, and whiteouts that name nothing are refused", async () => {
  using root = await overlay(
    file('.wh..wh.aufs', ''),
    file('.wh..wh.plnk/1.2', 'x'),
    file('d/.wh..wh..tmp', ''),
    file('f'),
  )
  assert.deepEqual([...readTree(root.path).keys()], ['.', 'f'])
  for (const name of ['.wh.', '.wh..', '.wh...', 'd/.wh.', 'd/.wh..', 'd/.wh...'])
    await refused([file(name, '')], /it names no file/)
})

test("hard links into aufs' bookkeeping lead to the files there, of which nothing else remains", async () => {
  const entries = [
    dir('.wh..wh.plnk'),
    file('.wh..wh.plnk/1.2', 'shared'),
    file('.wh..wh.plnk/3.4', 'nobody wants it'),
    file('.wh..wh.plnk/deep/5', 'x'),
    dir('d'),
    { name: 'd/a', typeflag: '1', linkname: '.wh..wh.plnk/1.2' },
    { name: 'b', typeflag: '1', linkname: '/.wh..wh.plnk/1.2' },
  ]
  using layer = await overlay(...entries)
  assert.deepEqual([...readTree(layer.path).keys()].toSorted(), ['.', 'b', 'd', 'd/a'])
  using root = await flat([dir('d'), file('b', 'lower')], entries)
  assert.deepEqual(root.names(), ['b', 'd', 'd/a'])
  for (const { path } of [layer, root]) {
    assert.equal(readFileSync(join(path, 'd/a'), 'utf8'), 'shared')
    assert.equal(lstatSync(join(path, 'b')).ino, lstatSync(join(path, 'd/a')).ino)
    assert.equal(lstatSync(join(path, 'b')).nlink, 2)
  }
  await refused([{ name: 'a', typeflag: '1', linkname: '.wh..wh.plnk/9' }], /does not exist in this layer/)
})

test('in a flat tree a whiteout removes what is below, not what its own layer has', async () => {
  const lower = [dir('d'), file('d/a'), file('d/b'), dir('d/sub'), file('d/sub/x'), file('f')]
  using gone = await flat(lower, [file('.wh.d', ''), file('.wh.f', ''), file('.wh.never', '')])
  assert.deepEqual(gone.names(), [])
  for (const layer of [
    [file('d/.wh.a', ''), file('d/a', 'own'), file('.wh.f', ''), file('f', 'own')],
    [file('d/a', 'own'), file('d/.wh.a', ''), file('f', 'own'), file('.wh.f', '')],
  ]) {
    using root = await flat(lower, layer)
    assert.deepEqual(root.names(), ['d', 'd/a', 'd/b', 'd/sub', 'd/sub/x', 'f'])
    assert.equal(readFileSync(join(root.path, 'f'), 'utf8'), 'own')
  }
  for (const layer of [
    [file('.wh.d', ''), dir('d'), file('d/new')],
    [dir('d'), file('d/new'), file('.wh.d', '')],
    [file('d/new'), file('d/.wh..wh..opq', '')],
    [file('d/.wh..wh..opq', ''), file('d/.wh..wh..opq', ''), file('d/new'), file('d/.wh..wh..opq', '')],
  ]) {
    using root = await flat(lower, layer)
    assert.deepEqual(root.names(), ['d', 'd/new', 'f'])
  }
})

test('a flat tree gives no way to its own layer, but what is below gives way to a directory', async () => {
  using root = await flat([file('f'), file('g')], [file('f/in'), dir('g'), file('g/in')])
  assert.deepEqual(root.names(), ['f', 'f/in', 'g', 'g/in'])
  await assert.rejects(flat([], [file('f'), file('f/in')]), /not a directory/)
})

test('a flat tree takes each thing from the highest layer', async () => {
  using root = await flat(
    [
      dir('./', { mode: 0o700 }),
      dir('full', { mtime: 1 }),
      file('full/x'),
      file('h', 'low'),
      symlink('s', 'full'),
      dir('meta', { mode: 0o777, uid: 5, mtime: 2, ...xattr('user.old', '1') }),
      dir('kept', { mtime: 3, mode: 0o700, ...xattr('user.kept', '1') }),
      file('kept/gone'),
      dir('emptied', { mtime: 6 }),
      file('emptied/x'),
      file('shared', 'old'),
      link('shared2', 'shared'),
    ],
    [
      file('full', 'a file now'),
      link('linked', 'h'),
      dir('s'),
      dir('meta', { mode: 0o750, gid: 6, mtime: 4, ...xattr('user.new', '2') }),
      file('kept/new'),
      file('kept/.wh.gone', ''),
      file('emptied/.wh.x', ''),
      file('shared', 'new'),
    ],
  )
  const tree = readTree(root.path)
  assert.equal(tree.get('full')?.type, 'file')
  assert.equal(tree.get('h')?.links, 'h linked')
  assert.equal(tree.get('s')?.type, 'directory')
  const meta = tree.get('meta')
  assert.deepEqual(
    [meta?.mode, meta?.uid, meta?.gid, meta?.xattrs, meta?.mtime],
    ['0750', 0, 6, 'user.new=32', '4.000000000'],
  )
  const kept = tree.get('kept')
  assert.deepEqual(
    [kept?.mode, kept?.xattrs, kept?.mtime],
    ['0700', 'user.kept=31', '3.000000000'],
    'not described: not changed',
  )
  assert.equal(tree.get('emptied')?.mtime, '6.000000000')
  assert.equal(tree.get('.')?.mode, '0700')
  assert.equal(readFileSync(join(root.path, 'shared2'), 'utf8'), 'old')
})

test('in a flat tree the time of a lower directory comes back, but not to what took its place', async () => {
  using root = await flat(
    [
      dir('a', { mtime: 5 }),
      file('a/x'),
      dir('b', { mtime: 6 }),
      dir('real', { mtime: 7 }),
      symlink('l', 'real', { mtime: 8 }),
    ],
    [file('a/y'), file('.wh.a', ''), file('b/x'), file('b', 'a file', { mtime: 9 }), file('l/in')],
  )
  const tree = readTree(root.path)
  assert.equal(tree.get('b')?.mtime, '9.000000000')
  assert.equal(tree.get('l')?.mtime, '8.000000000')
  assert.equal(tree.get('real')?.mtime, '7.000000000')
})

test('in a flat tree a directory that was removed and came again is new', async () => {
  using root = await flat(
    [dir('a', { mtime: 5 }), file('a/c')],
    [file('a/.wh.c', ''), file('.wh.a', ''), file('a/new')],
  )
  assert.notEqual(readTree(root.path).get('a')?.mtime, '5.000000000')
})

test('in a flat tree a symlink that a whiteout removed leads nowhere any more', async () => {
  using root = await flat(
    [dir('x'), symlink('y', 'x'), symlink('z', '.')],
    [file('y/f'), file('z/.wh.y', ''), file('y/g')],
  )
  assert.deepEqual(root.names(), ['x', 'x/f', 'y', 'y/g', 'z'])
})

test('a root that is no directory is refused', async () => {
  await refused([symlink('./', '/etc')], /root of a layer must be a directory/)
  await refused([file('/')], /root of a layer must be a directory/)
  await refused([{ name: '.', typeflag: '3', devmajor: 1 }], /root of a layer must be a directory/)
})

test('devices out of range, and one that would be a whiteout, are refused', async () => {
  const device = (devmajor: number, devminor: number): RawEntry => ({ name: 'dev', typeflag: '3', devmajor, devminor })
  await refused([device(4096, 1)], /entry "dev": device number 4096:1 is out of range/)
  await refused([device(1, 1_048_576)], /out of range/)
  await refused([device(0, 0)], /would be a whiteout/)
})

test('a failed system call names the entry', async () => {
  const huge = { 'GNU.sparse.size': `${2 ** 52}`, 'GNU.sparse.map': '0,1' }
  using directory = new TestDirectory()
  const limits = { ...defaultTarLimits, lengthMax: 2 ** 53 }
  await assert.rejects(unpackTar(directory.path, [file('big', 'x', { pax: huge })], { limits }), {
    code: 'FAILED',
    message: /Cannot unpack entry "big": ftruncate: EFBIG/,
  })
})

test('a broken archive is refused with what was read so far named', async () => {
  await refused(
    [file('first'), file('x', 'x', { checksum: 'bad' })],
    /wrong header checksum \(entry 2, at or after "first"\)/,
  )
  using directory = new TestDirectory()
  const limits = { ...defaultTarLimits, entriesMax: 2 }
  const entries = ['a', 'b', 'c'].map(name => file(name))
  await assert.rejects(unpackTar(directory.path, entries, { limits }), { code: 'LIMIT_EXCEEDED' })
})

test('the directory may be reached by any path, and holds what was in it', async () => {
  using directory = new TestDirectory()
  mkdirSync(join(directory.path, 'real'))
  writeFileSync(join(directory.path, 'real/before'), 'kept')
  symlinkSync('real', join(directory.path, 'way'))
  await unpackTar(join(directory.path, 'way'), [file('f')], { chunkSize: 100 })
  assert.deepEqual(readdirSync(join(directory.path, 'real')).sort(), ['before', 'f'])
})
