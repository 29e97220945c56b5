/** The contract of sinks and sources (src/places/place.ts), held against each place. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { decompress } from '../../src/codec/decompress.ts'
import { type CopyResult, copyImages } from '../../src/copy/copy-image.ts'
import { isWindlassError, WindlassError } from '../../src/errors.ts'
import type { Platform } from '../../src/oci/descriptor.ts'
import { type Manifest, parseDocument } from '../../src/oci/manifest.ts'
import type { Source } from '../../src/places/place.ts'
import { digestOf } from '../servers/push.ts'
import { TestDirectory } from '../unpack-tar.ts'
import { type MemoryImage, memoryImage } from './image.ts'
import { type PlaceUnderTest, placesUnderTest } from './places.ts'

const amd64: Platform = { os: 'linux', architecture: 'amd64' }
const reference = { domain: 'memory', path: 'image', tag: 'tag' }

for (const [name, open] of Object.entries(placesUnderTest)) {
  describe(name, () => {
    const opened = new AsyncDisposableStack()
    after(() => opened.disposeAsync())
    const openPlace = () => open(opened.use(new TestDirectory()).path, opened)

    test('gives an image back as it was put', async () => {
      const place = await openPlace()
      const image = memoryImage()
      await put(image.source, place, amd64)
      const { config, layers } = await assertHas(place, image, image.manifests.amd64.bytes)
      assert.equal(config, image.manifests.amd64.bytes && digestOfConfig(image))
      assert.equal(layers, 3)
    })

    test('takes all of an index, or one platform of it', async () => {
      const place = await openPlace()
      const image = memoryImage()
      await put(image.source, place)
      await using source = await place.openSource()
      const top = await source.source.resolve(reference, signal())
      assert.equal(top.descriptor.mediaType.includes('index'), place.keepsManifests)
      if (!place.keepsManifests) return
      assert.deepEqual(Buffer.from(top.bytes), Buffer.from(image.index.bytes))
      for (const { descriptor, bytes } of Object.values(image.manifests)) {
        const document = await source.source.readDocument(descriptor, { sizeMax: 1e6, signal: signal() })
        assert.deepEqual(Buffer.from(document.bytes), Buffer.from(bytes))
      }
    })

    test('begins a blob where it is asked to', async () => {
      const place = await openPlace()
      const image = memoryImage()
      await put(image.source, place, amd64)
      await using source = await place.openSource()
      const manifest = await readManifest(source.source)
      const layer = manifest.layers[1]
      assert.ok(layer)
      const whole = await read(source.source, manifest, 1, 0)
      assert.deepEqual(await read(source.source, manifest, 1, 100), whole.subarray(100))
    })

    test('names nothing whose bytes are wrong', async () => {
      const place = await openPlace()
      const image = memoryImage()
      const [, layer] = [...image.blobs.keys()]
      assert.ok(layer)
      image.blobs.set(layer, Buffer.alloc((image.blobs.get(layer) as Buffer).length, 1))
      await assert.rejects(put(image.source, place, amd64), error => isWindlassError(error, 'DIGEST_MISMATCH'))
      await assert.rejects(async () => {
        await using source = await place.openSource()
        await source.source.resolve(reference, signal())
      })
    })

    test('takes an image from a source that breaks off', async () => {
      const place = await openPlace()
      const image = memoryImage()
      await put(breaking(image.source), place, amd64)
      await assertHas(place, image, image.manifests.amd64.bytes)
    })

    test('ends soon when it is cancelled', async () => {
      const place = await openPlace()
      const image = memoryImage()
      const stop = new AbortController()
      const source: Source = {
        ...image.source,
        openBlob: async () => {
          stop.abort()
          return { offset: 0, bytes: endless(stop.signal) }
        },
      }
      await assert.rejects(put(source, place, amd64, stop.signal), error => isWindlassError(error, 'CANCELLED'))
    })
  })
}

for (const name of ['docker-registry', "windlass' own registry", 'an OCI layout'] as const)
  test(`${name} is not sent what it has`, async () => {
    await using opened = new AsyncDisposableStack()
    const place = await (placesUnderTest[name] as (typeof placesUnderTest)[string])(
      opened.use(new TestDirectory()).path,
      opened,
    )
    const image = memoryImage()
    const first = await put(image.source, place)
    assert.equal(first.blobsCopied, 4)
    image.read.length = 0
    const second = await put(image.source, place)
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
      assert.ok(transport.kind !== 'store')
      const options = {
        root: directory.path,
        registry: { credentials: { find: async () => undefined } },
        signal: signal(),
      }
      const { sink, placement } = await openSink(transport, options)
      await using _sink = sink
      const image = memoryImage()
      const copying = [{ source: late(image.source, at === 1), reference, placements: [placement] as const }]
      await copyImages(copying, sink, { root: '/', platform: amd64 }).result
      const { readFile } = await import('node:fs/promises')
      bytes.push(digestOf(await readFile(path)))
    }
    assert.equal(bytes[0], bytes[1])
  }
})

function signal(): AbortSignal {
  return AbortSignal.timeout(30_000)
}

async function put(
  source: Source,
  place: PlaceUnderTest,
  platform?: Platform,
  cancel: AbortSignal = signal(),
): Promise<CopyResult> {
  const { sink, placement } = await place.openSink()
  await using _sink = sink
  const options = { root: '/', platform, signal: cancel, patience: { pauseMs: 1 } }
  const [result] = await copyImages([{ source, reference, placements: [placement] }], sink, options).result
  assert.ok(result)
  return result
}

function digestOfConfig({ manifests }: MemoryImage): string {
  return JSON.parse(Buffer.from(manifests.amd64.bytes).toString()).config.digest
}

/** The image comes back: the manifest's bytes, or at least config and layers' contents. */
async function assertHas(place: PlaceUnderTest, { blobs }: MemoryImage, bytes: Uint8Array) {
  await using source = await place.openSource()
  const top = await source.source.resolve(reference, signal())
  if (place.keepsManifests) assert.deepEqual(Buffer.from(top.bytes), Buffer.from(bytes))
  const manifest = await readManifest(source.source)
  const config = await source.source.readDocument(manifest.config, { sizeMax: 1e6, signal: signal() })
  assert.deepEqual(Buffer.from(config.bytes), blobs.get(manifest.config.digest))
  const { diff_ids: diffIds } = JSON.parse(Buffer.from(config.bytes).toString()).rootfs
  for (const at of manifest.layers.keys()) {
    const plain = decompress(once(await read(source.source, manifest, at, 0)), { signal: signal() })
    assert.equal(digestOf(Buffer.concat(await Array.fromAsync(plain))), diffIds[at])
  }
  return { config: manifest.config.digest, layers: manifest.layers.length }
}

async function readManifest(source: Source): Promise<Manifest> {
  const top = await source.resolve(reference, signal())
  const manifest = parseDocument(top.bytes, { descriptor: top.descriptor })
  assert.ok(manifest.kind === 'manifest')
  return manifest
}

async function read(source: Source, { layers }: Manifest, at: number, offset: number): Promise<Buffer> {
  const layer = layers[at]
  assert.ok(layer)
  const stream = await source.openBlob(layer, { offset, signal: signal() })
  assert.equal(stream.offset, offset)
  return Buffer.concat(await Array.fromAsync(stream.bytes))
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

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

/** Each attempt gives a few bytes and breaks. */
function breaking(source: Source): Source {
  return {
    ...source,
    openBlob: async (descriptor, options) => {
      const stream = await source.openBlob(descriptor, options)
      return { ...stream, bytes: breakAfterFirst(stream.bytes, descriptor.size - options.offset) }
    },
  }
}

async function* breakAfterFirst(bytes: AsyncIterable<Uint8Array>, left: number): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    yield chunk.subarray(0, 150)
    if (left > 150) throw new WindlassError('NETWORK', 'Cannot read: it broke off')
  }
}

async function* endless(stop: AbortSignal): AsyncGenerator<Uint8Array> {
  while (true) {
    stop.throwIfAborted()
    yield Buffer.alloc(10)
  }
}
