import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { request } from 'undici'
import { descriptorOf, digestOf, pushBlob, pushManifest } from '../../test/servers/push.ts'
import { parseReference } from '../oci/reference.ts'
import { noCredentials } from '../places/registry/credentials.ts'
import { openRegistry } from '../places/registry/registry.ts'
import { type RegistryServer, serveRegistry } from './registry-server.ts'

const run = promisify(execFile)
const signal = new AbortController().signal
const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const configType = 'application/vnd.oci.image.config.v1+json'
const layerType = 'application/vnd.oci.image.layer.v1.tar'
const bytes = randomBytes(2_500_000)

let directory: string
let server: RegistryServer
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-server-'))
  server = await serveRegistry({ directory: join(directory, 'registry') })
})
after(async () => {
  await server.close()
  await rm(directory, { recursive: true })
})

function manifestOf(config: string, layers: readonly Uint8Array[], type = layerType): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestType,
    config: descriptorOf(config, configType),
    layers: layers.map(layer => descriptorOf(layer, type)),
  })
}

async function call(method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | 'DELETE', path: string, options = {}) {
  const { statusCode, headers, body } = await request(new URL(path, server.url), { method, ...options })
  return { status: statusCode, headers, text: await body.text() }
}

async function startUpload(): Promise<string> {
  const { status, headers } = await call('POST', '/v2/app/blobs/uploads/')
  assert.equal(status, 202)
  return String(headers['location'])
}

test('what is pushed comes back through our own source, also from an offset and by digest', async () => {
  const config = '{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}'
  await pushBlob(server.url, 'team/app', config)
  await pushBlob(server.url, 'team/app', bytes)
  const name = { path: 'team/app', reference: 'v1', mediaType: manifestType }
  const pushed = await pushManifest(server.url, name, manifestOf(config, [bytes]))
  await using source = openRegistry(parseReference(`${server.host}/team/app`), { credentials: noCredentials })
  const document = await source.resolve({ tag: 'v1' }, signal)
  assert.deepEqual(document.descriptor, pushed)
  assert.deepEqual(await source.resolve({ digest: pushed.digest }, signal), document)
  const layer = descriptorOf(bytes, layerType)
  for (const offset of [0, 1_234_567]) {
    const blob = await source.openBlob(layer, { offset, signal })
    assert.equal(blob.offset, offset)
    assert.ok(Buffer.concat(await Array.fromAsync(blob.bytes)).equals(bytes.subarray(offset)))
  }
  await assert.rejects(source.resolve({ tag: 'v2' }, signal), { code: 'NOT_FOUND' })
  const tags = await call('GET', '/v2/team/app/tags/list')
  assert.deepEqual(JSON.parse(tags.text), { name: 'team/app', tags: ['v1'] })
  const head = await call('HEAD', '/v2/team/app/manifests/v1')
  assert.equal(head.headers['docker-content-digest'], pushed.digest)
  assert.equal(head.headers['content-length'], String(pushed.size))
})

test('bytes that do not have the digest are refused, and nothing of them is kept', async () => {
  const wrong = digestOf('something else')
  const { status, text } = await call('PUT', `${await startUpload()}?digest=${wrong}`, { body: 'these bytes' })
  assert.equal(status, 400)
  assert.match(text, /DIGEST_INVALID/)
  assert.equal((await call('GET', `/v2/app/blobs/${wrong}`)).status, 404)
  assert.deepEqual(await readdir(join(directory, 'registry', 'uploads')), [])
  await pushBlob(server.url, 'app', '{}')
  const headers = { 'content-type': manifestType }
  const manifest = await call('PUT', `/v2/app/manifests/${wrong}`, { headers, body: manifestOf('{}', []) })
  assert.match(manifest.text, /DIGEST_INVALID/)
  assert.equal((await call('GET', `/v2/app/manifests/${wrong}`)).status, 404)
})

test('an upload goes on where it stands, and nowhere else', async () => {
  const location = await startUpload()
  const patch = (range: string, body: string) => call('PATCH', location, { headers: { 'content-range': range }, body })
  assert.equal((await patch('0-4', 'hello')).headers['range'], '0-4')
  assert.equal((await patch('9-13', 'world')).status, 416)
  assert.equal((await patch('0-4', 'hello')).status, 416)
  assert.equal((await call('GET', location)).headers['range'], '0-4')
  assert.equal((await patch('5-10', ' world')).status, 202)
  const digest = digestOf('hello world')
  assert.equal((await call('PUT', `${location}?digest=${digest}`)).status, 201)
  assert.equal((await call('GET', `/v2/app/blobs/${digest}`)).text, 'hello world')
  assert.equal((await call('PUT', `${location}?digest=${digest}`)).status, 404)
  const mounted = await call('POST', `/v2/other/blobs/uploads/?mount=${digest}&from=app`)
  assert.equal(mounted.status, 201)
})

test('an upload of another repository, or one thrown away, is unknown', async () => {
  const location = await startUpload()
  assert.equal((await call('PATCH', location.replace('/app/', '/other/'), { body: 'x' })).status, 404)
  assert.equal((await call('DELETE', location)).status, 204)
  assert.equal((await call('PATCH', location, { body: 'x' })).status, 404)
})

test('two requests cannot write to one upload at a time', async () => {
  const location = await startUpload()
  const { promise: release, resolve } = Promise.withResolvers<void>()
  const slow = async function* () {
    yield Buffer.from('first')
    await release
  }
  const first = call('PATCH', location, { body: Readable.from(slow()) })
  while ((await call('GET', location)).headers['range'] !== '0-4') await new Promise(done => setTimeout(done, 10))
  assert.equal((await call('PATCH', location, { body: 'second' })).status, 416)
  resolve()
  assert.equal((await first).headers['range'], '0-4')
  await call('DELETE', location)
})

test('what a broken connection has brought stays, and the upload goes on from there', async () => {
  const location = await startUpload()
  const broken = async function* () {
    yield Buffer.from('hello')
    await new Promise(done => setTimeout(done, 100))
    throw new Error('broken')
  }
  await assert.rejects(call('PATCH', location, { body: Readable.from(broken()) }))
  const range = async () => (await call('GET', location)).headers['range']
  while ((await range()) !== '0-4') await new Promise(done => setTimeout(done, 10))
  const rest = { headers: { 'content-range': '5-10' }, body: ' world' }
  let status = 416
  while (status === 416) status = (await call('PATCH', location, rest)).status
  assert.equal((await call('PUT', `${location}?digest=${digestOf('hello world')}`)).status, 201)
})

test('uploads that nobody ends are bounded', async () => {
  const locations: string[] = []
  for (let status = 202; status === 202; ) {
    const started = await call('POST', '/v2/app/blobs/uploads/')
    status = started.status
    if (status === 202) locations.push(String(started.headers['location']))
    else assert.equal(status, 429)
  }
  assert.equal(locations.length, 256)
  for (const location of locations) await call('DELETE', location)
  assert.equal((await call('DELETE', await startUpload())).status, 204)
})

test('a manifest whose blobs are missing, that is none, or is too large is refused', async () => {
  const put = (body: string) =>
    call('PUT', '/v2/app/manifests/bad', { headers: { 'content-type': manifestType }, body })
  const missing = await put(manifestOf('not here', []))
  assert.equal(missing.status, 404)
  assert.match(missing.text, /MANIFEST_BLOB_UNKNOWN/)
  assert.match((await put('[]')).text, /MANIFEST_INVALID/)
  assert.equal((await put(' '.repeat(4 * 1024 * 1024 + 1))).status, 413)
  assert.equal((await call('GET', '/v2/app/manifests/bad')).status, 404)
})

test('ranges of a blob, and what cannot be', async () => {
  await pushBlob(server.url, 'app', '0123456789')
  const get = (range: string) => call('GET', `/v2/app/blobs/${digestOf('0123456789')}`, { headers: { range } })
  const part = await get('bytes=2-4')
  assert.deepEqual([part.status, part.text, part.headers['content-range']], [206, '234', 'bytes 2-4/10'])
  const outside = await get('bytes=10-')
  assert.deepEqual([outside.status, outside.headers['content-range']], [416, 'bytes */10'])
  const empty = await pushBlob(server.url, 'app', '')
  assert.equal((await call('GET', `/v2/app/blobs/${empty.digest}`)).status, 200)
})

test('paths that lead out and methods that are not there are refused', async () => {
  assert.equal((await call('GET', '/v2/app/manifests/%2e%2e%2f%2e%2e')).status, 400)
  assert.equal((await call('GET', '/v2/app/blobs/..%2f..%2fetc')).status, 400)
  assert.equal((await call('DELETE', '/v2/app/manifests/v1')).status, 405)
  assert.equal((await call('GET', '/v2/')).status, 200)
  assert.equal((await call('GET', '/elsewhere')).status, 404)
})

test('tags come in pages', async () => {
  await pushBlob(server.url, 'pages', '{}')
  const name = { path: 'pages', mediaType: manifestType }
  for (const reference of ['c', 'a', 'b']) await pushManifest(server.url, { ...name, reference }, manifestOf('{}', []))
  const first = await call('GET', '/v2/pages/tags/list?n=2')
  assert.deepEqual(JSON.parse(first.text).tags, ['a', 'b'])
  assert.equal(first.headers['link'], '</v2/pages/tags/list?n=2&last=b>; rel="next"')
  const second = await call('GET', '/v2/pages/tags/list?n=2&last=b')
  assert.deepEqual(JSON.parse(second.text).tags, ['c'])
  assert.equal(second.headers['link'], undefined)
})

test('skopeo pushes an image and pulls the same one back', async () => {
  const layout = join(directory, 'layout')
  await writeLayout(layout)
  const insecure = ['--insecure-policy', 'copy']
  const remote = `docker://${server.host}/from/skopeo:v1`
  await run('skopeo', [...insecure, '--dest-tls-verify=false', `oci:${layout}:v1`, remote])
  await run('skopeo', [...insecure, '--src-tls-verify=false', remote, `oci:${join(directory, 'back')}:v1`])
  const blobs = (path: string) => readdir(join(path, 'blobs', 'sha256'))
  assert.deepEqual((await blobs(join(directory, 'back'))).sort(), (await blobs(layout)).sort())
})

async function writeLayout(layout: string): Promise<void> {
  const blobs = join(layout, 'blobs', 'sha256')
  await mkdir(blobs, { recursive: true })
  const tar = Buffer.alloc(1_000_448)
  const layer = gzipSync(tar)
  const rootfs = { type: 'layers', diff_ids: [digestOf(tar)] }
  const config = JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs, config: {} })
  const manifest = manifestOf(config, [layer], `${layerType}+gzip`)
  for (const blob of [layer, config, manifest]) await writeFile(join(blobs, digestOf(blob).slice(7)), blob)
  const annotations = { 'org.opencontainers.image.ref.name': 'v1' }
  const index = { schemaVersion: 2, manifests: [{ ...descriptorOf(manifest, manifestType), annotations }] }
  await writeFile(join(layout, 'index.json'), JSON.stringify(index))
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
}
