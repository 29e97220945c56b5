import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { waitUntil } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { type RegistryProxy, startProxy } from '../testbed/proxy.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { openWindlass, type Windlass } from '../testbed/windlass.ts'

/** So slow that a fault hits in the middle. */
const slowBytes = 8 << 20

let bed: Testbed
let proxy: RegistryProxy
let windlass: Windlass
let reference: string
let stores = 0

before(async () => {
  bed = await openTestbed()
})
after(() => bed?.[Symbol.asyncDispose]())

beforeEach(async () => {
  proxy = await startProxy(bed.registry.host, slowBytes)
  windlass = openWindlass(await bed.makeDirectory(`store-${stores++}`))
  reference = `${proxy.host}/debian:latest`
})
afterEach(() => proxy?.[Symbol.asyncDispose]())

/** Pulls, and does something to the proxy in the middle. */
async function pullThrough(fault: () => void) {
  const { result } = windlass.start('pull', reference)
  await waitUntil('some of the image is here', 60_000, () => proxy.blobBytes() > 12 << 20)
  fault()
  proxy.bytesPerSecond = Number.POSITIVE_INFINITY
  return await result
}

function countResumed(): number {
  return proxy.requests.filter(({ range, status }) => /^bytes=[1-9]/.test(range ?? '') && status === 206).length
}

test('a pull whose connections break asks for the rest and succeeds', async () => {
  const { status, stderr } = await pullThrough(() => proxy.cut())
  assert.equal(status, 0, stderr)
  assert.ok(countResumed() > 0)
  assert.equal(await windlass.run('verify'), '')
})

test('a pull whose connections fall silent notices it, asks again and succeeds', async () => {
  const startedAt = performance.now()
  const { status, stderr } = await pullThrough(() => proxy.freeze())
  assert.equal(status, 0, stderr)
  assert.ok(countResumed() > 0)
  assert.ok(performance.now() - startedAt < 60_000)
})

test('a full disk ends the pull with status 7, and the store stays sound', async () => {
  await using small = await openLoopFilesystem({ sizeBytes: 96 << 20 })
  const cramped = openWindlass(join(small.directory, 'store'))
  const result = await cramped.try('pull', bed.refer('debian'))
  assert.equal(result.status, 7, result.stderr)
  assert.match(result.stderr, /^windlass: Cannot /m)
  assert.equal(result.stdout, '')
  assert.equal(await cramped.run('verify'), '')
  assert.equal(await cramped.run('images', '-q'), '')
  await cramped.run('gc')
  await cramped.run('pull', bed.refer('odd'))
})

test('a registry that is gone is told as a network error', async () => {
  await proxy[Symbol.asyncDispose]()
  const result = await windlass.try('pull', reference)
  assert.equal(result.status, 4, result.stderr)
  assert.ok(result.stderr.includes(proxy.host))
})
