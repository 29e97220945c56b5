import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { descriptorOf, digestOf, pushBlob, pushManifest } from '../../test/servers/push.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { mediaTypes } from '../oci/media-types.ts'
import { parsePlatform } from '../oci/platform.ts'
import { parseReference } from '../oci/reference.ts'
import { noCredentials } from '../places/registry/credentials.ts'
import { openRegistry } from '../places/registry/registry.ts'
import { type RegistryServer, serveRegistry } from '../server/registry-server.ts'
import { BlobHosts } from './blob-hosts.ts'
import { resolveImage } from './resolve.ts'

const path = 'team/app'
let directory: string
let server: RegistryServer
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-resolve-'))
  server = await serveRegistry({ directory })
})
after(async () => {
  await server.close()
  await rm(directory, { recursive: true })
})

type Entry = Descriptor & { platform?: { os: string; architecture: string } }

async function pushDocument(document: object, mediaType: string, reference?: string): Promise<Descriptor> {
  const text = JSON.stringify({ schemaVersion: 2, mediaType, ...document })
  return await pushManifest(server.url, { path, reference: reference ?? digestOf(text), mediaType }, text)
}

/** An image without layers; `note` makes it another one. */
async function pushImage(architecture: string, note = '', options: { layers?: string; tag?: string } = {}) {
  const layer = await pushBlob(server.url, path, 'layer')
  const layers = options.layers === undefined ? [] : [{ ...layer, mediaType: options.layers }]
  const diffIds = layers.map(({ digest }) => digest)
  const config = JSON.stringify({ os: 'linux', architecture, note, rootfs: { type: 'layers', diff_ids: diffIds } })
  await pushBlob(server.url, path, config)
  const manifest = { config: descriptorOf(config, mediaTypes.ociConfig), layers }
  return await pushDocument(manifest, mediaTypes.ociManifest, options.tag)
}

async function pushIndex(manifests: readonly Entry[], tag?: string): Promise<Descriptor> {
  return await pushDocument({ manifests }, mediaTypes.ociIndex, tag)
}

function on(architecture: string, descriptor: Descriptor): Entry {
  return { ...descriptor, platform: { os: 'linux', architecture } }
}

/** Resolves `tag` and says which manifest it led to, and what was asked for besides the top document. */
async function resolve(tag: string, platform = 'linux/amd64', asked: string[] = []) {
  const reference = parseReference(`${server.host}/${path}:${tag}`)
  await using source = openRegistry(reference, { credentials: noCredentials })
  const cache = async ({ digest }: Descriptor) => void asked.push(digest)
  const signal = new AbortController().signal
  const image = await resolveImage(new BlobHosts(source), reference, parsePlatform(platform), { signal, cache })
  return { image, asked, digest: image.manifest.descriptor.digest }
}

test('where the first nested index has not the platform, the next is searched', async () => {
  const wanted = await pushImage('amd64')
  const a = await pushIndex([on('arm64', await pushImage('arm64'))])
  const b = await pushIndex([on('amd64', wanted)])
  const top = await pushIndex([a, b], 'nested')
  const { image, digest } = await resolve('nested')
  assert.equal(digest, wanted.digest)
  const path = image.documents.map(({ descriptor }) => descriptor.digest)
  assert.deepEqual(path, [top.digest, b.digest, wanted.digest])
})

test('an entry that names no platform is judged by its config', async () => {
  const [arm, amd] = [await pushImage('arm64'), await pushImage('amd64')]
  await pushIndex([arm, amd], 'unnamed')
  assert.equal((await resolve('unnamed')).digest, amd.digest)
  assert.equal((await resolve('unnamed', 'linux/arm64')).digest, arm.digest)
})

test('an entry with the platform is taken before one that names none, and its config is not doubted', async () => {
  const odd = await pushImage('s390x', 'labelled')
  await pushIndex([await pushImage('amd64'), on('amd64', odd)], 'labelled')
  const { digest, image } = await resolve('labelled')
  assert.deepEqual([digest, image.isForPlatform], [odd.digest, true])
})

test('a platform that no index has is missing, and the message says whose image, and what all of them have', async () => {
  const a = await pushIndex([on('arm64', await pushImage('arm64'))])
  await pushIndex([a, await pushImage('s390x')], 'other')
  await assert.rejects(resolve('other'), {
    code: 'PLATFORM_MISSING',
    message: `Cannot choose an image of ${server.host}/${path}:other for linux/amd64: the index has linux/arm64, linux/s390x`,
  })
})

test('an image without an index that is for another platform is given, and said to be', async () => {
  await pushImage('s390x', 'alone', { tag: 'alone' })
  assert.equal((await resolve('alone')).image.isForPlatform, false)
})

test('the search ends after 32 documents', async () => {
  const entries: Descriptor[] = []
  for (let n = 0; n < 40; n++) entries.push(await pushIndex([on(`arch${n}`, await pushImage('arm64'))]))
  await pushIndex(entries, 'many')
  await assert.rejects(resolve('many'), { code: 'LIMIT_EXCEEDED', message: /team\/app:many: .*more than 32 documents/ })
  await pushIndex([...entries.slice(0, 29), await pushImage('amd64', 'last')], 'enough')
  assert.equal((await resolve('enough')).asked.length, 31)
})

test('indexes nest no deeper than four', async () => {
  let entry = await pushImage('amd64', 'deep')
  for (let depth = 0; depth < 4; depth++) entry = await pushIndex([entry], `depth-${depth + 1}`)
  assert.equal((await resolve('depth-4')).image.documents.length, 5)
  await pushIndex([entry], 'depth-5')
  await assert.rejects(resolve('depth-5'), {
    code: 'LIMIT_EXCEEDED',
    message: /team\/app:depth-5: indexes nest deeper/,
  })
})

for (const layers of [
  `${mediaTypes.ociLayerGzip}+encrypted`,
  `${mediaTypes.ociLayer}+encrypted`,
  `${mediaTypes.dockerLayerGzip}+enc`,
]) {
  test(`${layers} is refused before anything else is asked for`, async () => {
    await pushImage('amd64', '', { layers, tag: 'secret' })
    const asked: string[] = []
    const refused = { code: 'UNSUPPORTED', message: /team\/app:secret: layer sha256:.* encrypted/ }
    await assert.rejects(resolve('secret', 'linux/amd64', asked), refused)
    assert.deepEqual(asked, [])
  })
}

test('an artifact, and a manifest that makes no sense, are told with the reference', async () => {
  const config = descriptorOf('{}', 'application/vnd.cncf.helm.config.v1+json')
  await pushBlob(server.url, path, '{}')
  await pushDocument({ config, layers: [] }, mediaTypes.ociManifest, 'chart')
  await assert.rejects(resolve('chart'), {
    code: 'UNSUPPORTED',
    message: /^Cannot pull 127.*team\/app:chart: .* no image/,
  })
  const image = { config: { ...config, mediaType: mediaTypes.ociConfig }, layers: [] }
  await pushDocument(image, mediaTypes.ociManifest, 'empty')
  await assert.rejects(resolve('empty'), {
    code: 'CORRUPT',
    message: /^Cannot read image config of 127.*team\/app:empty: /,
  })
})
