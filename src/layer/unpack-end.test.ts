import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildTar, paxEntry, type RawEntry, rawEntry } from '../../test/tar-builder.ts'
import { TestDirectory } from '../../test/unpack-tar.ts'
import { isWindlassError } from '../errors.ts'
import { defaultTarLimits } from '../tar/entry.ts'
import { openUnpack, type Unpack, UnpackThreads } from './unpack.ts'

/** Far above what an end takes, far below a hang. */
const endMs = 3_000

async function bounded<T>(what: Promise<T>): Promise<T> {
  const timer = new AbortController()
  const late = sleep(endMs, undefined, { signal: timer.signal }).then(() => assert.fail(`not done after ${endMs} ms`))
  late.catch(() => {})
  try {
    return await Promise.race([what, late])
  } finally {
    timer.abort()
  }
}

function open(directory: TestDirectory, signal: AbortSignal): Promise<Unpack> {
  return openUnpack({ directory: directory.path, mode: 'overlay', signal })
}

const files: RawEntry[] = Array.from({ length: 2000 }, (_, n) => ({ name: `d/${n}`, data: 'x'.repeat(700) }))

test('an abort ends an unpack that waits for input', async () => {
  using directory = new TestDirectory()
  const controller = new AbortController()
  await using unpack = await open(directory, controller.signal)
  await unpack.write(rawEntry({ name: 'a' }))
  const ended = bounded(unpack.end())
  controller.abort()
  await assert.rejects(ended, error => isWindlassError(error, 'CANCELLED'))
  await assert.rejects(bounded(unpack.write(Buffer.alloc(512))), error => isWindlassError(error, 'CANCELLED'))
})

test('an abort ends an unpack in the midst of work, and nothing is made after its end', async () => {
  using directory = new TestDirectory()
  const controller = new AbortController()
  const unpack = await open(directory, controller.signal)
  const tar = buildTar(files, { end: false })
  const writing = (async () => {
    while (true) await unpack.write(tar)
  })()
  while (unpack.entries < 100) await sleep(1)
  controller.abort()
  await assert.rejects(bounded(writing), error => isWindlassError(error, 'CANCELLED'))
  await bounded(unpack[Symbol.asyncDispose]())
  const { entries } = unpack
  await sleep(50)
  assert.equal(unpack.entries, entries)
})

test('what is aborted before it begins does not begin', async () => {
  using directory = new TestDirectory()
  const controller = new AbortController()
  const opening = open(directory, controller.signal)
  controller.abort(new Error('changed my mind'))
  await assert.rejects(opening, /changed my mind/)
  await assert.rejects(open(directory, controller.signal), /changed my mind/)
})

test('disposing ends a write that waits for room, and the thread', async () => {
  using directory = new TestDirectory()
  const unpack = await open(directory, new AbortController().signal)
  const writing = bounded(
    (async () => {
      while (true) await unpack.write(Buffer.alloc(1024 * 1024))
    })(),
  )
  writing.catch(() => {})
  await unpack[Symbol.asyncDispose]()
  await assert.rejects(writing, error => isWindlassError(error, 'CANCELLED'))
  await assert.rejects(bounded(unpack.end()), error => isWindlassError(error, 'CANCELLED'))
  await bounded(unpack[Symbol.asyncDispose]())
})

test('a refusal reaches whoever writes on, and whoever ends', async () => {
  using directory = new TestDirectory()
  await using unpack = await open(directory, new AbortController().signal)
  const bad = Buffer.concat([rawEntry({ name: 'ok' }), rawEntry({ name: 'x', checksum: 'bad' }), Buffer.alloc(65536)])
  const writing = (async () => {
    while (true) await unpack.write(bad)
  })()
  await assert.rejects(bounded(writing), error => isWindlassError(error, 'CORRUPT'))
  await assert.rejects(bounded(unpack.end()), error => isWindlassError(error, 'CORRUPT'))
})

test('a thread that needs more memory than it may have is an error, not a hang', async () => {
  using directory = new TestDirectory()
  const body = Buffer.concat(Array.from({ length: 400_000 }, (_, n) => Buffer.from(`14 ${`${n}`.padStart(9, 'k')}=\n`)))
  await using unpack = await openUnpack({
    directory: directory.path,
    mode: 'overlay',
    signal: new AbortController().signal,
    limits: { ...defaultTarLimits, paxMax: body.length },
    threads: new UnpackThreads(8),
  })
  const unpacking = unpack.write(buildTar([paxEntry(body), { name: 'x' }])).then(() => unpack.end())
  await assert.rejects(
    unpacking,
    error => isWindlassError(error, 'LIMIT_EXCEEDED') && /more memory/.test(error.message),
  )
})

test('a directory that is not there, or none, is an error', async () => {
  using directory = new TestDirectory()
  const signal = new AbortController().signal
  for (const name of ['missing', 'missing/too']) {
    const opening = openUnpack({ directory: join(directory.path, name), mode: 'overlay', signal })
    await assert.rejects(bounded(opening), { code: 'ENOENT' })
  }
})

test('what is open is closed again: after an end, a refusal and an abort', async () => {
  using directory = new TestDirectory()
  const held = (): string[] =>
    readdirSync('/proc/self/fd').flatMap(fd => {
      try {
        const target = readlinkSync(`/proc/self/fd/${fd}`)
        return target.startsWith(directory.path) ? [target] : []
      } catch {
        return []
      }
    })
  const endings: ((unpack: Unpack) => Promise<unknown>)[] = [
    async unpack => {
      await unpack.write(buildTar([{ name: 'd/f' }]))
      await unpack.end()
    },
    async unpack => {
      await unpack.write(buildTar([{ name: 'd/f' }, { name: 'd/g', checksum: 'bad' }]))
      await assert.rejects(unpack.end())
    },
    // Within the content of a file, which is open then.
    async unpack => {
      await unpack.write(buildTar([{ name: 'd/f' }, { name: 'd/g', size: 100_000, data: 'x' }], { end: false }))
      while (unpack.entries < 2) await sleep(1)
    },
  ]
  for (const ending of endings) {
    const unpack = await open(directory, new AbortController().signal)
    await ending(unpack)
    await unpack[Symbol.asyncDispose]()
    assert.deepEqual(held(), [])
  }
})

test('many unpacks at a time keep to their directories, and the process to its root', async () => {
  using directory = new TestDirectory()
  const tar = buildTar(files.slice(0, 300))
  const unpackInto = async (name: string): Promise<void> => {
    const path = join(directory.path, name)
    mkdirSync(path)
    await using unpack = await openUnpack({ directory: path, mode: 'overlay', signal: new AbortController().signal })
    for (let at = 0; at < tar.length; at += 30_000) {
      await unpack.write(tar.subarray(at, at + 30_000))
      assert.ok((await readFile('/proc/self/mounts')).length > 0)
      assert.equal(lstatSync(path).isDirectory(), true)
    }
    await unpack.end()
    assert.equal(unpack.bytesUnpacked, tar.length)
  }
  const names = ['a', 'b', 'c', 'e']
  await Promise.all(names.map(unpackInto))
  assert.deepEqual(readdirSync(directory.path).sort(), names)
  for (const name of names) {
    assert.equal(readdirSync(join(directory.path, name, 'd')).length, 300)
    assert.equal(readFileSync(join(directory.path, name, 'd/7'), 'utf8').length, 700)
  }
})

test('a thread goes on to the next layer after a good one, a refused one and an abandoned one, and sees nothing of those before', async () => {
  using directory = new TestDirectory()
  using threads = new UnpackThreads()
  const tids = new Set<number>()
  const layers: RawEntry[][] = [
    [{ name: 'a' }, { name: 'way', typeflag: '2', linkname: '/' }],
    [{ name: 'b' }, { name: 'x', checksum: 'bad' }],
    [{ name: 'c' }, { name: 'big', size: 100_000, data: 'x' }],
    // Names that stand in the layers before, and would lead there.
    [{ name: 'way/d' }, { name: 'e', typeflag: '1', linkname: 'way/d' }],
  ]
  for (const [n, layer] of layers.entries()) {
    const path = join(directory.path, `${n}`)
    mkdirSync(path)
    await using unpack = await openUnpack({
      directory: path,
      mode: 'overlay',
      threads,
      signal: new AbortController().signal,
    })
    await unpack.write(buildTar(layer, { end: n !== 2 }))
    if (n === 2) while (unpack.entries < 2) await sleep(1)
    else await unpack.end().catch(() => {})
    tids.add(unpack.tid)
  }
  assert.equal(tids.size, 1)
  const names = layers.map((_, n) => readdirSync(join(directory.path, `${n}`)).sort())
  assert.deepEqual(names, [['a', 'way'], ['b'], ['big', 'c'], ['e', 'way']])
})
