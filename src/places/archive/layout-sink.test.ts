import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { descriptorOf } from '../../../test/servers/push.ts'
import { TestDirectory } from '../../../test/unpack-tar.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import { tryLockDirectory } from '../../sys/directory-lock.ts'
import { DirectoryFiles } from './files.ts'
import { openLayoutSink } from './layout-sink.ts'
import { blobPath, refNameKey } from './layout-source.ts'

const signal = new AbortController().signal

function documentOf(text: string) {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, text }))
  return { descriptor: descriptorOf(bytes, mediaTypes.ociManifest), bytes }
}

function namesIn(directory: string): string[] {
  const { manifests } = JSON.parse(readFileSync(join(directory, 'index.json'), 'utf8'))
  return manifests.map(({ annotations }: { annotations: Record<string, string> }) => annotations[refNameKey]).toSorted()
}

test('two who write to one layout lose nothing of each other', async () => {
  using directory = new TestDirectory()
  const [first, second] = await Promise.all([openLayoutSink(directory.path), openLayoutSink(directory.path)])
  await first.putDocument(documentOf('a'), { tag: 'a' }, signal)
  await second.putDocument(documentOf('b'), { tag: 'b' }, signal)
  await Promise.all([first.commit(signal), second.commit(signal)])
  assert.deepEqual(namesIn(directory.path), ['a', 'b'])
  const third = await openLayoutSink(directory.path)
  await third.putDocument(documentOf('c'), { tag: 'a' }, signal)
  await third.commit(signal)
  assert.deepEqual(namesIn(directory.path), ['a', 'b'])
})

test('the index is written when its lock is free, also by way of a symlink; who waits can leave', async () => {
  using directory = new TestDirectory()
  const real = join(directory.path, 'real')
  mkdirSync(real)
  symlinkSync('real', join(directory.path, 'link'))
  const sink = await openLayoutSink(join(directory.path, 'link'))
  await sink.putDocument(documentOf('a'), { tag: 'a' }, signal)
  const lock = tryLockDirectory(real) ?? assert.fail('it was locked')
  const leaving = new AbortController()
  const left = sink.commit(leaving.signal)
  leaving.abort(new Error('enough'))
  await assert.rejects(left, /enough/)
  assert.deepEqual(readdirSync(real), ['blobs'])
  const written = sink.commit(signal)
  lock[Symbol.dispose]()
  await written
  assert.deepEqual(namesIn(real), ['a'])
})

test('a blob that is there is believed by its digest, not by its size, and is replaced', async () => {
  using directory = new TestDirectory()
  const sink = await openLayoutSink(directory.path)
  const descriptor = descriptorOf('the blob', mediaTypes.ociLayer)
  const path = join(directory.path, blobPath(descriptor.digest))
  writeFileSync(path, 'the bolb')
  assert.equal(await sink.hasBlob(descriptor, signal), false)
  const open = async function* () {
    yield Buffer.from('the blob')
  }
  await sink.putBlob(descriptor, { open, isLocal: true, mountFrom: undefined }, signal)
  assert.equal(readFileSync(path, 'utf8'), 'the blob')
  assert.equal(await (await openLayoutSink(directory.path)).hasBlob(descriptor, signal), true)
})

test('a blob that images share is read once, and again when its file has changed', async t => {
  using directory = new TestDirectory()
  const has = async () => await (await openLayoutSink(directory.path)).hasBlob(descriptor, signal)
  const descriptor = descriptorOf('a shared blob', mediaTypes.ociLayer)
  const sink = await openLayoutSink(directory.path)
  const path = join(directory.path, blobPath(descriptor.digest))
  const write = (content: string) => {
    writeFileSync(path, content)
    utimesSync(path, 1e9, 1e9)
  }
  const { mock } = t.mock.method(DirectoryFiles.prototype, 'read')
  write('a shared blob')
  assert.deepEqual([await sink.hasBlob(descriptor, signal), await has(), await has()], [true, true, true])
  assert.equal(mock.callCount(), 1)
  // The clock of a filesystem goes by ticks.
  await setTimeout(100)
  write('a shaded blob')
  assert.deepEqual([await has(), await has()], [false, false])
  assert.equal(mock.callCount(), 3)
  const open = async function* () {
    yield Buffer.from('a shared blob')
  }
  await sink.putBlob(descriptor, { open, isLocal: true, mountFrom: undefined }, signal)
  assert.equal(await has(), true)
  assert.equal(mock.callCount(), 3)
})
