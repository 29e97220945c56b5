import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { buildTar, rawHeader } from '../../test/tar-builder.ts'
import { isWindlassError } from '../errors.ts'
import { parseDigest } from '../oci/digest.ts'
import { mediaTypes } from '../oci/media-types.ts'
import { noCredentials } from '../places/registry/credentials.ts'
import { Store } from '../places/store/store.ts'
import type { PullEvent } from './events.ts'
import { pull } from './pull.ts'

/** A registry of one image whose layers are given; it counts what it serves and can fall silent in the middle of a blob. */
class TinyRegistry {
  readonly #server: Server
  readonly #documents = new Map<string, { type: string; bytes: Buffer }>()
  readonly served: string[] = []
  silentAfter: number | undefined

  constructor() {
    this.#server = createServer((request, response) => {
      const name = (request.url ?? '').split('/').at(-1) ?? ''
      const found = this.#documents.get(name)
      if (found === undefined) return response.writeHead(request.url === '/v2/' ? 200 : 404).end()
      this.served.push(name)
      response.writeHead(200, { 'content-type': found.type, 'content-length': found.bytes.length })
      const isBlob = request.url?.includes('/blobs/') && !found.bytes.toString('latin1', 0, 1).startsWith('{')
      if (isBlob && this.silentAfter !== undefined) return response.write(found.bytes.subarray(0, this.silentAfter))
      return response.end(found.bytes)
    })
  }

  async listen(): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
  }

  get reference(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}/image:latest`
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  /** @returns digest of the blob of each layer */
  publish(layers: { blob: Buffer; diffId: string; type?: string }[]): string[] {
    this.#documents.clear()
    this.served.length = 0
    this.silentAfter = undefined
    const descriptors = layers.map(({ blob, type = mediaTypes.ociLayerGzip }) => this.#put(blob, type))
    const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) }
    const config = this.#put(
      Buffer.from(JSON.stringify({ os: 'linux', architecture: 'unknown', rootfs })),
      mediaTypes.ociConfig,
    )
    const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: descriptors }
    const bytes = Buffer.from(JSON.stringify(manifest))
    this.#documents.set('latest', { type: mediaTypes.ociManifest, bytes })
    return descriptors.map(({ digest }) => digest)
  }

  #put(bytes: Buffer, mediaType: string) {
    const digest = sha256(bytes)
    this.#documents.set(digest, { type: mediaType, bytes })
    return { mediaType, digest, size: bytes.length }
  }
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

const registry = new TinyRegistry()
let root: string

before(() => registry.listen())
after(() => registry.close())
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'windlass-pull-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const fastPatience = { idleMs: 400, pauseMs: 5 }

async function run(): Promise<{ events: PullEvent[]; error: unknown }> {
  const started = pull(registry.reference, { root, credentials: noCredentials, patience: fastPatience })
  const events: PullEvent[] = []
  for await (const event of started) events.push(event)
  return { events, error: await started.result.then(() => undefined).catch(error => error) }
}

const tar = buildTar([{ name: 'file', data: 'content' }])
const layer = { blob: gzipSync(tar), diffId: sha256(tar) }

test('a partial whose bytes would break a limit is thrown away, and the image comes', async () => {
  // Larger than what is buffered on the way, so that the header in front is judged before the digest is.
  const large = buildTar([{ name: 'file', data: Buffer.alloc(8_000_000, 1) }])
  const [digest = ''] = registry.publish([{ blob: large, diffId: sha256(large), type: mediaTypes.ociLayer }])
  await (await Store.open(root))[Symbol.asyncDispose]()
  const partial = Buffer.concat([rawHeader({ name: 'x', typeflag: 'x', size: 50_000_000 }), Buffer.alloc(512)])
  await writeFile(join(root, 'partial', digest.replace(':', '-')), partial)
  const { error, events } = await run()
  assert.equal(error, undefined)
  const warnings = events.flatMap(event => (event.type === 'warning' ? [event.message] : []))
  assert.match(warnings.join('\n'), /extension header of 50000000 bytes.*from its beginning/)
})

test('a right blob that holds something else than promised is downloaded once only', async () => {
  const [digest = ''] = registry.publish([{ ...layer, diffId: sha256(Buffer.from('other')) }])
  const { error } = await run()
  assert.ok(isWindlassError(error, 'DIGEST_MISMATCH'), String(error))
  assert.equal(registry.served.filter(name => name === digest).length, 1)
})

test('what the unpack thread died of is told at once, although the network has fallen silent', async () => {
  const broken = Buffer.concat([
    buildTar([{ name: 'a', data: Buffer.alloc(700_000, 1) }], { end: false }),
    Buffer.alloc(512, 7),
  ])
  const blob = Buffer.concat([broken, Buffer.alloc(400_000)])
  registry.publish([{ blob, diffId: sha256(blob), type: mediaTypes.ociLayer }])
  registry.silentAfter = broken.length + 600_000 > blob.length ? blob.length - 1 : broken.length + 600_000
  const startedMs = performance.now()
  const { error } = await run()
  assert.ok(isWindlassError(error, 'CORRUPT'), String(error))
  assert.ok(performance.now() - startedMs < 3000)
})

test('one blob that is two layers of an image is downloaded once', async () => {
  const empty = buildTar([])
  const other = buildTar([{ name: 'other', data: 'x' }])
  const both = { blob: gzipSync(empty), diffId: sha256(empty) }
  const [digest = ''] = registry.publish([both, { blob: gzipSync(other), diffId: sha256(other) }, both])
  assert.equal((await run()).error, undefined)
  assert.equal(registry.served.filter(name => name === digest).length, 1)
  assert.equal((await readdir(join(root, 'ingest')).catch(() => [])).length, 0)
})

test('progress is told of layers under way only', async () => {
  registry.publish([layer, layer])
  const { events } = await run()
  const begun = new Set<number>()
  for (const event of events) {
    if (event.type === 'layer' && event.phase === 'pulling') begun.add(event.layer)
    if (event.type === 'progress') assert.ok(begun.has(event.layer))
  }
})

test('a blob that is gone from under its layer is fetched again, by itself', async () => {
  const [digest = ''] = registry.publish([layer])
  assert.equal((await run()).error, undefined)
  await rm(join(root, 'blobs', 'sha256', digest.slice(7)))
  const { error, events } = await run()
  assert.equal(error, undefined)
  assert.ok(events.every(event => event.type !== 'layer' || event.phase !== 'exists'))
  await using store = await Store.open(root)
  for await (const finding of store.verify({ signal: new AbortController().signal })) assert.fail(finding.problem)
  assert.equal(registry.served.filter(name => name === digest).length, 2)
})

test('the space that is asked for is what is missing: no blob twice, nothing that is here', async () => {
  const [digest = ''] = registry.publish([layer, layer])
  await using store = await Store.open(root)
  await using session = await store.openSession()
  assert.equal(session.bytesHere(parseDigest(digest)), 0)
  await writeFile(join(root, 'partial', digest.replace(':', '-')), layer.blob.subarray(0, 20))
  assert.equal(session.bytesHere(parseDigest(digest)), 20)
  assert.equal((await run()).error, undefined)
  assert.equal(session.bytesHere(parseDigest(digest)), layer.blob.length)
})
