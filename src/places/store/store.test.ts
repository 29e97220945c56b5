import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { isWindlassError } from '../../errors.ts'
import { digestOf, makeConfig, makeDirectory, makeLayers, openStore, pullFixture } from './fixture.test.ts'
import { type NewImage, Store } from './store.ts'

const isNotFound = (error: unknown) => isWindlassError(error, 'NOT_FOUND')

test('an image that is put is found by every spelling, and its documents can be read', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'debian:12', makeLayers(3, 'a'))
  assert.deepEqual(image.names, ['docker.io/library/debian:12'])
  assert.deepEqual(image.repoDigests, [`docker.io/library/debian@${image.digest}`])
  const hex = image.id.slice('sha256:'.length)
  const spellings = [
    'debian:12',
    'docker.io/library/debian:12',
    `debian@${image.digest}`,
    image.id,
    hex,
    hex.slice(0, 4),
    image.id.slice(0, 20),
  ]
  for (const text of spellings) assert.equal(store.findImage(text).digest, image.digest, text)
  assert.equal(digestOf(await store.readBlob(image.config.digest)), image.id)
  assert.deepEqual(store.listImages(), [image])
})

test('what is not there is NOT_FOUND, and text that can be nothing is REFERENCE_INVALID', async t => {
  const store = await openStore(t)
  await pullFixture(store, 'debian:12', makeLayers(1, 'a'))
  for (const text of ['debian', 'debian:13', 'ffff', `debian@${digestOf('x')}`, digestOf('y')]) {
    assert.throws(
      () => store.findImage(text),
      error => isWindlassError(error, 'NOT_FOUND'),
      text,
    )
  }
  assert.throws(
    () => store.findImage('Debian:12'),
    error => isWindlassError(error, 'REFERENCE_INVALID'),
  )
})

test('a name goes before an ID, and too few digits are no ID', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(1, 'a'))
  assert.throws(() => store.findImage(image.id.slice(7, 10)), isNotFound)
  const other = await pullFixture(store, `${image.id.slice(7, 15)}:latest`, makeLayers(1, 'b'))
  assert.equal(store.findImage(image.id.slice(7, 15)).digest, other.digest)
  assert.equal(store.findImage(image.id.slice(7, 14)).digest, image.digest)
})

test('the beginning of two image IDs is refused with both', async t => {
  const store = await openStore(t)
  const layers = makeLayers(1, 'a')
  const seen = new Map<string, number>()
  for (let n = 0; ; n += 1) {
    const start = makeConfig(layers, `${n}`).descriptor.digest.slice(7, 11)
    const twin = seen.get(start)
    seen.set(start, n)
    if (twin === undefined) continue
    for (const note of [n, twin]) await pullFixture(store, `app:${note}`, layers, `${note}`)
    return assert.throws(() => store.findImage(start), /the beginning of 2 image IDs \([0-9a-f]{12}, [0-9a-f]{12}\)/)
  }
})

test('a database of a newer version is refused', async t => {
  const store = await openStore(t)
  using database = new DatabaseSync(join(store.root, 'windlass.db'))
  database.exec('PRAGMA user_version = 4')
  await assert.rejects(Store.open(store.root), error => isWindlassError(error, 'UNSUPPORTED'))
})

test('layers lie in overlay2 as docker lays them out', async t => {
  const store = await openStore(t)
  const { layers } = await pullFixture(store, 'app', makeLayers(3, 'a'))
  const [first, second, third] = layers
  assert.ok(first && second && third)
  const read = (cacheId: string, name: string) => readFileSync(join(store.root, 'overlay2', cacheId, name), 'utf8')
  const mode = (...path: string[]) => (statSync(join(store.root, ...path)).mode & 0o7777).toString(8)
  for (const layer of layers) {
    assert.match(layer.link, /^[A-Z2-7]{26}$/)
    assert.equal(read(layer.cacheId, 'link'), layer.link)
    assert.equal(readlinkSync(join(store.root, 'overlay2', 'l', layer.link)), `../${layer.cacheId}/diff`)
    assert.equal(mode('overlay2', layer.cacheId), '710')
    assert.equal(mode('overlay2', layer.cacheId, 'diff'), '755')
  }
  assert.deepEqual(readdirSync(join(store.root, 'overlay2', first.cacheId)).sort(), ['committed', 'diff', 'link'])
  assert.deepEqual(readdirSync(join(store.root, 'overlay2', third.cacheId)).sort(), ['diff', 'link', 'lower', 'work'])
  assert.equal(read(third.cacheId, 'lower'), `l/${second.link}:l/${first.link}`)
  assert.equal(mode('overlay2', third.cacheId, 'work'), '700')
  assert.equal(mode('.'), '700')
  assert.equal(mode('overlay2'), '710')
})

test('the modes of the store do not depend on the umask', async t => {
  const old = process.umask(0o077)
  t.after(() => process.umask(old))
  const store = await openStore(t)
  const { layers } = await pullFixture(store, 'app', makeLayers(2, 'a'))
  const directory = join(store.root, 'overlay2', layers[1]?.cacheId ?? '')
  assert.equal(statSync(join(directory, 'diff')).mode & 0o777, 0o755)
  assert.equal(statSync(join(directory, 'lower')).mode & 0o777, 0o644)
  assert.equal(statSync(join(store.root, 'overlay2')).mode & 0o777, 0o710)
})

test('a tag goes over to the image that takes it, and the old image stays by its ID', async t => {
  const store = await openStore(t)
  const layers = makeLayers(1, 'a')
  const old = await pullFixture(store, 'app:1', layers, 'old')
  const young = await pullFixture(store, 'app:1', layers, 'young')
  assert.equal(store.findImage('app:1').digest, young.digest)
  assert.deepEqual(store.findImage(old.id).names, [])
  store.tag(store.findImage(old.id), 'app:old')
  assert.equal(store.findImage('app:old').digest, old.digest)
  assert.throws(
    () => store.tag(old, `app@${old.digest}`),
    error => isWindlassError(error, 'REFERENCE_INVALID'),
  )
})

test('a pull by digest makes no tag', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, `app:1@${digestOf('whatever was asked')}`, makeLayers(1, 'a'))
  assert.deepEqual(image.names, [])
  assert.deepEqual(image.repoDigests, [`docker.io/library/app@${image.digest}`])
})

test('an image whose documents or layers are not there, or lie on others, is refused whole', async t => {
  const store = await openStore(t)
  const layers = makeLayers(2, 'a')
  const image = await pullFixture(store, 'app:1', layers)
  const descriptor = { mediaType: image.mediaType, digest: image.digest, size: 1 }
  const sound = { target: descriptor, manifest: descriptor, config: descriptor, platform: image.platform }
  const missing = { chainId: digestOf('missing'), descriptor }
  await using session = await store.openSession()
  const put = (claim: Partial<NewImage>) => session.putImage({ ...sound, layers: [], reference: 'other:1', ...claim })
  await assert.rejects(put({ layers: [missing] }), /its layer \S+ is not in the store/)
  await assert.rejects(
    put({ config: { ...descriptor, digest: digestOf('gone') } }),
    /its document \S+ is not in the store/,
  )
  const upsideDown = layers.toReversed().map(({ chainId }) => ({ chainId, descriptor }))
  await assert.rejects(put({ layers: upsideDown }), /lies on another layer/)
  assert.throws(() => store.findImage('other:1'), isNotFound)
})

test('a store that is opened again has what was put', async t => {
  const store = await openStore(t)
  const image = await pullFixture(store, 'app:1', makeLayers(2, 'a'))
  const again = await openStore(t, store.root, { create: false })
  assert.deepEqual(again.findImage('app:1'), image)
})

test('a store of a newer version, a foreign directory and a missing store are refused', async t => {
  const store = await openStore(t)
  await writeFile(join(store.root, 'version'), '2\n')
  await assert.rejects(Store.open(store.root), error => isWindlassError(error, 'UNSUPPORTED'))
  const directory = await makeDirectory(t)
  await assert.rejects(Store.open(join(directory, 'none'), { create: false }), error =>
    isWindlassError(error, 'NOT_FOUND'),
  )
  assert.equal(existsSync(join(directory, 'none')), false)
  await mkdir(join(directory, 'home'))
  await writeFile(join(directory, 'home', 'letter'), 'mine')
  await assert.rejects(Store.open(join(directory, 'home')), error => isWindlassError(error, 'FAILED'))
})

test('a database that cannot be opened is told with its store', async t => {
  const root = join(await makeDirectory(t), 'store')
  await (await Store.open(root))[Symbol.asyncDispose]()
  await rm(join(root, 'windlass.db'))
  await mkdir(join(root, 'windlass.db'))
  await assert.rejects(Store.open(root), error => isWindlassError(error, 'PERMISSION') && error.message.includes(root))
})

test('a store is made where the doctor has written down its cures before there was one', async t => {
  const directory = await makeDirectory(t)
  await mkdir(join(directory, 'cures'))
  await writeFile(join(directory, 'cures', 'shim-20260101000000.jsonl'), '{}\n')
  await using _store = await Store.open(directory)
  assert.ok(existsSync(join(directory, 'cures', 'shim-20260101000000.jsonl')))
})
