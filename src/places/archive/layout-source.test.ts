import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { descriptorOf } from '../../../test/servers/push.ts'
import { TestDirectory } from '../../../test/unpack-tar.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import { cosignTags, referrersTag } from '../../oci/referrers.ts'
import { openArchive } from './archive.ts'
import { blobPath } from './layout-source.ts'

const signal = new AbortController().signal

/** A layout of an image and of what its entries say. */
function writeLayout(directory: string, entriesOf: (image: Descriptor, put: Put) => object[]): Descriptor {
  const put: Put = document => {
    const bytes = JSON.stringify(document)
    const descriptor = descriptorOf(bytes, document.mediaType)
    const path = join(directory, blobPath(descriptor.digest))
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, bytes)
    return descriptor
  }
  const image = put(manifestOf('image'))
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: entriesOf(image, put) }
  writeFileSync(join(directory, 'index.json'), JSON.stringify(index))
  return image
}

type Put = (document: { readonly mediaType: string }) => Descriptor

function manifestOf(text: string, subject?: Descriptor) {
  const config = descriptorOf(text, mediaTypes.ociConfig)
  return { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [], ...(subject && { subject }) }
}

const zero = descriptorOf('zero', mediaTypes.ociManifest).digest
const named = (descriptor: Descriptor, name: string) => ({
  ...descriptor,
  annotations: { 'org.opencontainers.image.ref.name': name },
})
const ofKind = (descriptor: Descriptor, kind: string) => ({
  ...descriptor,
  annotations: { kind: `dev.cosignproject.cosign/${kind}` },
})

const forms: Readonly<Record<string, (image: Descriptor, part: Descriptor, put: Put) => object[]>> = {
  'an entry by itself (oras)': (image, part) => [named(image, 'one'), part],
  "cosign's tag": (image, part) => [named(image, 'one'), named(part, cosignTags(image.digest)[0] as string)],
  'an index under the tag of the schema (regctl)': (image, part, put) => {
    const list = put({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [part] } as { mediaType: string })
    return [named(image, 'one'), named(list, referrersTag(image.digest))]
  },
  'what cosign save writes': (image, part) => [ofKind(image, 'image'), ofKind(part, 'sigs')],
}

for (const [form, entriesOf] of Object.entries(forms))
  test(`what refers to an image is found, and is no image: ${form}`, async () => {
    using directory = new TestDirectory()
    let part: Descriptor | undefined
    const image = writeLayout(directory.path, (image, put) => {
      part = put(manifestOf('part', form.startsWith('what') || form.startsWith('cosign') ? undefined : image))
      return entriesOf(image, part, put)
    })
    await using archive = await openArchive(directory.path, { signal, spoolDirectory: directory.path })
    assert.equal(archive.images.length, 1)
    const [{ source }] = archive.images as [(typeof archive.images)[number]]
    assert.equal((await source.resolve({}, signal)).descriptor.digest, image.digest)
    const found = (await source.listReferrers?.(image.digest, signal)) ?? []
    assert.deepEqual(
      found.map(({ descriptor }) => descriptor.digest),
      [part?.digest],
    )
    const other = descriptorOf('other', mediaTypes.ociManifest)
    assert.deepEqual(await source.listReferrers?.(other.digest, signal), [])
  })

/** A document that nothing but its digest names, as long as one may be; the number of its entries is that of the index. */
const large = (at: number) => ({ ...manifestOf(`${at}`), annotations: { at: `${at}`.padEnd(4_000_000) } })

test('an index that names a large document ten thousand times has it read once', async () => {
  using directory = new TestDirectory()
  writeLayout(directory.path, (image, put) => [named(image, 'one'), ...Array(9_000).fill(put(large(0)))])
  await using archive = await openArchive(directory.path, { signal, spoolDirectory: directory.path })
  assert.equal(archive.images.length, 2)
  for (const { source } of archive.images) assert.deepEqual(await source.listReferrers?.(zero, signal), [])
})

test('an index whose nameless documents are too large together is refused', async () => {
  using directory = new TestDirectory()
  writeLayout(directory.path, (_, put) => Array.from({ length: 20 }, (_, at) => put(large(at))))
  const opening = openArchive(directory.path, { signal, spoolDirectory: directory.path })
  await assert.rejects(opening, { code: 'LIMIT_EXCEEDED', message: /more than 67108864 bytes/ })
})

test('the listing of an index ends when it is cancelled', async () => {
  using directory = new TestDirectory()
  writeLayout(directory.path, (_, put) => Array.from({ length: 9 }, (_, at) => put(large(at))))
  const options = { signal: AbortSignal.abort(new Error('enough')), spoolDirectory: directory.path }
  await assert.rejects(openArchive(directory.path, options), /enough/)
})
