import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { assertSameTree, readTree } from '../../test/tree.ts'
import { packLayer } from '../copy/pack-layer.ts'
import { isWindlassError } from '../errors.ts'
import { type PackOptions, type PackRoot, packDirectory } from './pack.ts'

const { signal } = new AbortController()

function tempDir(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), 'windlass-pack-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) }
}

async function pack(roots: string | readonly PackRoot[], options: Partial<PackOptions> = {}): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of packDirectory(roots, { signal, ...options })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function names(archive: Buffer): string[] {
  return execFileSync('tar', ['-tf', '-'], { input: archive }).toString().split('\n').filter(Boolean)
}

function fillOddTree(root: string): void {
  mkdirSync(join(root, 'dir/sub'), { recursive: true })
  writeFileSync(join(root, 'dir/empty'), '')
  writeFileSync(join(root, 'dir/b'), 'b'.repeat(513))
  writeFileSync(join(root, 'dir/large'), Buffer.alloc(3_000_000, 'large'))
  linkSync(join(root, 'dir/large'), join(root, 'dir/sub/same'))
  symlinkSync('t'.repeat(150), join(root, 'long-link'))
  writeFileSync(join(root, 'n'.repeat(200)), 'long name')
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0x66, 0xff, 0xfe, 0x0a])]), 'no UTF-8')
  chmodSync(join(root, 'dir/b'), 0o4751)
  chmodSync(join(root, 'dir/sub'), 0o1777)
  lutimesSync(join(root, 'long-link'), 1_000_000_000, 1_000_000_000.123)
  lutimesSync(join(root, 'dir/empty'), -5, -5.5)
  execFileSync('mkfifo', [join(root, 'fifo')])
  if (process.getuid?.() !== 0) return
  execFileSync('mknod', [join(root, 'device'), 'c', '259', '300'])
  execFileSync('chown', ['3000000:70000', join(root, 'dir/b')])
  execFileSync('chmod', ['4751', join(root, 'dir/b')])
  execFileSync('setfattr', ['-n', 'user.note', '-v', '0x00ff0a3d', join(root, 'dir/b')])
}

test('GNU tar unpacks a packed tree to the same tree', async () => {
  using source = tempDir()
  using target = tempDir()
  fillOddTree(source.path)
  const archive = await pack(source.path)
  const flags = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-p']
  execFileSync('tar', [...flags, '-xf', '-', '-C', target.path], { input: archive })
  const isRoot = (path: string) => path === '.' || path === ''
  assertSameTree(readTree(target.path), readTree(source.path), { ignore: isRoot })
})

test('the same tree gives the same bytes wherever it stands, and in any order of creation', async () => {
  using one = tempDir()
  using two = tempDir()
  for (const [{ path }, order] of [
    [one, ['b', 'a', 'c']],
    [two, ['c', 'b', 'a']],
  ] as const) {
    mkdirSync(join(path, 'd'))
    for (const name of order) writeFileSync(join(path, 'd', name), name)
  }
  lutimesSync(join(two.path, 'd/a'), 2000, 2000)
  for (const { path } of [one, two]) lutimesSync(join(path, 'd/b'), 500, 500)
  const options = { sourceDateEpoch: 1000 }
  const archive = await pack(one.path, options)
  assert.ok(archive.equals(await pack(two.path, options)))
  assert.deepEqual(names(archive), ['d/', 'd/a', 'd/b', 'd/c'])
  const listing = execFileSync('tar', ['--full-time', '--utc', '-tvf', '-'], { input: archive }).toString()
  assert.deepEqual(listing.match(/00:\d\d:\d\d/g), ['00:16:40', '00:16:40', '00:08:20', '00:16:40'])
})

test('several roots are put where they are asked for, with the parents they need, once', async () => {
  using source = tempDir()
  mkdirSync(join(source.path, 'x'))
  writeFileSync(join(source.path, 'x/file'), '1')
  const from = join(source.path, 'x')
  const archive = await pack([
    { from, to: '/usr/lib' },
    { from, to: 'usr/share/x/' },
    { from: join(from, 'file'), to: 'etc/name' },
  ])
  const expected = [
    'usr/',
    'usr/lib/',
    'usr/lib/file',
    'usr/share/',
    'usr/share/x/',
    'usr/share/x/file',
    'etc/',
    'etc/name',
  ]
  assert.deepEqual(names(archive), expected)
})

test('a filtered directory leaves with all below it, and sockets are left out', async () => {
  using source = tempDir()
  mkdirSync(join(source.path, 'out/deep'), { recursive: true })
  writeFileSync(join(source.path, 'kept'), '')
  const server = createServer().listen(join(source.path, 'socket'))
  await new Promise(resolve => server.once('listening', resolve))
  const archive = await pack(source.path, { filter: name => name !== 'out' })
  server.close()
  assert.deepEqual(names(archive), ['kept'])
})

test('marks of overlay mounts stay on this host, other xattrs go', async () => {
  using source = tempDir()
  const file = join(source.path, 'file')
  writeFileSync(file, '')
  execFileSync('setfattr', ['-n', 'user.overlay.opaque', '-v', 'y', file])
  execFileSync('setfattr', ['-n', 'user.own', '-v', 'y', file])
  const archive = await pack(source.path)
  assert.ok(!archive.includes('user.overlay'))
  assert.ok(archive.includes('SCHILY.xattr.user.own=y'))
})

test('a file that grows or shrinks while it is read fails the pack and is named', async () => {
  for (const change of ['grow', 'shrink'] as const) {
    using source = tempDir()
    const file = join(source.path, 'changing')
    writeFileSync(file, Buffer.alloc(4_000_000))
    const packing = async () => {
      for await (const _ of packDirectory(source.path, { signal })) {
        if (change === 'grow') appendFileSync(file, 'x')
        else writeFileSync(file, 'short')
      }
    }
    await assert.rejects(packing, error => isWindlassError(error, 'FAILED') && /changing.*4000000/.test(error.message))
  }
})

test('a directory that becomes a symlink while it is packed leads nowhere', async () => {
  for (const evil of ['dir', 'dir/deep']) {
    using source = tempDir()
    using outside = tempDir()
    mkdirSync(join(source.path, 'dir/deep'), { recursive: true })
    mkdirSync(join(outside.path, 'deep'))
    for (const path of [join(outside.path, 'deep/z'), join(outside.path, 'z')])
      writeFileSync(path, 'secret of the host')
    writeFileSync(join(source.path, 'dir/deep/a'), Buffer.alloc(4_000_000))
    writeFileSync(join(source.path, 'dir/deep/z'), 'mine')
    const packed: Uint8Array[] = []
    const packing = async () => {
      for await (const chunk of packDirectory(source.path, { signal })) {
        packed.push(chunk)
        if (packed.length > 1) continue
        renameSync(join(source.path, evil), join(source.path, 'gone'))
        symlinkSync(outside.path, join(source.path, evil))
      }
    }
    await assert.rejects(packing, error => isWindlassError(error, 'FAILED') && /took its place/.test(error.message))
    assert.ok(!Buffer.concat(packed).includes('secret'))
  }
})

test('a file that becomes a symlink or a fifo while its directory is packed is packed as that', async () => {
  for (const what of ['symlink', 'fifo']) {
    using source = tempDir()
    using outside = tempDir()
    writeFileSync(join(outside.path, 'secret'), 'secret of the host')
    writeFileSync(join(source.path, 'a'), Buffer.alloc(4_000_000))
    writeFileSync(join(source.path, 'z'), 'mine')
    const packed: Uint8Array[] = []
    for await (const chunk of packDirectory(source.path, { signal })) {
      packed.push(chunk)
      if (packed.length > 1) continue
      rmSync(join(source.path, 'z'))
      if (what === 'symlink') symlinkSync(join(outside.path, 'secret'), join(source.path, 'z'))
      else execFileSync('mkfifo', [join(source.path, 'z')])
    }
    const archive = Buffer.concat(packed)
    assert.deepEqual(names(archive), ['a', 'z'])
    assert.ok(!archive.includes('secret of the host'))
  }
})

test('what is packed of an entry is all of one file, whatever takes its place meanwhile', async () => {
  for (const seen of ['dir/a', 'dir/z']) {
    using source = tempDir()
    using outside = tempDir()
    const dir = join(source.path, 'dir')
    mkdirSync(dir)
    for (const [place, what] of [[dir, 'mine'] as const, [outside.path, 'secret'] as const]) {
      for (const path of [join(place, 'a'), join(place, 'z')]) {
        symlinkSync(what, path)
        if (process.getuid?.() === 0) execFileSync('setfattr', ['-h', '-n', 'trusted.own', '-v', what, path])
      }
    }
    let isThere = false
    // Called between what is read of an entry first and what is read last: somebody who puts another directory there, and the first one back.
    const filter = (name: string): boolean => {
      if (isThere) {
        rmSync(dir)
        renameSync(join(source.path, 'gone'), dir)
      } else if (name === seen) {
        renameSync(dir, join(source.path, 'gone'))
        symlinkSync(outside.path, dir)
        isThere = true
      }
      return true
    }
    const packing = pack(source.path, { filter })
    if (seen === 'dir/a') {
      await assert.rejects(packing, error => isWindlassError(error, 'FAILED') && /took its place/.test(error.message))
      continue
    }
    const archive = await packing
    assert.ok(!archive.includes('secret'))
    assert.ok(archive.includes('mine'))
    if (process.getuid?.() === 0) assert.ok(archive.includes('SCHILY.xattr.trusted.own=mine'))
  }
})

test('a name that a layer would take for a whiteout is refused', async () => {
  using source = tempDir()
  writeFileSync(join(source.path, '.wh.gone'), '')
  await assert.rejects(pack(source.path), error => isWindlassError(error, 'UNSUPPORTED'))
})

test('what stands right below the root of the host is packed as anything else', async () => {
  const seen: string[] = []
  const filter = (name: string) => seen.push(name) < 0
  assert.deepEqual(names(await pack('/', { filter })), [])
  assert.deepEqual(seen.toSorted(), readdirSync('/').toSorted())
  const link = readdirSync('/', { withFileTypes: true }).find(entry => entry.isSymbolicLink())
  if (link !== undefined) assert.deepEqual(names(await pack([{ from: `/${link.name}`, to: 'link' }])), ['link'])
})

test('an aborted pack ends with CANCELLED', async () => {
  using source = tempDir()
  writeFileSync(join(source.path, 'file'), Buffer.alloc(4_000_000))
  const abort = new AbortController()
  const packing = async () => {
    for await (const _ of packDirectory(source.path, { signal: abort.signal })) abort.abort()
  }
  await assert.rejects(packing, error => isWindlassError(error, 'CANCELLED'))
})

test('a packed layer names its bytes and its tar truly, and its bytes are repeatable', async () => {
  using source = tempDir()
  fillOddTree(source.path)
  const sha256 = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  const tar = await pack(source.path)
  for (const [compression, open] of [
    ['gzip', gunzipSync],
    ['zstd', zstdDecompressSync],
    ['none', (bytes: Buffer) => bytes],
  ] as const) {
    const layers = []
    const blobs: Buffer[] = []
    for (let round = 0; round < 2; round++) {
      const chunks: Uint8Array[] = []
      const write = (chunk: Uint8Array) => void chunks.push(Buffer.from(chunk))
      layers.push(await packLayer(packDirectory(source.path, { signal }), write, { signal, compression, level: 1 }))
      blobs.push(Buffer.concat(chunks))
    }
    const [blob = Buffer.alloc(0)] = blobs
    assert.deepEqual(layers[0], layers[1])
    assert.ok(open(blob).equals(tar))
    assert.equal(layers[0]?.diffId, sha256(tar))
    assert.equal(layers[0]?.tarSize, tar.length)
    assert.equal(layers[0]?.descriptor.digest, sha256(blob))
    assert.equal(layers[0]?.descriptor.size, blob.length)
    assert.match(
      layers[0]?.descriptor.mediaType ?? '',
      compression === 'none' ? /tar$/ : new RegExp(`tar\\+${compression}$`),
    )
  }
})
