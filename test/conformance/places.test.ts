/** The contract of places, held against those that need no daemon but registries. Engines: test/e2e/places.test.ts. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { copyImages } from '../../src/copy/copy-image.ts'
import { parsePlatform } from '../../src/oci/platform.ts'
import type { Source } from '../../src/places/place.ts'
import { digestOf } from '../servers/push.ts'
import { TestDirectory } from '../unpack-tar.ts'
import { memoryImage } from './image.ts'
import { amd64, type OpenPlace, placesUnderTest, reference } from './places.ts'
import { describePlace, signal } from './suite.ts'

for (const [name, open] of Object.entries(placesUnderTest)) describePlace(name, open)

for (const name of ['docker-registry', "windlass' own registry", 'an OCI layout'] as const)
  test(`${name} is not sent what it has`, async () => {
    await using opened = new AsyncDisposableStack()
    const place = await (placesUnderTest[name] as OpenPlace)(opened.use(new TestDirectory()).path, opened)
    const image = memoryImage()
    const first = await place.put(image.source, { signal: signal() })
    assert.ok('blobsCopied' in first && first.blobsCopied === 4)
    image.read.length = 0
    const second = await place.put(image.source, { signal: signal() })
    assert.ok('blobsCopied' in second)
    assert.deepEqual([second.blobsCopied, second.blobsPresent, image.read], [0, 4, []])
  })

test('the same images give the same archive', async () => {
  using directory = new TestDirectory()
  for (const kind of ['oci-archive', 'docker-archive']) {
    const bytes = []
    for (const at of [1, 2]) {
      const path = join(directory.path, `${kind}-${at}.tar`)
      const { openSink } = await import('../../src/copy/places.ts')
      const { parseTransport } = await import('../../src/copy/transport.ts')
      const transport = parseTransport(`${kind}:${path}`)
      assert.ok(transport.kind === 'oci-archive' || transport.kind === 'docker-archive')
      const options = {
        root: directory.path,
        registry: { credentials: { find: async () => undefined } },
        signal: signal(),
      }
      const { sink, placement } = await openSink(transport, options)
      await using _sink = sink
      const image = memoryImage()
      const copying = [{ source: late(image.source, at === 1), reference, placements: [placement] as const }]
      await copyImages(copying, sink, { root: '/', platform: parsePlatform(amd64) }).result
      const { readFile } = await import('node:fs/promises')
      bytes.push(digestOf(await readFile(path)))
    }
    assert.equal(bytes[0], bytes[1])
  }
})

test('an image that is for another platform than the one asked for is not copied', async () => {
  using directory = new TestDirectory()
  const { openSink } = await import('../../src/copy/places.ts')
  const { parseTransport } = await import('../../src/copy/transport.ts')
  const transport = parseTransport(`oci:${join(directory.path, 'layout')}`)
  assert.ok(transport.kind === 'oci')
  const options = { root: directory.path, registry: { credentials: { find: async () => undefined } }, signal: signal() }
  const { sink, placement } = await openSink(transport, options)
  await using _sink = sink
  const { source, manifests, read } = memoryImage()
  const alone = { ...source, resolve: async () => manifests.arm64 }
  const copying = [{ source: alone, reference, placements: [placement] as const }]
  const copy = (architecture: string) =>
    copyImages(copying, sink, { root: '/', platform: parsePlatform(`linux/${architecture}`) }).result
  await assert.rejects(copy('amd64'), /for linux\/amd64: it is for linux\/arm64 only/)
  assert.deepEqual(read, [])
  assert.equal((await copy('arm64'))[0]?.digest, manifests.arm64.descriptor.digest)
})

/** The blobs that are asked for first come last, or the other way round. */
function late(source: Source, isReverse: boolean): Source {
  let asked = 0
  return {
    ...source,
    openBlob: async (descriptor, options) => {
      asked++
      await sleep(isReverse ? 200 / asked : asked * 20)
      return await source.openBlob(descriptor, options)
    },
  }
}
