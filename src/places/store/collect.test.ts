import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { isWindlassError } from '../../errors.ts'
import {
  makeBlob,
  makeDirectory,
  makeLayers,
  never,
  openStore,
  pullFixture,
  putBlob,
  recompress,
} from './fixture.test.ts'
import { removeTree } from './remove-tree.ts'
import type { Store, VerifyFinding } from './store.ts'

const list = (store: Store, ...path: string[]) => readdirSync(join(store.root, ...path)).sort()

async function verify(store: Store): Promise<string[]> {
  const findings: VerifyFinding[] = await Array.fromAsync(store.verify({ signal: never }))
  return findings.map(({ kind, subject }) => `${kind} ${subject}`)
}

test('removing the last name removes the image, and only what no other image needs', async t => {
  const store = await openStore(t)
  const layers = makeLayers(3, 'a')
  const base = await pullFixture(store, 'base:1', layers.slice(0, 2))
  const app = await pullFixture(store, 'app:1', layers)
  store.tag(app, 'app:2')
  assert.deepEqual(await store.removeImage('app:1'), {
    untagged: ['docker.io/library/app:1'],
    deleted: [],
    bytesFreed: 0,
  })
  const { untagged, deleted, bytesFreed } = await store.removeImage('app:2')
  assert.deepEqual(untagged, ['docker.io/library/app:2', `docker.io/library/app@${app.digest}`])
  assert.deepEqual(deleted, [app.id, layers[2]?.chainId])
  assert.ok(bytesFreed > 10)
  assert.deepEqual(store.listImages(), [base])
  assert.equal(list(store, 'overlay2').length, 3)
  assert.equal(list(store, 'overlay2', 'l').length, 2)
  assert.equal(list(store, 'blobs', 'sha256').length, 4)
  assert.deepEqual(await verify(store), [])
  await store.removeImage(base.id.slice(7, 19))
  assert.deepEqual([list(store, 'overlay2'), list(store, 'blobs', 'sha256'), list(store, 'ingest')], [['l'], [], []])
})

test('the blob of a layer stays as long as any image needs the layer, also one that was compressed in another way', async t => {
  const store = await openStore(t)
  const layers = makeLayers(2, 'a')
  await pullFixture(store, 'first:1', layers)
  const other = await pullFixture(store, 'other:1', recompress(layers), 'other')
  await store.removeImage('first:1')
  await store.collectGarbage()
  for (const { blob } of layers) {
    const bytes = await Array.fromAsync(store.openBlobFile(blob.descriptor.digest))
    assert.deepEqual(Buffer.concat(bytes), blob.bytes)
  }
  assert.deepEqual(await verify(store), [])
  await store.removeImage('other:1')
  assert.deepEqual([list(store, 'blobs', 'sha256'), list(store, 'overlay2')], [[], ['l']])
  assert.deepEqual(other.layers.length, 2)
})

test('a store of the first version is opened, and keeps the blobs of its layers from then on', async t => {
  const store = await openStore(t)
  const layers = makeLayers(1, 'a')
  await pullFixture(store, 'first:1', layers)
  await pullFixture(store, 'other:1', recompress(layers), 'other')
  {
    using database = new DatabaseSync(join(store.root, 'windlass.db'))
    database.exec(`DROP VIEW needed_blobs; PRAGMA user_version = 1; ALTER TABLE sessions DROP COLUMN purpose;
      CREATE VIEW needed_blobs AS SELECT digest FROM image_blobs UNION SELECT id FROM leases WHERE kind = 'blob'`)
  }
  const again = await openStore(t, store.root)
  await again.removeImage('first:1')
  assert.deepEqual(await verify(again), [])
})

test('a layer whose blob is gone is a finding, and another blob with its content mends it', async t => {
  const store = await openStore(t)
  const [layer] = makeLayers(1, 'a')
  const [twin] = recompress(layer === undefined ? [] : [layer])
  assert.ok(layer && twin)
  const image = await pullFixture(store, 'app:1', [layer])
  const [record] = image.layers
  assert.ok(record)
  using database = new DatabaseSync(join(store.root, 'windlass.db'))
  database.exec(`DELETE FROM blobs WHERE digest = '${record.blobDigest}'`)
  rmSync(join(store.root, 'blobs', 'sha256', record.blobDigest.slice(7)))
  assert.deepEqual(await verify(store), [`layer-blob ${layer.chainId}`])
  await using session = await store.openSession()
  assert.equal(session.hasIntactBlob(record), false)
  const assign = () => session.setLayerBlob(layer.chainId, twin.blob.descriptor.digest)
  await assert.rejects(assign(), /the blob is not in the store/)
  await putBlob(session, twin.blob)
  await assign()
  assert.deepEqual(await verify(store), [])
  const mended = session.findLayer(layer.chainId)
  assert.equal(mended && session.hasIntactBlob(mended), true)
  await session[Symbol.asyncDispose]()
  await store.collectGarbage()
  assert.deepEqual(await verify(store), [])
})

test('a layer whose blob is cut short has no intact blob', async t => {
  const store = await openStore(t)
  const [record] = (await pullFixture(store, 'app:1', makeLayers(1, 'a'))).layers
  assert.ok(record)
  await using session = await store.openSession()
  assert.equal(session.hasIntactBlob(record), true)
  truncateSync(join(store.root, 'blobs', 'sha256', record.blobDigest.slice(7)), 3)
  assert.equal(session.hasIntactBlob(record), false)
})

test('an ID with several names is removed only by force', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(1, 'a'))
  store.tag(image, 'other:1')
  await assert.rejects(store.removeImage(image.id), error => isWindlassError(error, 'FAILED'))
  const { untagged, deleted } = await store.removeImage(image.id, { force: true })
  assert.equal(untagged.length, 3)
  assert.equal(deleted[0], image.id)
})

test('removing a digest leaves the tags, and removes an image that has none', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(1, 'a'))
  const byDigest = `docker.io/library/app@${image.digest}`
  assert.deepEqual(await store.removeImage(byDigest), { untagged: [byDigest], deleted: [], bytesFreed: 0 })
  assert.deepEqual(store.findImage('app:1').repoDigests, [])
  await pullFixture(store, byDigest, makeLayers(1, 'a'))
  await store.removeImage('app:1')
  await pullFixture(store, byDigest, makeLayers(1, 'a'))
  assert.equal((await store.removeImage(byDigest)).deleted[0], image.id)
})

test('removing one of two repositories takes the digest of that one only', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(1, 'a'))
  await pullFixture(store, 'other:1', makeLayers(1, 'a'))
  await store.removeImage('app:1')
  const { names, repoDigests } = store.findImage(image.id)
  assert.deepEqual([names, repoDigests], [['docker.io/library/other:1'], [`docker.io/library/other@${image.digest}`]])
})

test('a collection keeps fresh partials, and takes stale ones that nobody writes', async t => {
  const store = await openStore(t)
  const [idle, busy, fresh] = ['idle', 'busy', 'fresh'].map(text => makeBlob(Buffer.from(`${text} blob`)).descriptor)
  assert.ok(idle && busy && fresh)
  await using session = await store.openSession()
  for (const descriptor of [idle, busy, fresh]) {
    await using blob = await session.openBlob(descriptor, never)
    await blob.write(Buffer.from('some'))
  }
  await using _held = await session.openBlob(busy, never)
  const path = (digest: string) => join(store.root, 'partial', digest.replace(':', '-'))
  const longAgo = Date.now() / 1000 - 3 * 86_400
  for (const descriptor of [idle, busy]) utimesSync(path(descriptor.digest), longAgo, longAgo)
  assert.equal((await store.collectGarbage()).partials, 1)
  assert.deepEqual(
    [idle, busy, fresh].map(({ digest }) => existsSync(path(digest))),
    [false, true, true],
  )
})

test('a collection of all partials takes what nobody writes now, whatever its time says', async t => {
  const store = await openStore(t)
  const [fresh, ahead, busy] = ['fresh', 'ahead', 'busy'].map(text => makeBlob(Buffer.from(`${text} blob`)).descriptor)
  assert.ok(fresh && ahead && busy)
  await using session = await store.openSession()
  for (const descriptor of [fresh, ahead]) {
    await using blob = await session.openBlob(descriptor, never)
    await blob.write(Buffer.from('some'))
  }
  const tomorrow = Date.now() / 1000 + 86_400
  utimesSync(join(store.root, 'partial', ahead.digest.replace(':', '-')), tomorrow, tomorrow)
  await using held = await session.openBlob(busy, never)
  await held.write(Buffer.from('some'))
  assert.equal((await store.collectGarbage({ partialIdleMs: 0 })).partials, 2)
  assert.deepEqual(list(store, 'partial'), [busy.digest.replace(':', '-')])
})

test('a repair takes damaged blobs out, and a pull brings them back', async t => {
  const store = await openStore(t)
  const layers = makeLayers(3, 'a')
  const image = await pullFixture(store, 'app:1', layers)
  const blobs = layers.map(layer => layer.blob.descriptor.digest)
  const path = (digest: string) => join(store.root, 'blobs', 'sha256', digest.slice(7))
  for (const digest of [blobs[0] ?? '', image.digest]) writeFileSync(path(digest), readFileSync(path(digest)).fill(0))
  truncateSync(path(blobs[1] ?? ''), 3)
  const damaged = await verify(store)
  assert.deepEqual(await verify(store), damaged, 'without repair it stays as it is')
  const repaired = await Array.fromAsync(store.verify({ signal: never, repair: true }))
  assert.equal(repaired.filter(finding => finding.repaired).length, 3)
  for (const digest of [blobs[0] ?? '', blobs[1] ?? '', image.digest]) assert.equal(existsSync(path(digest)), false)
  assert.deepEqual(store.findImage('app:1').digest, image.digest)
  assert.equal(existsSync(path(blobs[2] ?? '')), true)
  const left = await verify(store)
  for (const { chainId } of layers.slice(0, 2))
    assert.ok(left.includes(`layer-blob ${chainId}`), 'the row is gone, too')
  await pullFixture(store, 'app:1', layers)
  assert.deepEqual(await verify(store), [])
})

test('a repair leaves a blob alone that somebody is making anew', async t => {
  const store = await openStore(t)
  const layers = makeLayers(1, 'a')
  await pullFixture(store, 'app:1', layers)
  const { descriptor, bytes } = layers[0]?.blob ?? assert.fail()
  const path = join(store.root, 'blobs', 'sha256', descriptor.digest.slice(7))
  writeFileSync(path, Buffer.alloc(bytes.length))
  await using session = await store.openSession()
  await using blob = await session.openBlob(descriptor, never)
  await blob.restart()
  writeFileSync(path, Buffer.alloc(bytes.length))
  const findings = await Array.fromAsync(store.verify({ signal: never, repair: true }))
  assert.deepEqual(
    findings.map(({ kind, repaired }) => [kind, repaired]),
    [['blob-digest', undefined]],
  )
  assert.equal(existsSync(path), true)
})

test('a collection clears out what nothing stands for, also images without names if asked', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  mkdirSync(join(store.root, 'overlay2', 'e'.repeat(64), 'diff'), { recursive: true })
  symlinkSync(`../${'e'.repeat(64)}/diff`, join(store.root, 'overlay2', 'l', 'A'.repeat(26)))
  symlinkSync('../../blobs', join(store.root, 'overlay2', 'l', 'B'.repeat(26)))
  writeFileSync(join(store.root, 'blobs', 'sha256', 'f'.repeat(64)), 'x')
  writeFileSync(join(store.root, 'blobs', 'sha256', 'junk'), 'x')
  assert.equal((await verify(store)).filter(text => text.startsWith('orphan ')).length, 5)
  await store.collectGarbage({ dangling: true })
  assert.deepEqual(await verify(store), [])
  assert.deepEqual(store.listImages(), [image])
  await pullFixture(store, 'app:1', makeLayers(1, 'b'))
  await store.removeImage(`app@${image.digest}`).catch(() => {})
  await store.collectGarbage({ dangling: true })
  assert.equal(store.listImages().length, 1)
})

test('verify names each kind of damage, and nothing in a sound store', async t => {
  const store = await openStore(t)
  const layers = makeLayers(3, 'a')
  const image = await pullFixture(store, 'app:1', layers)
  assert.deepEqual(await verify(store), [])
  const blobs = layers.map(layer => layer.blob.descriptor.digest)
  const blobPath = (n: number) => join(store.root, 'blobs', 'sha256', blobs[n]?.slice(7) ?? '')
  writeFileSync(blobPath(0), 'Compressed a 0')
  truncateSync(blobPath(1), 3)
  rmSync(blobPath(2))
  const [first, second, third] = image.layers
  assert.ok(first && second && third)
  rmSync(join(store.root, 'overlay2', 'l', first.link))
  writeFileSync(join(store.root, 'overlay2', second.cacheId, 'lower'), 'l/OTHER')
  await rename(third.diffDirectory, `${third.diffDirectory}.away`)
  const found = await verify(store)
  assert.deepEqual(
    found.toSorted(),
    [
      `blob-digest ${blobs[0]}`,
      `blob-size ${blobs[1]}`,
      `blob-missing ${blobs[2]}`,
      `layer-link ${first.chainId}`,
      `layer-lower ${second.chainId}`,
      `layer-missing ${third.chainId}`,
    ].toSorted(),
  )
})

test('verify tells an image whose rows are not the layers of its config', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  using database = new DatabaseSync(join(store.root, 'windlass.db'))
  database.exec('DELETE FROM image_layers WHERE position = 1')
  assert.deepEqual(await verify(store), [`image-incomplete ${image.digest}`])
})

test('verify ends when its signal fires', async t => {
  const store = await openStore(t)
  await pullFixture(store, 'app:1', makeLayers(1, 'a'))
  const signal = AbortSignal.abort()
  await assert.rejects(Array.fromAsync(store.verify({ signal })), error => isWindlassError(error, 'CANCELLED'))
})

test('a changed document is not read', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(1, 'a'))
  const bytes = await store.readBlob(image.digest)
  writeFileSync(
    join(store.root, 'blobs', 'sha256', image.digest.slice(7)),
    bytes.toString().replace('config', 'Config'),
  )
  await assert.rejects(store.readBlob(image.digest), error => isWindlassError(error, 'DIGEST_MISMATCH'))
  assert.ok((await verify(store)).includes(`image-incomplete ${image.digest}`))
})

test('names that are not UTF-8, symlinks out and depth beyond any path are removed', async t => {
  const directory = await makeDirectory(t)
  const outside = join(directory, 'outside')
  mkdirSync(outside)
  writeFileSync(join(outside, 'letter'), 'mine')
  const tree = join(directory, 'tree')
  mkdirSync(tree)
  const odd = Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0xfe, 0x0a])])
  mkdirSync(odd)
  writeFileSync(Buffer.concat([odd, Buffer.from('/x'), Buffer.from([0x80])]), '')
  symlinkSync(outside, join(tree, 'link'))
  await makeDeep(join(tree, 'deep'), 40)
  await removeTree(tree)
  assert.deepEqual(readdirSync(directory), ['outside'])
  assert.deepEqual(readdirSync(outside), ['letter'])
  await removeTree(tree)
})

/** A tree of names of 200 bytes, built from its leaf: no path to it is ever longer than the kernel takes. */
async function makeDeep(path: string, depth: number): Promise<void> {
  await mkdir(path)
  for (let n = 0; n < depth; n += 1) {
    await mkdir(`${path}.next`)
    await rename(path, join(`${path}.next`, 'n'.repeat(200)))
    await rename(`${path}.next`, path)
  }
}
