import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { memoryImage } from '../../test/conformance/image.ts'
import { digestOf } from '../../test/servers/push.ts'
import type { CompressionOut } from '../codec/compress.ts'
import { decompress } from '../codec/decompress.ts'
import { isWindlassError } from '../errors.ts'
import { parseDocument } from '../oci/manifest.ts'
import { layerCompression } from '../oci/media-types.ts'
import { recompress } from './recompress.ts'

const signal = AbortSignal.timeout(60_000)
const reference = { domain: 'memory', path: 'image', tag: 'tag' }

function open(image: ReturnType<typeof memoryImage>, compression: CompressionOut) {
  const source = { ...image.source, resolve: async () => image.manifests.amd64 }
  const opened = { source, reference, [Symbol.asyncDispose]: async () => {} }
  return recompress(opened, { compression, spoolDirectory: tmpdir(), signal })
}

for (const compression of ['gzip', 'zstd', 'none'] as const)
  test(`an image recompressed to ${compression} has its config and its content, and the same digest each time`, async () => {
    const image = memoryImage()
    await using first = await open(image, compression)
    await using second = await open(image, compression)
    const { descriptor, bytes } = await first.resolve(reference, signal)
    assert.deepEqual(descriptor, (await second.resolve(reference, signal)).descriptor)
    assert.equal(descriptor.digest, digestOf(bytes))
    const manifest = parseDocument(bytes, { descriptor })
    assert.ok(manifest.kind === 'manifest')
    const config = await first.readDocument(manifest.config, { sizeMax: 1e6, signal })
    const { diff_ids: diffIds } = JSON.parse(Buffer.from(config.bytes).toString()).rootfs
    for (const [at, layer] of manifest.layers.entries()) {
      assert.equal(layerCompression(layer.mediaType), compression)
      const { bytes } = await first.openBlob(layer, { offset: 0, signal })
      const blob = Buffer.concat(await Array.fromAsync(bytes))
      assert.deepEqual([digestOf(blob), blob.length], [layer.digest, layer.size])
      const plain = decompress(once(blob), { signal })
      assert.equal(digestOf(Buffer.concat(await Array.fromAsync(plain))), diffIds[at])
    }
  })

test('a layer that is not what the config says is not recompressed', async () => {
  const image = memoryImage()
  const other = memoryImage('other')
  const [wrong] = other.blobs.values()
  const [first] = image.blobs.keys()
  assert.ok(first && wrong)
  image.blobs.set(first, wrong)
  await assert.rejects(open(image, 'gzip'), error => isWindlassError(error, 'DIGEST_MISMATCH'))
})

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
