import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { plantBroken } from '../broken-decompressors/plant.ts'
import { silentAfter } from '../servers/faulty-registry.ts'
import { run, waitUntil } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import {
  assertSound,
  assertTidy,
  blobPath,
  bytesWritten,
  hasLeft,
  hasThreadInD,
  killGroups,
  listGroupMembers,
  programOf,
} from './aftermath.ts'
import { holdBack, type MadeLayer, makeFile, makeLayer, makeManyFiles, makeNoise, serveImage } from './image.ts'
import { type PullEnd, type PullOptions, runPull, startPull } from './pull-process.ts'

const row = { timeout: 180_000 }
/** A busy machine takes its time, but nobody waits for a disk or a network that does not answer. */
const leaveMs = 30_000

const directory = mkdtempSync(join(tmpdir(), 'windlass-cancel-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let rows = 0

function makePlace(): PullOptions & { readonly programs: string } {
  const base = join(directory, String(rows++))
  const place = { root: join(base, 'store'), temporary: join(base, 'tmp'), programs: join(base, 'bin') }
  for (const path of [place.temporary, place.programs]) mkdirSync(path, { recursive: true })
  return place
}

async function assertLeft({ status, text, tookMs }: PullEnd, { root, temporary }: PullOptions, images = 0) {
  assert.equal(status, 130, text)
  assert.doesNotMatch(text, /left behind/)
  assert.ok(tookMs < leaveMs, `took ${tookMs} ms`)
  assertTidy(root, temporary)
  await assertSound(root, images)
}

/** The next pull, from whoever serves the image now. */
async function assertNextPull(layers: Parameters<typeof serveImage>[0], place: PullOptions): Promise<number[][]> {
  await using image = await serveImage(layers)
  const { status, text } = await runPull(image.reference, { ...place, decompressor: 'builtin' })
  assert.equal(status, 0, text)
  assertTidy(place.root, place.temporary)
  await assertSound(place.root, 1)
  return image.starts.map(starts => [...starts])
}

/** Waits for something that never comes: no bound but that of the test. */
const never = new Promise<never>(() => {})

function readGroup(list: string): number {
  return Number(readFileSync(list, 'utf8'))
}

describe('Ctrl-C ends a pull with status 130 and nothing half-made, and the next one completes,', () => {
  test('while the registry does not answer', row, async () => {
    const place = makePlace()
    const asked = Promise.withResolvers<void>()
    const silent = createServer(socket => void socket.on('error', () => {}).once('data', () => asked.resolve()))
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
    await using _server = { [Symbol.asyncDispose]: () => new Promise<void>(done => silent.close(() => done())) }
    const address = silent.address()
    const pull = startPull(`127.0.0.1:${typeof address === 'object' ? address?.port : ''}/team/app:v1`, place)
    await asked.promise
    await assertLeft(await pull.interrupt(), place)
    await assertNextPull([makeNoise('file', 100_000)], place)
  })

  test('while a layer is downloaded, of which nothing comes again', row, async () => {
    const place = makePlace()
    const layers = [makeNoise('file', 6_000_000)]
    await using image = await serveImage(layers, { 0: silentAfter(4_000_000) })
    const pull = startPull(image.reference, place)
    await pull.seen(event => event.type === 'progress' && event.bytesDownloaded === 4_000_000)
    await assertLeft(await pull.interrupt(), place)
    assert.deepEqual(await assertNextPull(layers, place), [[4_000_000]])
  })

  test('while an external decompressor is stuck', row, async () => {
    const place = makePlace()
    const layers = [makeNoise('file', 3_000_000)]
    await using image = await serveImage(layers)
    const broken = await plantBroken(place.programs, 'ignore-sigterm', 'broken')
    const list = join(place.programs, 'groups')
    const script = `#!/bin/sh\necho $$ >>'${list}'\nexec '${broken}' "$@"\n`
    writeFileSync(join(place.programs, 'unpigz'), script, { mode: 0o755 })
    const pull = startPull(image.reference, { ...place, decompressor: 'unpigz' })
    await waitUntil('it is stuck', 60_000, () => existsSync(list) && bytesWritten(readGroup(list)) >= 300_000)
    const groups = [readGroup(list)]
    using _killer = { [Symbol.dispose]: () => killGroups(groups) }
    assert.equal(listGroupMembers(groups).length, 1)
    await assertLeft(await pull.interrupt(), place)
    assert.deepEqual(listGroupMembers(groups), [])
    await assertNextPull(layers, place)
  })

  test('while a layer is unpacked', row, async () => {
    const place = makePlace()
    const layers = [makeManyFiles('file', 40_000)]
    await using image = await serveImage(layers)
    const pull = startPull(image.reference, place)
    await pull.seen(event => event.type === 'progress' && event.entries > 1_000)
    await assertLeft(await pull.interrupt(), place)
    await assertNextPull(layers, place)
  })

  test('while the disk syncs', row, async () => {
    const layer = makeLayer([makeFile('file', Buffer.alloc(4 << 20, 'a line of text\n'))])
    await using frozen = await openFrozen(layer, { held: 4, unpacked: layer.tar.length })
    const { pull, place, thaw } = frozen
    await pull.seen(event => event.type === 'layer' && event.phase === 'syncing')
    const left = pull.interrupt()
    await sleep(300)
    await thaw()
    await assertLeft(await left, place)
    await assertNextPull([layer], place)
  })

  test('while a layer waits for the one below it to be published; what is verified stays', row, async () => {
    const place = makePlace()
    const above = makeNoise('above', 1_000_000)
    const layers = [makeNoise('below', 3_000_000), above]
    await using image = await serveImage(layers, { 0: holdBack(1_000_000, never) })
    const pull = startPull(image.reference, place)
    await pull.seen(event => event.type === 'layer' && event.layer === 1 && event.phase === 'syncing')
    await waitUntil('its blob is committed', 60_000, () => existsSync(blobPath(place.root, above.blob)))
    await assertLeft(await pull.interrupt(), place)
    const [startsBelow, startsAbove] = await assertNextPull(layers, place)
    assert.ok(startsBelow?.every(start => start > 1_000_000))
    assert.deepEqual(startsAbove, [])
  })

  test('while the disk does not answer, though the kernel keeps the program until it does', row, async () => {
    const layer = makeManyFiles('file', 12_000)
    await using frozen = await openFrozen(layer, { held: layer.blob.length >> 1, unpacked: 1 })
    const { pull, place, thaw } = frozen
    const program = programOf(pull.child.pid ?? 0) ?? 0
    await waitUntil('its thread is stuck', 60_000, () => hasThreadInD(program))
    const { status, text, tookMs } = await pull.interrupt()
    assert.equal(status, 130, text)
    assert.ok(tookMs < leaveMs, `took ${tookMs} ms`)
    assert.ok(hasThreadInD(program))
    await thaw()
    await waitUntil('the kernel has let it go', 60_000, () => hasLeft(program))
    await assertNextPull([layer], place)
  })
})

/** A pull onto a disk that is frozen once so many bytes are unpacked; the last `held` bytes of the blob follow then. */
async function openFrozen(layer: MadeLayer, { held, unpacked }: { held: number; unpacked: number }) {
  await using stack = new AsyncDisposableStack()
  const loop = stack.use(await openLoopFilesystem({ sizeBytes: 128 << 20 }))
  const place = { ...makePlace(), root: join(loop.directory, 'store') }
  const gate = Promise.withResolvers<void>()
  const image = stack.use(await serveImage([layer], { 0: holdBack(held, gate.promise) }))
  const pull = startPull(image.reference, { ...place, boundMs: 120_000 })
  await pull.seen(event => event.type === 'progress' && event.bytesUnpacked >= unpacked)
  await run('fsfreeze', ['-f', loop.directory])
  let isFrozen = true
  const thaw = async () => {
    if (isFrozen) await run('fsfreeze', ['-u', loop.directory])
    isFrozen = false
  }
  stack.defer(thaw)
  gate.resolve()
  const kept = stack.move()
  return { pull, place, thaw, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}
