import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, test } from 'node:test'
import fc from 'fast-check'
import { layer as layers } from '../../test/fuzz/archives.ts'
import { readTar } from '../../test/memory-source.ts'
import { buildTar, type RawEntry } from '../../test/tar-builder.ts'
import { unmountAll } from '../../test/testbed/mounts.ts'
import { compareTrees as compareOnDisk, type Facts, readTree as readDisk, type Tree } from '../../test/tree.ts'
import { TestDirectory, unpackTar } from '../../test/unpack-tar.ts'
import { isWindlassError, WindlassError } from '../errors.ts'
import { compareTrees, factsOf, liveChildren } from './compare-trees.ts'
import { adoptImplied } from './implied.ts'
import { emptyDirectory, follow, impliedFacts, mergeBelow, type TreeNode } from './layer-tree.ts'
import { readTree } from './read-tree.ts'

/** For each test: on a busy machine the first alone takes most of it. */
let signal: AbortSignal
beforeEach(() => {
  signal = AbortSignal.timeout(process.env['WINDLASS_LONG'] ? 600_000 : 100_000)
})

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 700) yield bytes.subarray(at, at + 700)
}

async function treeOf(...entries: RawEntry[]): Promise<TreeNode> {
  return (await readTree(pieces(buildTar(entries)), { signal, hashes: true })).root
}

/** The tree in memory as `test/tree.ts` says it of one on a disk; those of implied directories' facts that are nobody's are marked. */
function toFacts(root: TreeNode): { tree: Tree; vague: Set<string> } {
  const tree: Tree = new Map()
  const vague = new Set(['.'])
  const linked = new Map<object, string[]>()
  const visit = (node: TreeNode, path: string): void => {
    const facts = factsOf(node)
    if (facts === undefined) return
    if (node.children === undefined) linked.set(facts, [...(linked.get(facts) ?? []), path])
    if (facts === impliedFacts || facts.name === '') vague.add(path)
    const xattrs = [...(facts.xattrs ?? [])].map(([name, value]) => `${name}=${Buffer.from(value).toString('hex')}`)
    const time = `${facts.mtimeSeconds}.${`${facts.mtimeNanoseconds}`.padStart(9, '0')}`
    tree.set(path, {
      type: facts.type,
      mode: facts.mode.toString(8).padStart(4, '0'),
      uid: facts.uid,
      gid: facts.gid,
      mtime: time,
      xattrs: xattrs.sort().join(' '),
      ...(facts.type === 'symlink' && { target: facts.linkName }),
      ...((facts.type === 'char' || facts.type === 'block') && { device: `${facts.major}:${facts.minor}` }),
      ...(facts.type === 'file' && { size: facts.size, sha256: facts.hash as string }),
    })
    for (const [name, child] of liveChildren(node)) visit(child, path === '.' ? name : `${path}/${name}`)
  }
  visit(root, '.')
  for (const paths of linked.values())
    for (const path of paths.length > 1 ? paths : [])
      tree.set(path, { ...(tree.get(path) as Facts), links: paths.toSorted().join(' ') })
  return { tree, vague }
}

/** Unpacks layers as the store does, and mounts them over each other. */
async function mountLayers(base: string, tars: readonly Buffer[]): Promise<Tree> {
  const directories = [join(base, 'bottom')]
  mkdirSync(directories[0] as string)
  for (const [at, tar] of tars.entries()) {
    const directory = join(base, `layer-${at}`)
    mkdirSync(directory)
    const { implied } = await unpackTar(directory, tar)
    adoptImplied(directory, directories, implied)
    directories.unshift(directory)
  }
  const target = join(base, 'mounted')
  mkdirSync(target)
  execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `ro,lowerdir=${directories.join(':')}`, target])
  return readDisk(target, { ignoreXattrs: ['trusted.overlay.'], ignoreGone: true })
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

async function outcomeOf(reading: Promise<unknown>): Promise<string> {
  try {
    await reading
    return 'taken'
  } catch (error) {
    assert.ok(isWindlassError(error), String(error))
    return error.code
  }
}

/** What repeats a failure by hand. */
function describeStack(taken: readonly { tar: Buffer }[]): string {
  const lists = taken.map(({ tar }) => readTar(tar).map(({ type, name, linkName }) => `${type} ${name} ${linkName}`))
  return JSON.stringify(lists, undefined, 1)
}

test('layers over each other are in memory what overlayfs makes of them on a disk, and the same ones are refused', async t => {
  const stacks = fc.sample(fc.array(layers, { minLength: 3, maxLength: 3 }), {
    numRuns: process.env['WINDLASS_LONG'] ? 500 : 20,
    seed: Number(process.env['WINDLASS_SEED'] ?? 7),
  })
  let mounted = 0
  for (const stack of stacks) {
    using directory = new TestDirectory()
    const taken: { tar: Buffer; root: TreeNode }[] = []
    for (const [at, tar] of stack.entries()) {
      const probe = join(directory.path, `probe-${at}`)
      mkdirSync(probe)
      const onDisk = await outcomeOf(unpackTar(probe, tar))
      const reading = readTree(pieces(tar), { signal, hashes: true })
      assert.equal((await outcomeOf(reading)) === 'taken', onDisk === 'taken', describeStack([{ tar }]))
      if (onDisk === 'taken') taken.push({ tar, root: (await reading).root })
    }
    if (taken.length === 0) continue
    const merged = emptyDirectory()
    for (const { root } of taken.toReversed()) mergeBelow(merged, root)
    const { tree, vague } = toFacts(merged)
    try {
      // At the root of all, overlayfs does not look whether a layer hides those below.
      const lowest = taken.findLastIndex(({ root }) => root.isOpaque)
      const visible = taken.slice(Math.max(lowest, 0)).map(({ tar }) => tar)
      const disk = await mountLayers(directory.path, visible)
      const ignore = (path: string, fact: string): boolean =>
        fact === 'sparse' || (vague.has(path) && ['mode', 'uid', 'gid', 'mtime'].includes(fact))
      assert.deepEqual(compareOnDisk(tree, disk, { ignore }), [], describeStack(taken))
      mounted += taken.length
    } finally {
      unmountAll(directory.path)
    }
  }
  t.diagnostic(`${mounted} layers compared`)
  assert.ok(mounted > stacks.length)
})

describe('a path', () => {
  const name = (found: ReturnType<typeof follow>): string => `${found.kind} ${'path' in found ? found.path : ''}`

  test('follows symlinks within the image, and nothing leads out of it', async () => {
    const root = await treeOf(
      { name: 'usr/lib/x', data: '1' },
      { name: 'lib', typeflag: '2', linkname: 'usr/lib' },
      { name: 'etc/up', typeflag: '2', linkname: '../../../../lib/x' },
      { name: 'etc/absolute', typeflag: '2', linkname: '/lib' },
      { name: 'round', typeflag: '2', linkname: 'round' },
      { name: 'nowhere', typeflag: '2', linkname: '/usr/none/y' },
    )
    assert.equal(name(follow(root, 'lib/x')), 'other usr/lib/x')
    assert.equal(name(follow(root, 'etc/up')), 'other usr/lib/x')
    assert.equal(name(follow(root, 'etc/absolute/x')), 'other usr/lib/x')
    assert.equal(name(follow(root, '../..')), 'directory ')
    assert.equal(name(follow(root, 'round')), 'circle ')
    assert.equal(name(follow(root, 'nowhere')), 'none usr/none/y')
  })

  test('is decided where a whiteout or an opaque directory hides what is below', async () => {
    const root = await treeOf(
      { name: 'a/.wh.gone', data: '' },
      { name: 'b/c/d', data: '1' },
      { name: 'b/.wh..wh..opq', data: '' },
      { name: 'open/d', data: '1' },
    )
    const facts = (path: string) => {
      const found = follow(root, path)
      return found.kind === 'none' ? [found.isWhiteout, found.isSealed] : found.kind
    }
    assert.deepEqual(facts('a/gone'), [true, false])
    assert.deepEqual(facts('b/c/other'), [false, true])
    assert.deepEqual(facts('open/other'), [false, false])
  })
})

describe('a comparison', () => {
  test('tells each difference by what it is, and nothing else', async () => {
    const base: RawEntry[] = [
      { name: 'same', data: 'x', mode: 0o644 },
      { name: 'content', data: 'abc', mode: 0o644 },
      { name: 'mode', data: 'x', mode: 0o644 },
      { name: 'owner', data: 'x', mode: 0o644 },
      { name: 'kind', data: 'x', mode: 0o644 },
      { name: 'link', typeflag: '2', linkname: 'same' },
      { name: 'noted', data: 'x', mode: 0o644, pax: { 'SCHILY.xattr.user.note': 'one' } },
      { name: 'old/file', data: 'x' },
      { name: 'time', data: 'x', mtime: 1 },
    ]
    const changed = new Map<string, RawEntry>([
      ['content', { name: 'content', data: 'abd', mode: 0o644 }],
      ['mode', { name: 'mode', data: 'x', mode: 0o600 }],
      ['owner', { name: 'owner', data: 'x', mode: 0o644, uid: 5 }],
      ['kind', { name: 'kind', typeflag: '5', mode: 0o755 }],
      ['link', { name: 'link', typeflag: '2', linkname: 'content' }],
      ['noted', { name: 'noted', data: 'x', mode: 0o644, pax: { 'SCHILY.xattr.user.note': 'two' } }],
      ['old/file', { name: 'new/file', data: 'longer' }],
      ['time', { name: 'time', data: 'x', mtime: 2 }],
    ])
    const after = base.map(entry => changed.get(String(entry.name)) ?? entry)
    const list = async (times: boolean) =>
      [...compareTrees(await treeOf(...base), await treeOf(...after), times)].map(
        ({ path, change, differences }) => `${change} ${path} ${differences.join(' ')}`,
      )
    const wanted = [
      'changed /content content',
      'changed /kind type',
      'changed /link target',
      'changed /mode mode',
      'added /new ',
      'added /new/file ',
      'changed /noted xattrs',
      'removed /old ',
      'removed /old/file ',
      'changed /owner owner',
    ]
    assert.deepEqual(await list(false), wanted)
    assert.deepEqual(await list(true), [...wanted, 'changed /time time'])
  })

  test('takes a sparse file for what it reads as', async () => {
    const { paxSparse } = await import('../../test/tar-builder.ts')
    const segments = [{ offset: 4096, data: Buffer.from('data') }]
    const sparse = buildTar([paxSparse('1.0', { name: 'file', mode: 0o644, realSize: 10_000, segments })])
    const content = Buffer.alloc(10_000)
    content.write('data', 4096)
    const { root } = await readTree(pieces(sparse), { signal, hashes: true })
    assert.deepEqual([...compareTrees(root, await treeOf({ name: 'file', mode: 0o644, data: content }), false)], [])
  })
})

test("hard links into aufs' bookkeeping have the content of the files there, of which nothing else is seen", async () => {
  const root = await treeOf(
    { name: '.wh..wh.plnk', typeflag: '5' },
    { name: '.wh..wh.plnk/1.2', data: 'shared' },
    { name: '.wh..wh.plnk/3.4', data: 'nobody wants it' },
    { name: 'd/a', typeflag: '1', linkname: '.wh..wh.plnk/1.2' },
    { name: 'b', typeflag: '1', linkname: '/.wh..wh.plnk/1.2' },
  )
  const { tree } = toFacts(root)
  assert.deepEqual([...tree.keys()].toSorted(), ['.', 'b', 'd', 'd/a'])
  assert.equal(tree.get('b')?.links, 'b d/a')
  assert.deepEqual([tree.get('b')?.size, tree.get('b')?.sha256], ['shared'.length, sha256('shared')])
  await assert.rejects(treeOf({ name: 'a', typeflag: '1', linkname: '.wh..wh.plnk/9' }), /does not exist in this layer/)
})

test('names that nest as deep as a path can are read', async () => {
  const root = await treeOf({ name: 'short', gnuName: `${'a/'.repeat(2000)}f`, magic: 'ustar  \0', data: 'x' })
  assert.equal(follow(root, `${'a/'.repeat(2000)}f`).kind, 'other')
})

test('what the tar throws ends the reading, and so does its end in the middle', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield buildTar([{ name: 'a', data: 'x' }]).subarray(0, 512)
    throw new WindlassError('DIGEST_MISMATCH', 'Cannot verify')
  }
  assert.equal(await outcomeOf(readTree(broken(), { signal })), 'DIGEST_MISMATCH')
  const torn = buildTar([{ name: 'a', data: 'x'.repeat(5000) }]).subarray(0, 2000)
  assert.equal(await outcomeOf(readTree(pieces(torn), { signal })), 'CORRUPT')
  const stop = new AbortController()
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield buildTar([{ name: 'a', size: 1e9 }], { end: false })
    setTimeout(() => stop.abort(), 20)
    while (true) yield Buffer.alloc(1024)
  }
  assert.equal(await outcomeOf(readTree(endless(), { signal: stop.signal })), 'CANCELLED')
})
