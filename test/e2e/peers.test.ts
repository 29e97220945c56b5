/** The ground under the other tests: the peers agree with each other on the images that windlass is compared with them on. */
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { mountAsDocker, unpackWithTar } from '../testbed/peers.ts'
import { imageFacts, openTestbed, type Testbed } from '../testbed/testbed.ts'
import { assertSameTree, readTree } from '../tree.ts'
import { isImplied, isSparse } from './allowances.ts'

let bed: Testbed
let docker: TestDocker

before(async () => {
  bed = await openTestbed()
  docker = await startDocker(await bed.makeDirectory('docker'))
})

after(async () => {
  await docker?.[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

test('umoci and GNU tar unpack Debian layers alike', async () => {
  const directory = await unpackWithTar(await bed.images.tarsOf('debian'), await bed.makeDirectory('tar'))
  assertSameTree(readTree(directory, imageFacts), await bed.readExpected('debian'))
})

test('umoci and GNU tar unpack sparse files alike, but for the holes', async () => {
  const directory = await unpackWithTar(await bed.images.tarsOf('sparse'), await bed.makeDirectory('tar-sparse'))
  assertSameTree(readTree(directory, imageFacts), await bed.readExpected('sparse'), { ignore: isSparse })
})

for (const image of ['debian', 'odd'] as const) {
  test(`umoci and docker show the same ${image} image`, async () => {
    const target = join(await bed.makeDirectory('mounts'), image)
    await docker.docker(['pull', '-q', bed.refer(image)])
    await mountAsDocker(docker, bed.refer(image), target)
    assertSameTree(readTree(target, imageFacts), await bed.readExpected(image), { ignore: isImplied })
  })
}
