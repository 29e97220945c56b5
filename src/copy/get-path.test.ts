import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { type LayeredSource, layeredSource } from '../../test/layered-source.ts'
import { type ReadEntry, readTar } from '../../test/memory-source.ts'
import type { RawEntry } from '../../test/tar-builder.ts'
import { TestDirectory } from '../../test/unpack-tar.ts'
import { isWindlassError } from '../errors.ts'
import type { ByteSink } from '../places/archive/tar-output.ts'
import { diffImages } from './diff-images.ts'
import { getPath } from './get-path.ts'

const directory = new TestDirectory()
after(() => directory[Symbol.dispose]())

class MemorySink implements ByteSink {
  readonly name = 'memory'
  readonly chunks: Buffer[] = []
  isCommitted = false

  async write(chunk: Uint8Array): Promise<void> {
    this.chunks.push(Buffer.from(chunk))
  }

  async commit(): Promise<void> {
    this.isCommitted = true
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

async function get(image: LayeredSource, path: string, signal?: AbortSignal) {
  const sink = new MemorySink()
  const options = { root: directory.path, spoolDirectory: directory.path, ...(signal !== undefined && { signal }) }
  try {
    const got = await getPath(image, path, sink, options).result
    assert.ok(sink.isCommitted)
    return { ...got, bytes: Buffer.concat(sink.chunks) }
  } catch (error) {
    assert.deepEqual([sink.chunks, sink.isCommitted], [[], false], 'something went out before the failure')
    throw error
  }
}

async function text(image: LayeredSource, path: string): Promise<string> {
  return (await get(image, path)).bytes.toString()
}

async function fails(image: LayeredSource, path: string, code: string, message: RegExp): Promise<void> {
  await assert.rejects(get(image, path), error => {
    assert.ok(isWindlassError(error), String(error))
    assert.equal(error.code, code)
    assert.match(error.message, message)
    return true
  })
}

const base: RawEntry[] = [
  { name: 'usr/lib/', typeflag: '5', mode: 0o755 },
  { name: 'usr/lib/os-release', data: 'base' },
  { name: 'usr/lib/linked', typeflag: '1', linkname: 'usr/lib/os-release' },
  { name: 'lib', typeflag: '2', linkname: 'usr/lib' },
  { name: 'etc/os-release', typeflag: '2', linkname: '../usr/lib/os-release' },
  { name: 'etc/conf', data: 'base conf', mode: 0o640, uid: 7 },
  { name: 'etc/gone', data: 'gone' },
  { name: 'var/opaque/old', data: 'old' },
]
const middle: RawEntry[] = [
  { name: 'etc/conf', data: 'middle conf' },
  { name: 'etc/.wh.gone', data: '' },
  { name: 'var/opaque/new', data: 'new' },
  { name: 'var/opaque/.wh..wh..opq', data: '' },
  { name: 'run/pipe', typeflag: '6' },
]
const top: RawEntry[] = [{ name: 'etc/top', data: 'top' }]

describe('a file', () => {
  test('comes from the highest layer that has it, and no layer below is read', async () => {
    const image = layeredSource(base, middle, top)
    assert.equal(await text(image, '/etc/conf'), 'middle conf')
    assert.deepEqual(image.read, [2, 1])
    assert.equal(await text(image, 'etc/top'), 'top')
    assert.deepEqual(image.read, [2, 1, 2])
  })

  test('is found through symlinks, of the image and in it, and under each of its names', async () => {
    const image = layeredSource(base, middle, top)
    for (const path of ['/etc/os-release', '/lib/os-release', 'usr/lib/linked', '/../etc/../lib//os-release'])
      assert.equal(await text(image, path), 'base', path)
    assert.equal((await get(image, '/lib/linked')).path, '/usr/lib/linked')
  })

  test('that a layer hides is not there, and it is not looked for below', async () => {
    const image = layeredSource(base, middle, top)
    await fails(image, '/etc/gone', 'NOT_FOUND', /Cannot get \/etc\/gone: "\/etc\/gone" is not there/)
    await fails(image, '/var/opaque/old', 'NOT_FOUND', /is not there/)
    assert.ok(!image.read.includes(0))
    await fails(image, '/etc/none', 'NOT_FOUND', /is not there/)
    await fails(image, '/etc/conf/more', 'NOT_FOUND', /"\/etc\/conf" is no directory/)
    await fails(image, '/run/pipe', 'FAILED', /it is a fifo; wanted a file or a directory/)
  })

  test('of which a symlink leads in a circle is refused', async () => {
    const image = layeredSource([{ name: 'a', typeflag: '2', linkname: 'a' }])
    await fails(image, '/a', 'FAILED', /more than 40 symlinks/)
  })

  test('of a layer that is not what its digest says does not come out', async () => {
    const image = layeredSource(base, middle)
    image.damage(1)
    await fails(image, '/etc/conf', 'DIGEST_MISMATCH', /Cannot verify layer/)
  })

  test('of which a layer has two keeps the last', async () => {
    const twice = [
      { name: 'a', data: 'first' },
      { name: 'b', typeflag: '1', linkname: 'a' },
      { name: 'a', data: 'second' },
    ]
    assert.equal(await text(layeredSource(twice), 'a'), 'second')
    assert.equal(await text(layeredSource(twice), 'b'), 'first')
  })
})

function names(entries: readonly ReadEntry[]): string[] {
  return entries.map(({ name, type, linkName, content }) =>
    [name, type, ...(linkName === '' ? [] : [linkName]), ...(content.length > 0 ? [content.toString()] : [])].join(' '),
  )
}

describe('a directory', () => {
  test('is a tar of what all layers leave of it', async () => {
    const got = await get(layeredSource(base, middle, top), '/etc')
    assert.equal(got.size, got.bytes.length)
    assert.deepEqual(names(readTar(got.bytes)), [
      './ directory',
      './conf file middle conf',
      './os-release symlink ../usr/lib/os-release',
      './top file top',
    ])
  })

  test('that hides those below is read no further', async () => {
    const image = layeredSource(base, middle, top)
    assert.deepEqual(names(readTar((await get(image, 'var/opaque')).bytes)), ['./ directory', './new file new'])
    assert.deepEqual(image.read, [2, 1])
  })

  test('keeps hard links, also those whose first name is elsewhere', async () => {
    const layers = [
      { name: 'out', data: 'shared' },
      { name: 'in/a', typeflag: '1', linkname: 'out' },
      { name: 'in/b', typeflag: '1', linkname: 'out' },
    ]
    const { bytes } = await get(layeredSource(layers), '/in')
    assert.deepEqual(names(readTar(bytes)), ['./ directory', './a file shared', './b link ./a'])
  })

  test('that is reached by a symlink is complete', async () => {
    const { bytes } = await get(layeredSource(base, middle, top), '/lib')
    assert.deepEqual(names(readTar(bytes)), ['./ directory', './linked file base', './os-release link ./linked'])
  })

  test('is the whole image at the root', async () => {
    const { bytes, path } = await get(layeredSource([{ name: 'a', data: 'x' }]), '/')
    assert.deepEqual([path, ...names(readTar(bytes))], ['/', './ directory', './a file x'])
  })
})

describe('two images', () => {
  const list = async (a: LayeredSource, b: LayeredSource) =>
    [...(await diffImages(a, b, { root: directory.path }).result)].map(
      ({ change, path, differences }) => `${change} ${path} ${differences.join()}`,
    )

  test('differ in what their layers leave; what both have at their base is read once', async () => {
    const [before, after] = [layeredSource(base, top), layeredSource(base, middle)]
    assert.deepEqual(await list(before, after), [
      'changed /etc/conf content,size,mode,owner',
      'removed /etc/gone ',
      'removed /etc/top ',
      'added /run ',
      'added /run/pipe ',
      'added /var/opaque/new ',
      'removed /var/opaque/old ',
    ])
    assert.deepEqual([before.read, after.read], [[1, 0], [1]])
  })

  test('that have the same files in other layers do not differ', async () => {
    assert.deepEqual(await list(layeredSource(base, top), layeredSource([...base, ...top])), [])
    const same = layeredSource(base, top)
    assert.deepEqual(await list(layeredSource(base, top), same), [])
    assert.deepEqual(same.read, [])
  })
})
