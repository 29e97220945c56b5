import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { ImageName } from '../testbed/images.ts'
import { unpackWithTar } from '../testbed/peers.ts'
import { imageFacts, openTestbed, type Testbed } from '../testbed/testbed.ts'
import { assertSameTree, readTree, type Tree } from '../tree.ts'
import { isImplied } from './allowances.ts'

let bed: Testbed
let unpacked = 0

before(async () => {
  bed = await openTestbed()
})
after(() => bed?.[Symbol.asyncDispose]())

async function unpack(image: ImageName): Promise<Tree> {
  await bed.windlass.run('pull', bed.refer(image))
  const directory = join(await bed.makeDirectory('unpacked'), `${image}-${unpacked++}`)
  await bed.windlass.run('unpack', bed.refer(image), directory)
  return readTree(directory, imageFacts)
}

const variants: [ImageName, ImageName, string][] = [
  ['debian', 'debian', 'gzip layers of an OCI image'],
  ['debian-schema2', 'debian', "docker's own manifest"],
  ['debian-zstd', 'debian', 'zstd layers'],
  ['debian-plain', 'debian', 'layers that are not compressed'],
  ['odd', 'odd', 'every kind of entry, gzip'],
  ['odd-zstd', 'odd', 'every kind of entry, zstd'],
  ['repeats', 'repeats', 'a layer that says names twice'],
  ['sparse', 'sparse', 'sparse files in all four forms'],
]
for (const [image, like, what] of variants) {
  test(`an unpacked image equals what umoci makes of it: ${what}`, async () => {
    assertSameTree(await unpack(image), await bed.readExpected(like), { ignore: isImplied })
  })
}

test('an unpacked image equals what GNU tar makes of its layers', async () => {
  const directory = await unpackWithTar(await bed.images.tarsOf('debian'), await bed.makeDirectory('tar'))
  assertSameTree(await unpack('debian'), readTree(directory, imageFacts), { ignore: isImplied })
})

test('sparse files are as sparse as GNU tar leaves them', async () => {
  const directory = await unpackWithTar(await bed.images.tarsOf('sparse'), await bed.makeDirectory('tar-sparse'))
  assertSameTree(await unpack('sparse'), readTree(directory, imageFacts))
})

test('unpacking into a directory that is not empty is refused and leaves it alone', async () => {
  await bed.windlass.run('pull', bed.refer('odd'))
  const directory = await bed.makeDirectory('full/of')
  const result = await bed.windlass.try('unpack', bed.refer('odd'), join(directory, '..'))
  assert.notEqual(result.status, 0)
  assert.match(result.stderr, /^windlass: Cannot /m)
  assert.deepEqual([...readTree(join(directory, '..')).keys()], ['.', 'of'])
})
