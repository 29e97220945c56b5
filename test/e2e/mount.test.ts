import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import { listMounts } from '../testbed/mounts.ts'
import { mountAsDocker } from '../testbed/peers.ts'
import { imageFacts, openTestbed, type Testbed } from '../testbed/testbed.ts'
import { assertSameTree, readTree } from '../tree.ts'
import { isImplied } from './allowances.ts'

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

for (const image of ['debian', 'debian-zstd', 'odd'] as const) {
  test(`a mounted image equals what docker shows after its own pull: ${image}`, async () => {
    const like = image === 'debian-zstd' ? 'debian' : image // docker 20.10 reads no zstd
    const theirs = await bed.makeDirectory(`mounts/docker-${image}`)
    const ours = await bed.makeDirectory(`mounts/windlass-${image}`)
    await docker.docker(['pull', '-q', bed.refer(like)])
    await mountAsDocker(docker, bed.refer(like), theirs)
    await bed.windlass.run('pull', bed.refer(image))
    assert.equal(await bed.windlass.run('mount', bed.refer(image), ours), ours)
    assertSameTree(readTree(ours, imageFacts), readTree(theirs, imageFacts), { ignore: isImplied })
    await bed.windlass.run('umount', ours)
    assert.deepEqual(listMounts(ours), [])
  })
}

test('a mount is read-only, is listed while it lasts, and unmounts by the name of the image', async () => {
  await bed.windlass.run('pull', bed.refer('odd'))
  const target = await bed.makeDirectory('mounts/listed')
  await bed.windlass.run('mount', bed.refer('odd'), target)
  await assert.rejects(writeFile(join(target, 'new'), ''), { code: 'EROFS' })
  assert.ok((await bed.windlass.run('mount')).includes(target))
  await bed.windlass.run('umount', bed.refer('odd'))
  assert.deepEqual(listMounts(target), [])
  assert.ok(!(await bed.windlass.run('mount')).includes(target))
})

test('a writable mount takes changes and leaves the image as it was', async () => {
  await bed.windlass.run('pull', bed.refer('odd'))
  const target = await bed.makeDirectory('mounts/writable')
  await bed.windlass.run('mount', '--read-write', bed.refer('odd'), target)
  await writeFile(join(target, 'new'), 'x')
  await bed.windlass.run('umount', target)
  await bed.windlass.run('mount', bed.refer('odd'), target)
  assert.ok(!readTree(target).has('new'))
  await bed.windlass.run('umount', target)
  assert.equal(await bed.windlass.run('verify'), '')
})
