import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { descriptorOf } from '../../test/servers/push.ts'
import { isWindlassError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { mediaTypes } from '../oci/media-types.ts'
import { parseReference } from '../oci/reference.ts'
import type { Sink, Source } from '../places/place.ts'
import { copyImages } from './copy-image.ts'

/** A source that makes as many manifests as its index names, none of which is held by it. */
function sourceOf(count: number, padding: number): { source: Source; readonly read: number } {
  const config = descriptorOf('{}', mediaTypes.ociConfig)
  const text = (at: number) =>
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config,
      layers: [],
      annotations: { at: `${at}`.padEnd(padding) },
    })
  const manifests = Array.from({ length: count }, (_, at) => descriptorOf(text(at), mediaTypes.ociManifest))
  const index = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests })
  const digests = new Map(manifests.map(({ digest }, at) => [digest, at]))
  let read = 0
  const source: Source = {
    name: 'source',
    resolve: async () => ({ descriptor: descriptorOf(index, mediaTypes.ociIndex), bytes: Buffer.from(index) }),
    readDocument: async (descriptor: Descriptor) => {
      read++
      return { descriptor, bytes: Buffer.from(text(digests.get(descriptor.digest) ?? -1)) }
    },
    openBlob: async () => assert.fail('no blob is wanted'),
    [Symbol.asyncDispose]: async () => {},
  }
  return {
    source,
    get read() {
      return read
    },
  }
}

function sinkOf(): Sink & { readonly put: string[] } {
  const put: string[] = []
  return {
    name: 'sink',
    put,
    onePlatform: false,
    isOnePass: false,
    hasBlob: async () => true,
    putBlob: async () => {},
    putDocument: async ({ descriptor }) => void put.push(descriptor.digest),
    commit: async () => {},
    [Symbol.asyncDispose]: async () => {},
  }
}

const reference = parseReference('app.example/many:1')

async function copy(source: Source, sink: Sink): Promise<void> {
  await copyImages([{ source, reference, placements: [{ tag: '1' }] }], sink, { root: '/' }).result
}

describe('an index', () => {
  for (const [what, count, padding, readMax] of [
    ['entries', 1001, 0, 1000],
    ['bytes', 40, 2 * 1024 * 1024, 33],
  ] as const)
    test(`with too many ${what} is not held in memory`, async () => {
      const from = sourceOf(count, padding)
      const sink = sinkOf()
      await assert.rejects(copy(from.source, sink), error => isWindlassError(error, 'LIMIT_EXCEEDED'))
      assert.ok(from.read <= readMax, `${from.read}`)
      assert.deepEqual(sink.put, [])
    })

  test('with more than any real one has is copied', async () => {
    const sink = sinkOf()
    await copy(sourceOf(900, 1024).source, sink)
    assert.equal(sink.put.length, 901)
  })
})
