/** The contract of places (src/places/place.ts), as what is put into one and read from it again. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { decompress } from '../../src/codec/decompress.ts'
import { isWindlassError, WindlassError } from '../../src/errors.ts'
import { type Manifest, parseDocument } from '../../src/oci/manifest.ts'
import type { Source } from '../../src/places/place.ts'
import { digestOf } from '../servers/push.ts'
import { TestDirectory } from '../unpack-tar.ts'
import { type MemoryImage, memoryImage } from './image.ts'
import { amd64, type OpenPlace, type PlaceUnderTest, reference } from './places.ts'

let images = 0
/** None has a layer of another: an engine keeps what it has. */
const newImage = (): MemoryImage => memoryImage(`content ${images++} of ${process.pid}`)

/** Holds the contract against one place. */
export function describePlace(name: string, open: OpenPlace): void {
  describe(name, () => {
    const opened = new AsyncDisposableStack()
    after(() => opened.disposeAsync())
    const openPlace = () => open(opened.use(new TestDirectory()).path, opened)

    test('gives an image back as it was put', async () => {
      const place = await openPlace()
      const image = newImage()
      await place.put(image.source, { platform: amd64, signal: signal() })
      const { config, layers } = await assertHas(place, image, image.manifests.amd64.bytes)
      assert.equal(config, image.manifests.amd64.bytes && digestOfConfig(image))
      assert.equal(layers, 3)
    })

    test('takes all of an index, or one platform of it', async () => {
      const place = await openPlace()
      const image = newImage()
      await place.put(image.source, { signal: signal() })
      await using source = await place.openSource()
      const top = await source.source.resolve(reference, signal())
      assert.equal(top.descriptor.mediaType.includes('index'), place.keepsIndexes !== 'none')
      if (place.keepsIndexes !== 'whole') return
      assert.deepEqual(Buffer.from(top.bytes), Buffer.from(image.index.bytes))
      for (const { descriptor, bytes } of Object.values(image.manifests)) {
        const document = await source.source.readDocument(descriptor, { sizeMax: 1e6, signal: signal() })
        assert.deepEqual(Buffer.from(document.bytes), Buffer.from(bytes))
      }
    })

    test('begins a blob where it is asked to', async () => {
      const place = await openPlace()
      const image = newImage()
      await place.put(image.source, { platform: amd64, signal: signal() })
      await using source = await place.openSource()
      const { manifest } = await readManifest(source.source)
      const layer = manifest.layers[1]
      assert.ok(layer)
      const whole = await read(source.source, manifest, 1, 0)
      assert.deepEqual(await read(source.source, manifest, 1, 100), whole.subarray(100))
    })

    test('names nothing whose bytes are wrong', async () => {
      const place = await openPlace()
      const image = newImage()
      const [, layer] = [...image.blobs.keys()]
      assert.ok(layer)
      image.blobs.set(layer, Buffer.alloc((image.blobs.get(layer) as Buffer).length, 1))
      await assert.rejects(place.put(image.source, { platform: amd64, signal: signal() }), error => {
        // Whoever unpacks it may see sooner that it is no tar.
        assert.ok(isWindlassError(error) && error.exitStatus === 6, String(error))
        return true
      })
      await assert.rejects(async () => {
        await using source = await place.openSource()
        await source.source.resolve(reference, signal())
      })
    })

    test('takes an image from a source that breaks off', async () => {
      const place = await openPlace()
      const image = newImage()
      await place.put(breaking(image.source), { platform: amd64, signal: signal() })
      await assertHas(place, image, image.manifests.amd64.bytes)
    })

    test('ends soon when it is cancelled', async () => {
      const place = await openPlace()
      const image = newImage()
      const stop = new AbortController()
      const source: Source = {
        ...image.source,
        openBlob: async () => {
          stop.abort()
          return { offset: 0, bytes: endless(stop.signal) }
        },
      }
      await assert.rejects(place.put(source, { platform: amd64, signal: stop.signal }), error =>
        isWindlassError(error, 'CANCELLED'),
      )
    })
  })
}

export function signal(): AbortSignal {
  return AbortSignal.timeout(30_000)
}

function digestOfConfig({ manifests }: MemoryImage): string {
  return JSON.parse(Buffer.from(manifests.amd64.bytes).toString()).config.digest
}

/** The image comes back: the manifest's bytes, or at least config and layers' contents. */
async function assertHas(place: PlaceUnderTest, { blobs }: MemoryImage, bytes: Uint8Array) {
  await using source = await place.openSource()
  const { bytes: found, manifest } = await readManifest(source.source)
  if (place.keepsManifests) assert.deepEqual(Buffer.from(found), Buffer.from(bytes))
  const config = await source.source.readDocument(manifest.config, { sizeMax: 1e6, signal: signal() })
  assert.deepEqual(Buffer.from(config.bytes), blobs.get(manifest.config.digest))
  const { diff_ids: diffIds } = JSON.parse(Buffer.from(config.bytes).toString()).rootfs
  for (const at of manifest.layers.keys()) {
    const plain = decompress(once(await read(source.source, manifest, at, 0)), { signal: signal() })
    assert.equal(digestOf(Buffer.concat(await Array.fromAsync(plain))), diffIds[at])
  }
  return { config: manifest.config.digest, layers: manifest.layers.length }
}

/** The manifest of amd64, through an index if there is one. */
async function readManifest(source: Source): Promise<{ readonly bytes: Uint8Array; readonly manifest: Manifest }> {
  const top = await source.resolve(reference, signal())
  const parsed = parseDocument(top.bytes, { descriptor: top.descriptor })
  const descriptor = parsed.kind === 'index' ? parsed.manifests[0] : undefined
  const { bytes } = descriptor ? await source.readDocument(descriptor, { sizeMax: 1e6, signal: signal() }) : top
  const manifest = descriptor ? parseDocument(bytes, { descriptor }) : parsed
  assert.ok(manifest.kind === 'manifest')
  return { bytes, manifest }
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
