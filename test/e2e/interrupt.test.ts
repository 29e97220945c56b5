import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { waitUntil } from '../testbed/command.ts'
import { type RegistryProxy, startProxy } from '../testbed/proxy.ts'
import { imageFacts, openTestbed, type Testbed } from '../testbed/testbed.ts'
import { openWindlass, type Windlass } from '../testbed/windlass.ts'
import { assertSameTree, readTree } from '../tree.ts'
import { isImplied } from './allowances.ts'

/** So slow that windlass keeps up on a busy machine: else megabytes wait in the kernel's socket buffers and die with it. */
const slowBytes = 4 << 20
/** What may be on its way when a process is killed: buffers of sockets, of HTTP, and of the store before a write. */
const inFlightMax = 8 << 20

let bed: Testbed
let proxy: RegistryProxy
let root: string
let windlass: Windlass
let reference: string
let stores = 0

before(async () => {
  bed = await openTestbed()
})
after(() => bed?.[Symbol.asyncDispose]())

beforeEach(async () => {
  proxy = await startProxy(bed.registry.host, slowBytes)
  root = await bed.makeDirectory(`store-${stores++}`)
  windlass = openWindlass(root)
  reference = `${proxy.host}/debian:latest`
})
afterEach(() => proxy?.[Symbol.asyncDispose]())

/** Starts a pull and interrupts it in the middle. */
async function interrupt(signal: NodeJS.Signals) {
  const { child, result } = windlass.start('pull', reference)
  await waitUntil('half of the image is here', 60_000, () => proxy.blobBytes() > 20 << 20)
  const sentAt = performance.now()
  child.kill(signal)
  return { ...(await result), tookMs: performance.now() - sentAt, pid: child.pid as number }
}

/** Pulls to the end and checks that the registry sent little twice, and that the result is whole. */
async function checkResumed(): Promise<void> {
  const before = proxy.blobBytes()
  proxy.requests.length = 0
  proxy.bytesPerSecond = Number.POSITIVE_INFINITY
  await windlass.run('pull', reference)
  const resumed = proxy.requests.filter(({ range }) => /^bytes=[1-9]\d*-$/.test(range ?? ''))
  assert.ok(resumed.length > 0 && resumed.every(({ status }) => status === 206), JSON.stringify(proxy.requests))
  const total = sizeOfLayers()
  const twice = before + proxy.blobBytes() - total
  assert.ok(twice < inFlightMax, `${twice} of ${total} bytes came twice`)
  assert.equal(await windlass.run('verify'), '')
  const directory = join(await bed.makeDirectory('unpacked'), String(stores))
  await windlass.run('unpack', reference, directory)
  assertSameTree(readTree(directory, imageFacts), await bed.readExpected('debian'), { ignore: isImplied })
}

function sizeOfLayers(): number {
  const read = (digest: string) =>
    JSON.parse(readFileSync(join(bed.images.layout, 'blobs/sha256', digest.slice(7)), 'utf8'))
  const index = JSON.parse(readFileSync(join(bed.images.layout, 'index.json'), 'utf8')) as {
    manifests: { digest: string; annotations: Record<string, string> }[]
  }
  const entry = index.manifests.find(({ annotations }) => annotations['org.opencontainers.image.ref.name'] === 'debian')
  const manifest = read(entry?.digest ?? '') as { layers: { size: number }[] }
  return manifest.layers.reduce((sum, { size }) => sum + size, 0)
}

test('a pull that was killed goes on where it was', async () => {
  const killed = await interrupt('SIGKILL')
  assert.equal(killed.signal, 'SIGKILL')
  await checkResumed()
})

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`${signal} ends a pull at once with status ${status}, and the next one goes on where it was`, async () => {
    const interrupted = await interrupt(signal)
    assert.equal(interrupted.status, status, interrupted.stderr)
    assert.equal(interrupted.stdout, '')
    assert.ok(interrupted.tookMs < 30_000, `took ${interrupted.tookMs} ms`)
    assert.equal(await windlass.run('verify'), '')
    assert.equal(await windlass.run('images', '-q'), '')
    await checkResumed()
  })
}

test('what an interrupted pull left is gone after gc', async () => {
  await interrupt('SIGKILL')
  await windlass.run('gc')
  assert.equal(await windlass.run('verify'), '')
  assert.deepEqual(
    [...readTree(root).keys()].filter(path => /^(ingest|overlay2|blobs\/sha256)\/(?!l$)./.test(path)),
    [],
  )
})

test('two pulls of one image at once download it once', async () => {
  proxy.bytesPerSecond = 8 * slowBytes
  const pulls = [windlass.try('pull', reference), windlass.try('pull', reference)]
  for (const { status, stderr } of await Promise.all(pulls)) assert.equal(status, 0, stderr)
  const twice = proxy.blobBytes() - sizeOfLayers()
  assert.ok(twice < 1 << 20, `${twice} bytes came twice`)
  assert.equal(await windlass.run('verify'), '')
})

test('when one of two pulls is killed, the other brings the image in', async () => {
  const first = windlass.start('pull', reference)
  const second = windlass.start('pull', reference)
  await waitUntil('some of the image is here', 60_000, () => proxy.blobBytes() > 10 << 20)
  first.child.kill('SIGKILL')
  proxy.bytesPerSecond = Number.POSITIVE_INFINITY
  const { status, stderr } = await second.result
  assert.equal(status, 0, stderr)
  await first.result
  assert.equal(await windlass.run('verify'), '')
})
