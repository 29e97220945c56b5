/** Deliveries that are cut short: by the death of windlass, by the death of the engine, by a full disk of the engine. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { waitUntil } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { startProxy } from '../testbed/proxy.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { windlassFor } from '../testbed/windlass.ts'
import { type Subject, subjects } from './subjects.ts'

let bed: Testbed
before(async () => {
  bed = await openTestbed()
})
after(async () => {
  await bed?.[Symbol.asyncDispose]()
})

for (const [name, open] of Object.entries(subjects)) describe(name, () => testSubject(name.replaceAll(' ', '-'), open))

function testSubject(name: string, open: (directory: string) => Promise<Subject>): void {
  test('a windlass that is killed leaves nothing there, and the next one completes', async () => {
    await using proxy = await startProxy(bed.registry.host, 24 << 20)
    await using subject = await open(await bed.makeDirectory(name))
    const windlass = windlassFor(join(bed.root, '..', `store-${name}`), subject.env)
    const args = ['pull', '--into', ...subject.into, `${proxy.host}/debian:latest`]
    const { child, result } = windlass.start(...args)
    await waitUntil('the engine takes something', 60_000, () => subject.hasBegun())
    child.kill('SIGKILL')
    await result
    let left = await subject.left()
    const isGone = async () => {
      left = await subject.left()
      return left.length === 0
    }
    if (subject.isSwept !== false)
      await waitUntil('all is gone', 30_000, isGone).catch(error => assert.fail(`${error}: ${left}`))
    proxy.bytesPerSecond = Number.POSITIVE_INFINITY
    await windlass.run(...args)
    assert.deepEqual(
      (await subject.left()).filter(name => left.includes(name)),
      [],
    )
  })

  test('an engine that dies is told as such', async context => {
    await using proxy = await startProxy(bed.registry.host, 24 << 20)
    await using subject = await open(await bed.makeDirectory(`${name}-dies`))
    const { pid } = subject
    if (pid === undefined) return context.skip('podman is no daemon')
    const windlass = windlassFor(join(bed.root, '..', `store-${name}-dies`), subject.env)
    const { result } = windlass.start('pull', '--into', ...subject.into, `${proxy.host}/debian:latest`)
    await waitUntil('the engine takes something', 60_000, () => subject.hasBegun())
    process.kill(pid, 'SIGKILL')
    const { status, stderr } = await result
    assert.equal(status, 8, stderr)
    assert.match(stderr, /Cannot .*(docker|containerd) at .*: /)
  })

  test('a disk of the engine that is full is told as such, and nothing is published', async () => {
    await using small = await openLoopFilesystem({ sizeBytes: 160 << 20 })
    await using subject = await open(join(small.directory, 'engine'))
    const windlass = windlassFor(join(bed.root, '..', `store-${name}-full`), subject.env)
    const { status, stderr } = await windlass.try('pull', '--into', ...subject.into, bed.refer('debian'))
    assert.equal(status, 7, stderr)
    assert.match(stderr, /no space/i)
    const left = await subject.left()
    assert.deepEqual(left, [])
  })
}
