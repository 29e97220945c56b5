import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { type DockerRegistry, startDockerRegistry } from '../../../test/servers/docker-registry.ts'
import { descriptorOf, digestOf, pushBlob, pushManifest } from '../../../test/servers/push.ts'
import { isWindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { parseReference } from '../../oci/reference.ts'
import type { Source } from '../place.ts'
import { type CredentialSource, noCredentials } from './credentials.ts'
import { openRegistry } from './registry.ts'

const mediaType = 'application/vnd.oci.image.manifest.v1+json'
const layerBytes = randomBytes(3 * 1024 * 1024)
const signal = new AbortController().signal
const authorization = `Basic ${Buffer.from('test:secret').toString('base64')}`

async function pushImage(url: string, headers: Record<string, string> = {}): Promise<Descriptor> {
  const config = await pushBlob(url, 'team/app', '{"os":"linux"}', headers)
  const layer = await pushBlob(url, 'team/app', layerBytes, headers)
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: { ...config, mediaType: 'application/vnd.oci.image.config.v1+json' },
    layers: [{ ...layer, mediaType: 'application/vnd.oci.image.layer.v1.tar' }],
  }
  return pushManifest(url, { path: 'team/app', reference: 'v1', mediaType }, manifest, headers)
}

function openApp(host: string, credentials: CredentialSource = noCredentials): Source {
  return openRegistry(parseReference(`${host}/team/app:v1`), { credentials })
}

async function readAll(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(bytes))
}

describe('an open docker-registry', () => {
  let registry: DockerRegistry
  let manifest: Descriptor
  before(async () => {
    registry = await startDockerRegistry()
    manifest = await pushImage(registry.url)
  })
  after(() => registry[Symbol.asyncDispose]())

  test('resolves a tag and a digest to the same verified document', async () => {
    await using source = openApp(registry.host)
    const byTag = await source.resolve({ tag: 'v1' }, signal)
    assert.deepEqual(byTag.descriptor, manifest)
    assert.equal(digestOf(byTag.bytes), manifest.digest)
    assert.deepEqual(await source.resolve({ digest: manifest.digest }, signal), byTag)
    assert.deepEqual(await source.readDocument(manifest, { sizeMax: 10_000, signal }), byTag)
  })

  test('reads a config from the blobs', async () => {
    await using source = openApp(registry.host)
    const config = descriptorOf('{"os":"linux"}', 'application/vnd.oci.image.config.v1+json')
    const { bytes } = await source.readDocument(config, { sizeMax: 100, signal })
    assert.equal(Buffer.from(bytes).toString(), '{"os":"linux"}')
  })

  test('reads a blob whole and from an offset', async () => {
    await using source = openApp(registry.host)
    const layer = descriptorOf(layerBytes, 'application/vnd.oci.image.layer.v1.tar')
    for (const offset of [0, 1, 1_000_003, layer.size - 1]) {
      const blob = await source.openBlob(layer, { offset, signal })
      assert.equal(blob.offset, offset)
      assert.ok((await readAll(blob.bytes)).equals(layerBytes.subarray(offset)))
    }
  })

  test('says NOT_FOUND with the registry’s words for a tag or blob that is not there', async () => {
    await using source = openApp(registry.host)
    await assert.rejects(source.resolve({ tag: 'v2' }, signal), error => {
      assert.ok(isWindlassError(error, 'NOT_FOUND'))
      assert.match(error.message, /answered 404 \(manifest unknown\)/)
      return true
    })
    const nothing = descriptorOf('nothing', 'application/octet-stream')
    await assert.rejects(source.openBlob(nothing, { offset: 0, signal }), { code: 'NOT_FOUND' })
  })
})

describe('a docker-registry with a password', () => {
  let registry: DockerRegistry
  let manifest: Descriptor
  before(async () => {
    registry = await startDockerRegistry({ password: true })
    manifest = await pushImage(registry.url, { authorization })
  })
  after(() => registry[Symbol.asyncDispose]())

  test('lets in who has it', async () => {
    await using source = openApp(registry.host, { find: async () => ({ username: 'test', password: 'secret' }) })
    const { descriptor } = await source.resolve({ tag: 'v1' }, signal)
    assert.deepEqual(descriptor, manifest)
  })

  test('says DENIED without it, or with a wrong one, and never shows it', async () => {
    await using anonymous = openApp(registry.host)
    await assert.rejects(anonymous.resolve({ tag: 'v1' }, signal), { code: 'DENIED', hint: /needs 'docker login 127/ })
    await using wrong = openApp(registry.host, { find: async () => ({ username: 'test', password: 'hunter2' }) })
    await assert.rejects(wrong.resolve({ tag: 'v1' }, signal), error => {
      assert.ok(isWindlassError(error, 'DENIED'))
      assert.match(error.hint ?? '', /stored credentials for 127.* do not give access/)
      assert.doesNotMatch(JSON.stringify([error.message, error.hint, error.facts]), /hunter2/)
      return true
    })
  })
})

test('nobody listening is a retryable NETWORK error that names the host', async () => {
  await using source = openApp('127.0.0.1:1')
  await assert.rejects(source.resolve({ tag: 'v1' }, signal), error => {
    assert.ok(isWindlassError(error, 'NETWORK') && error.retryable)
    assert.match(error.message, /127\.0\.0\.1:1/)
    return true
  })
})
