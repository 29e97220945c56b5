import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { isWindlassError } from '../../errors.ts'
import {
  defer,
  digestOf,
  makeBlob,
  makeLayers,
  never,
  openStore,
  pullFixture,
  putBlob,
  putImage,
  putLayer,
} from './fixture.test.ts'
import type { BlobIngest, LockHolder, Store } from './store.ts'

const text = (store: Store, ...path: string[]) => readFileSync(join(store.root, ...path), 'utf8')
const list = (store: Store, ...path: string[]) => readdirSync(join(store.root, ...path)).sort()
const partialOf = (digest: string) => digest.replace(':', '-')

async function readAll(blob: BlobIngest): Promise<string> {
  return Buffer.concat(await Array.fromAsync(blob.read())).toString()
}

/** Runs code in a process of its own with `store`, `session`, `fixture` and `never` in scope; lines it prints can be awaited. */
async function startProcess(t: TestContext, root: string, code: string, until?: string): Promise<ChildProcess> {
  const script = `
    const fixture = await import(${JSON.stringify(new URL('./fixture.test.ts', import.meta.url).href)})
    const { Store } = await import(${JSON.stringify(new URL('./store.ts', import.meta.url).href)})
    const { never } = fixture
    const die = step => { if (step === dieAt) process.kill(process.pid, 'SIGKILL') }
    let dieAt
    const store = await Store.open(${JSON.stringify(root)}, { onStep: die })
    const session = await store.openSession()
    ${code}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  defer(t, () => child.kill('SIGKILL'))
  if (until === undefined) return child
  for await (const line of createInterface({ input: child.stdout })) if (line === until) return child
  throw new Error(`the process ended without saying ${until}`)
}

test('a blob that is written and committed is there for the next session, and only then', async t => {
  const store = await openStore(t)
  const { descriptor, bytes } = makeBlob(Buffer.alloc(3_500_000, 'layer'))
  await using session = await store.openSession()
  await using blob = await session.openBlob(descriptor, never)
  assert.deepEqual([blob.complete, blob.size], [false, 0])
  for (let at = 0; at < bytes.length; at += 65_536) await blob.write(bytes.subarray(at, at + 65_536))
  assert.equal(digestOf(await readAll(blob)), descriptor.digest)
  assert.equal(session.findBlob(descriptor.digest), undefined)
  await blob.commit()
  assert.deepEqual(session.findBlob(descriptor.digest), { digest: descriptor.digest, size: bytes.length })
  assert.equal(digestOf(await readAll(blob)), descriptor.digest)
  await using again = await session.openBlob(descriptor, never)
  assert.equal(again.complete, true)
  assert.equal(digestOf(await readAll(again)), descriptor.digest)
  assert.deepEqual(list(store, 'partial'), [])
})

test('a blob that is given up keeps its bytes for the next one, and restart throws them away', async t => {
  const store = await openStore(t)
  const { descriptor } = makeBlob(Buffer.from('0123456789'))
  {
    await using session = await store.openSession()
    await using blob = await session.openBlob(descriptor, never)
    await blob.write(Buffer.from('01234'))
  }
  assert.equal(text(store, 'partial', partialOf(descriptor.digest)), '01234')
  await using session = await store.openSession()
  await using blob = await session.openBlob(descriptor, never)
  assert.equal(blob.size, 5)
  assert.equal(await readAll(blob), '01234')
  await blob.write(Buffer.from('56x'))
  await blob.restart()
  assert.equal(blob.size, 0)
  await blob.write(Buffer.from('0123456789'))
  await blob.commit()
  assert.equal(text(store, 'blobs', 'sha256', descriptor.digest.slice(7)), '0123456789')
})

test('a write that is still under way when its blob is begun anew leaves nothing in it', async t => {
  const store = await openStore(t)
  const { descriptor } = makeBlob(Buffer.from('0123456789'))
  await using session = await store.openSession()
  await using handle = await open('/dev/null', 'r')
  const handles = Object.getPrototypeOf(handle)
  const { write } = handles
  t.mock.method(handles, 'write', async function (this: unknown, ...args: unknown[]) {
    await setTimeout(30)
    return write.apply(this, args)
  })
  {
    await using blob = await session.openBlob(descriptor, never)
    await blob.write(Buffer.from('xxxx'))
    const [abandoned] = [readAll(blob), await setTimeout(5)]
    await blob.restart()
    assert.equal(blob.size, 0)
    await abandoned.catch(() => {})
    assert.equal(blob.size, 0)
  }
  assert.equal(session.bytesHere(descriptor.digest), 0)
})

test('a blob whose sync failed is not believed by the next one, which the kernel would tell that all is well', async t => {
  const store = await openStore(t)
  const { descriptor, bytes } = makeBlob(Buffer.from('never on the disk'))
  await using session = await store.openSession()
  await using handle = await open('/dev/null', 'r')
  const failing = t.mock.method(Object.getPrototypeOf(handle), 'sync', () => Promise.reject(new Error('EIO')))
  {
    await using blob = await session.openBlob(descriptor, never)
    await blob.write(bytes)
    await assert.rejects(blob.commit(), /EIO/)
  }
  failing.mock.restore()
  assert.equal(session.bytesHere(descriptor.digest), 0)
})

test('more bytes than the descriptor says are refused, and fewer cannot be committed', async t => {
  const store = await openStore(t)
  const { descriptor } = makeBlob(Buffer.from('0123456789'))
  await using session = await store.openSession()
  await using blob = await session.openBlob(descriptor, never)
  await blob.write(Buffer.from('012345678'))
  await assert.rejects(blob.write(Buffer.from('9x')), error => isWindlassError(error, 'LIMIT_EXCEEDED'))
  await assert.rejects(blob.commit(), error => isWindlassError(error, 'DIGEST_MISMATCH'))
})

test('a partial that is larger than its blob is of no use', async t => {
  const store = await openStore(t)
  const { descriptor } = makeBlob(Buffer.from('0123456789'))
  writeFileSync(join(store.root, 'partial', partialOf(descriptor.digest)), '0123456789x')
  await using session = await store.openSession()
  await using blob = await session.openBlob(descriptor, never)
  assert.equal(blob.size, 0)
  assert.equal(await readAll(blob), '')
})

test('a descriptor that lies about the size of a blob in the store is refused', async t => {
  const store = await openStore(t)
  const blob = makeBlob(Buffer.from('0123456789'))
  await using session = await store.openSession()
  await putBlob(session, blob)
  const lie = { ...blob.descriptor, size: 9 }
  await assert.rejects(session.openBlob(lie, never), error => isWindlassError(error, 'DIGEST_MISMATCH'))
})

test('a document whose bytes are not those of its digest is refused', async t => {
  const store = await openStore(t)
  const { descriptor } = makeBlob(Buffer.from('{"a":1}'))
  await using session = await store.openSession()
  const isMismatch = (error: unknown) => isWindlassError(error, 'DIGEST_MISMATCH')
  for (const bytes of ['{"a":2}', '{"a":1} ']) {
    await assert.rejects(session.putDocument({ descriptor, bytes: Buffer.from(bytes) }), isMismatch)
  }
  const lie = { ...descriptor, size: descriptor.size - 1 }
  await assert.rejects(session.putDocument({ descriptor: lie, bytes: Buffer.from('{"a":1}') }), isMismatch)
  assert.deepEqual(list(store, 'partial'), [])
  assert.equal(session.findBlob(descriptor.digest), undefined)
})

test('a blob or layer whose files were lost is taken in anew, a layer under its old names', async t => {
  const store = await openStore(t)
  const layers = makeLayers(2, 'a')
  const image = await pullFixture(store, 'app:1', layers)
  const [layer] = image.layers
  const blob = layers[0]?.blob
  assert.ok(layer && blob)
  rmSync(join(store.root, 'blobs', 'sha256', blob.descriptor.digest.slice(7)))
  rmSync(layer.diffDirectory, { recursive: true })
  {
    await using session = await store.openSession()
    assert.deepEqual(
      [session.findBlob(blob.descriptor.digest), session.findLayer(layer.chainId)],
      [undefined, undefined],
    )
  }
  const again = await pullFixture(store, 'app:1', layers)
  assert.deepEqual(again.layers, image.layers)
  assert.equal(text(store, 'overlay2', layer.cacheId, 'diff', 'layer-0'), 'a 0')
  assert.deepEqual(await Array.fromAsync(store.verify({ signal: never })), [])
})

test('a complete blob that proves wrong is written anew, a damaged document without being asked', async t => {
  const store = await openStore(t)
  const layers = makeLayers(1, 'a')
  const image = await pullFixture(store, 'app:1', layers)
  const { descriptor, bytes } = layers[0]?.blob ?? assert.fail()
  for (const digest of [descriptor.digest, image.digest]) {
    const path = join(store.root, 'blobs', 'sha256', digest.slice(7))
    writeFileSync(path, Buffer.alloc(statSync(path).size))
  }
  await using session = await store.openSession()
  await using blob = await session.openBlob(descriptor, never)
  assert.equal(blob.complete, true)
  await blob.restart()
  assert.deepEqual([blob.complete, blob.size, session.findBlob(descriptor.digest)], [false, 0, undefined])
  await blob.write(bytes)
  await blob.commit()
  await putImage(session, 'app:1', layers)
  assert.deepEqual(await Array.fromAsync(store.verify({ signal: never })), [])
})

test('who finds a blob damaged that another session has made anew meanwhile, leaves it and has it complete', async t => {
  const store = await openStore(t)
  const { descriptor, bytes } = makeBlob(Buffer.from('shared'))
  await using first = await store.openSession()
  await using second = await store.openSession()
  await putBlob(first, { descriptor, bytes })
  const path = join(store.root, 'blobs', 'sha256', descriptor.digest.slice(7))
  writeFileSync(path, 'damage')
  await using early = await first.openBlob(descriptor, never)
  await using late = await second.openBlob(descriptor, never)
  assert.deepEqual([await readAll(early), await readAll(late)], ['damage', 'damage'])
  await early.restart()
  const waiting = late.restart()
  await early.write(bytes)
  await early.commit()
  await waiting
  assert.equal(late.complete, true)
  assert.equal(await readAll(late), 'shared')
  assert.equal(readFileSync(path, 'utf8'), 'shared')
})

test('two sessions that want one blob take turns, and the second finds it complete', async t => {
  const store = await openStore(t)
  const { descriptor, bytes } = makeBlob(Buffer.from('shared'))
  await using first = await store.openSession()
  await using second = await store.openSession()
  const blob = await first.openBlob(descriptor, never)
  let opened = false
  const waiting = second.openBlob(descriptor, never).then(ingest => {
    opened = true
    return ingest
  })
  await setTimeout(150)
  assert.equal(opened, false)
  await blob.write(bytes)
  await blob.commit()
  await using late = await waiting
  assert.equal(late.complete, true)
})

test('the signal ends the wait for a blob or layer that another session holds', async t => {
  const store = await openStore(t)
  const { descriptor } = makeBlob(Buffer.from('held'))
  const [layer] = makeLayers(1, 'a')
  assert.ok(layer)
  await using first = await store.openSession()
  await using second = await store.openSession()
  await using _blob = await first.openBlob(descriptor, never)
  await using _layer = await first.openLayer(layer, never)
  const isCancelled = (error: unknown) => isWindlassError(error, 'CANCELLED')
  await assert.rejects(second.openBlob(descriptor, AbortSignal.timeout(50)), isCancelled)
  await assert.rejects(second.openLayer(layer, AbortSignal.timeout(50)), isCancelled)
})

test('who was told to, makes a blob beside its holder, from what that one has; both may commit', async t => {
  const store = await openStore(t)
  const { descriptor, bytes } = makeBlob(Buffer.from('shared'))
  await using first = await store.openSession()
  await using second = await store.openSession()
  await using held = await first.openBlob(descriptor, never)
  await held.write(bytes.subarray(0, 2))
  await Array.fromAsync(held.read()) // brings it to the file
  let holder: LockHolder | undefined
  const beside = new AbortController()
  const onHeld = (find: () => LockHolder | undefined): void => {
    holder = find()
    beside.abort()
  }
  await using own = await second.openBlob(descriptor, never, { beside: beside.signal, onHeld })
  assert.equal(holder?.pid, process.pid)
  assert.deepEqual([own.complete, own.size], [false, 2])
  await own.write(bytes.subarray(2))
  await own.commit()
  assert.equal(text(store, 'blobs', 'sha256', descriptor.digest.slice(7)), 'shared')
  await held.write(bytes.subarray(2))
  await held.commit()
  assert.deepEqual(await Array.fromAsync(store.verify({ signal: never })), [])
})

test('of a layer that was made beside its holder there is one, and the holder finds it', async t => {
  const store = await openStore(t)
  const [layer] = makeLayers(1, 'a')
  assert.ok(layer)
  await using first = await store.openSession('pull first:1')
  await using second = await store.openSession()
  await putBlob(first, layer.blob)
  const held = await first.openLayer(layer, never)
  layer.fill(held.diffDirectory)
  const own = await second.openLayer(layer, never, { beside: AbortSignal.abort() })
  layer.fill(own.diffDirectory)
  const facts = { size: 7, blobDigest: layer.blob.descriptor.digest }
  const record = await own.commit(facts)
  assert.deepEqual(await held.commit(facts), record)
  await held[Symbol.asyncDispose]()
  await own[Symbol.asyncDispose]()
  assert.deepEqual(list(store, 'overlay2'), [record.cacheId, 'l'].sort())
  assert.equal(list(store, 'overlay2', 'l').length, 1)
  assert.deepEqual(await Array.fromAsync(store.verify({ signal: never })), [])
})

test('a third one that waits finds the layer that was made beside its holder', async t => {
  const store = await openStore(t)
  const [layer] = makeLayers(1, 'a')
  assert.ok(layer)
  await using first = await store.openSession()
  await using second = await store.openSession()
  await using _held = await first.openLayer(layer, never)
  await using own = await second.openLayer(layer, never, { beside: AbortSignal.abort() })
  const waiting = second.openLayer(layer, AbortSignal.timeout(20_000))
  await putBlob(second, layer.blob)
  layer.fill(own.diffDirectory)
  const record = await own.commit({ size: 7, blobDigest: layer.blob.descriptor.digest })
  assert.deepEqual((await waiting).existing, record)
})

test('two processes that want one layer take turns', async t => {
  const store = await openStore(t)
  const [layer] = makeLayers(1, 'a')
  assert.ok(layer)
  const code = `
    const [layer] = fixture.makeLayers(1, 'a')
    const ingest = await session.openLayer(layer, never)
    await layer.fill(ingest.diffDirectory)
    console.log('open')
    await new Promise(resolve => setTimeout(resolve, 200))
    await ingest.commit({ size: 7, blobDigest: layer.blob.descriptor.digest })
    console.log('committed')
    await session[Symbol.asyncDispose]()`
  await startProcess(t, store.root, code, 'open')
  await using session = await store.openSession()
  await using ingest = await session.openLayer(layer, never)
  assert.equal(ingest.existing?.size, 7)
})

test('a process that is killed while it writes leaves its partial, and no lock stays behind', async t => {
  const store = await openStore(t)
  const { descriptor } = makeBlob(Buffer.from('0123456789'))
  const code = `
    const blob = await session.openBlob(${JSON.stringify(descriptor)}, never)
    await blob.write(Buffer.from('01234'))
    for await (const piece of blob.read()) console.log(String(piece))
    setInterval(() => {}, 1000)`
  const child = await startProcess(t, store.root, code, '01234')
  await using session = await store.openSession()
  await assert.rejects(session.openBlob(descriptor, AbortSignal.timeout(50)), error =>
    isWindlassError(error, 'CANCELLED'),
  )
  child.kill('SIGKILL')
  await using blob = await session.openBlob(descriptor, never)
  assert.equal(blob.size, 5)
})

test('a layer that is given up leaves nothing, and the layers below are named nearest first', async t => {
  const store = await openStore(t)
  const layers = makeLayers(3, 'a')
  const [first, second, third] = layers
  assert.ok(first && second && third)
  await using session = await store.openSession()
  const below = await putLayer(session, first)
  const nearest = await putLayer(session, second)
  const ingest = await session.openLayer(third, never)
  assert.deepEqual(ingest.lowerDirectories, [nearest.diffDirectory, below.diffDirectory])
  await third.fill(ingest.diffDirectory)
  await ingest[Symbol.asyncDispose]()
  assert.equal(existsSync(ingest.diffDirectory), false)
  assert.equal(session.findLayer(third.chainId), undefined)
  assert.equal(list(store, 'overlay2').length, 3)
})

test('a layer whose commit fails between its names and its row leaves nothing', async t => {
  const onStep = (step: string) => {
    if (step === 'layer-renamed') throw new Error('the disk is gone')
  }
  const store = await openStore(t, undefined, { onStep })
  const [layer] = makeLayers(1, 'a')
  assert.ok(layer)
  await using session = await store.openSession()
  await assert.rejects(putLayer(session, layer), /the disk is gone/)
  assert.deepEqual([list(store, 'overlay2'), list(store, 'overlay2/l')], [['l'], []])
  assert.equal(session.findLayer(layer.chainId), undefined)
})

test('a layer is not committed before the layer below it', async t => {
  const store = await openStore(t)
  const [, second] = makeLayers(2, 'a')
  assert.ok(second)
  await using session = await store.openSession()
  await using ingest = await session.openLayer(second, never)
  const commit = ingest.commit({ size: 1, blobDigest: second.blob.descriptor.digest })
  await assert.rejects(commit, /the layer below, sha256:[0-9a-f]{64}, is not committed/)
  assert.deepEqual(list(store, 'overlay2'), ['l'])
})

test('what a killed process was unpacking goes when the next session starts, and what it committed stays', async t => {
  const store = await openStore(t)
  const code = `
    const [first, second] = fixture.makeLayers(2, 'a')
    await fixture.putLayer(session, first)
    const ingest = await session.openLayer(second, never)
    await second.fill(ingest.diffDirectory)
    console.log('filled')
    setInterval(() => {}, 1000)`
  const child = await startProcess(t, store.root, code, 'filled')
  assert.equal(list(store, 'ingest').length, 1)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await (await store.openSession())[Symbol.asyncDispose]()
  assert.deepEqual(list(store, 'ingest'), [])
  assert.equal(list(store, 'overlay2').length, 2)
})

test('a session does not wait until all that others left is removed; a collection does', async t => {
  const store = await openStore(t)
  const left = join(store.root, 'ingest', 'feedfeedfeedfeed')
  for (let n = 0; n < 100; n += 1) {
    mkdirSync(join(left, `${n}`), { recursive: true })
    for (let m = 0; m < 100; m += 1) writeFileSync(join(left, `${n}`, `${m}`), '')
  }
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const session = await store.openSession()
  const ended = session[Symbol.asyncDispose]()
  await new Promise(setImmediate)
  t.mock.timers.tick(60_000)
  await ended
  t.mock.timers.reset()
  assert.deepEqual(list(store, 'ingest'), ['feedfeedfeedfeed'])
  await store.collectGarbage()
  assert.deepEqual(list(store, 'ingest'), [])
})

test('a process killed between the rename and the row of a layer or blob leaves nothing that is believed', async t => {
  for (const step of ['layer-renamed', 'blob-renamed']) {
    const store = await openStore(t)
    const code = `
      const [layer] = fixture.makeLayers(1, 'a')
      dieAt = ${JSON.stringify(step)}
      if (dieAt === 'layer-renamed') await fixture.putLayer(session, layer)
      else await fixture.putBlob(session, layer.blob)`
    const child = await startProcess(t, store.root, code)
    assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL'])
    const [layer] = makeLayers(1, 'a')
    assert.ok(layer)
    assert.equal(list(store, 'overlay2').length + list(store, 'blobs', 'sha256').length, 2)
    const probe = await store.openSession()
    assert.deepEqual(
      [probe.findLayer(layer.chainId), probe.findBlob(layer.blob.descriptor.digest)],
      [undefined, undefined],
    )
    await probe[Symbol.asyncDispose]()
    const left = [list(store, 'overlay2'), list(store, 'overlay2/l')]
    assert.deepEqual(left, [['l'], []], 'the next session has removed the layer')
    await store.collectGarbage()
    assert.deepEqual([list(store, 'overlay2'), list(store, 'overlay2/l'), list(store, 'blobs/sha256')], [['l'], [], []])
    const image = await pullFixture(store, 'app:1', [layer])
    assert.equal(store.findImage('app:1').digest, image.digest)
  }
})

test('a collection takes nothing that a living session found or made', async t => {
  const store = await openStore(t)
  const [old, young] = [makeLayers(2, 'old'), makeLayers(2, 'young')]
  await pullFixture(store, 'old:1', old)
  await using session = await store.openSession()
  for (const layer of old) assert.ok(session.findLayer(layer.chainId) && session.findBlob(layer.blob.descriptor.digest))
  for (const layer of young) {
    await putBlob(session, layer.blob)
    await putLayer(session, layer)
  }
  const half = makeLayers(1, 'half')[0]
  assert.ok(half)
  await using ingest = await session.openLayer(half, never)
  writeFileSync(join(ingest.diffDirectory, 'x'), 'x')
  const find = () =>
    [...old, ...young].map(layer => [session.findLayer(layer.chainId), session.findBlob(layer.blob.descriptor.digest)])
  const before = find()
  await store.removeImage('old:1')
  await store.collectGarbage({ partialIdleMs: 0 })
  assert.deepEqual(find(), before)
  assert.equal(before.flat().includes(undefined), false)
  assert.equal(existsSync(join(ingest.diffDirectory, 'x')), true)
  const image = await putImage(session, 'new:1', young)
  assert.equal(statSync(image.layers[1]?.diffDirectory ?? '').isDirectory(), true)
  assert.equal((await putImage(session, 'old:2', old)).layers.length, 2)
  await session[Symbol.asyncDispose]()
  await store.removeImage('old:2')
  assert.deepEqual(await Array.fromAsync(store.verify({ signal: never })), [])
})

test('an image can be removed although a session that ended left a layer on top of its own', async t => {
  const store = await openStore(t)
  const layers = makeLayers(2, 'a')
  await using session = await store.openSession()
  for (const layer of layers) {
    await putBlob(session, layer.blob)
    await putLayer(session, layer)
  }
  await putImage(session, 'base:1', layers.slice(0, 1))
  await session[Symbol.asyncDispose]()
  assert.equal((await store.removeImage('base:1')).deleted.length, 3)
  assert.deepEqual([list(store, 'overlay2'), await Array.fromAsync(store.verify({ signal: never }))], [['l'], []])
})

test('a session that ends takes its lease with it', async t => {
  const store = await openStore(t)
  const layers = makeLayers(3, 'a')
  {
    await using session = await store.openSession()
    for (const layer of layers) {
      await putBlob(session, layer.blob)
      await putLayer(session, layer)
    }
  }
  const result = await store.collectGarbage()
  assert.deepEqual([result.blobs, result.layers], [3, 3])
  assert.deepEqual([list(store, 'overlay2'), list(store, 'overlay2/l'), list(store, 'ingest')], [['l'], [], []])
})

test('processes that pull, remove and collect at the same time leave a sound store', async t => {
  const store = await openStore(t)
  const code = `
    await session[Symbol.asyncDispose]()
    for (let n = 0; n < 12; n += 1) {
      const layers = fixture.makeLayers(1 + n % 4, 's' + n % 3)
      await fixture.pullFixture(store, 'app:' + n % 3, layers)
      if (n % 4 === 1) await store.collectGarbage({ partialIdleMs: 0, dangling: true })
      const [image] = store.listImages()
      if (n % 4 === 3 && image) await store.removeImage(image.id, { force: true }).catch(error => { if (error.code !== 'NOT_FOUND') throw error })
    }
    console.log('sound')
    await store[Symbol.asyncDispose]()`
  const children = [1, 2, 3].map(() => startProcess(t, store.root, code, 'sound'))
  await Promise.all(children)
  assert.deepEqual(await Array.fromAsync(store.verify({ signal: never })), [])
})
