import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { PullEvent } from '../../src/copy/events.ts'
import { run, waitUntil } from '../testbed/command.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { assertSound, assertTidy, hasLeft } from './aftermath.ts'
import { holdBack, makeFile, makeLayer, makeManyFiles, makeNoise, serveImage } from './image.ts'
import { type PullOptions, runPull, startPull } from './pull-process.ts'

const MiB = 1 << 20
const row = { timeout: 90_000 }

const directory = mkdtempSync(join(tmpdir(), 'windlass-disk-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let rows = 0

/** A small filesystem with a store on it; temporary files go elsewhere. */
async function openPlace(sizeBytes: number): Promise<AsyncDisposable & { disk: string; place: PullOptions }> {
  const loop: LoopFilesystem = await openLoopFilesystem({ sizeBytes })
  const temporary = join(directory, String(rows++))
  mkdirSync(temporary)
  const place = { root: join(loop.directory, 'store'), temporary }
  return { disk: loop.directory, place, [Symbol.asyncDispose]: () => loop[Symbol.asyncDispose]() }
}

function bytesIn(path: string): number {
  return readdirSync(path).reduce((sum, name) => sum + statSync(join(path, name)).size, 0)
}

describe('a pull onto a disk', () => {
  test(
    'that has not the space for what is to be downloaded asks for no layer and says how much is missing',
    row,
    async () => {
      await using opened = await openPlace(64 * MiB)
      const { place } = opened
      await using image = await serveImage([{ ...makeNoise('file', 1000), size: 900 * MiB }])
      const { status, text, error } = await runPull(image.reference, place)
      assert.equal(status, 7, text)
      assert.match(error?.message ?? '', /^Cannot pull .*\b\d+ bytes are free; .*\b943718400, \d+ more$/)
      assert.equal(error?.facts['needed'], 900 * MiB)
      assert.ok(Number(error?.facts['free']) < 64 * MiB)
      assert.deepEqual(image.starts, [[]])
      assertTidy(place.root, place.temporary)
      await assertSound(place.root, 0)
    },
  )

  test(
    'that runs full in the middle keeps what came, and the next pull goes on there once there is room',
    row,
    async () => {
      await using opened = await openPlace(64 * MiB)
      const { place, disk } = opened
      await using image = await serveImage([makeNoise('file', 16 * MiB)])
      writeFileSync(join(disk, 'filler'), Buffer.alloc(34 * MiB, 'x'))
      const full = await runPull(image.reference, place)
      assert.equal(full.status, 7, full.text)
      assert.match(full.error?.message ?? '', /^Cannot .*(no space left|ENOSPC)/)
      const kept = bytesIn(join(place.root, 'partial'))
      assert.ok(kept > 4 * MiB, `${kept} bytes were kept`)
      assertTidy(place.root, place.temporary)
      await assertSound(place.root, 0)
      rmSync(join(disk, 'filler'))
      const { status, text } = await runPull(image.reference, place)
      assert.equal(status, 0, text)
      assert.equal(image.starts[0]?.at(-1), kept)
      assertTidy(place.root, place.temporary)
      await assertSound(place.root, 1)
    },
  )

  test('that has no inodes left ends with status 7, and downloads nothing again once there are some', row, async () => {
    await using opened = await openPlace(32 * MiB)
    const { place, disk } = opened
    await using image = await serveImage([makeManyFiles('file', 1500)])
    const fillers = join(disk, 'fillers')
    mkdirSync(fillers)
    for (let number = 0; number < 3000; number++) writeFileSync(join(fillers, String(number)), '')
    const full = await runPull(image.reference, place)
    assert.equal(full.status, 7, full.text)
    assert.match(full.error?.message ?? '', /^Cannot unpack entry "file-\d+": /)
    assertTidy(place.root, place.temporary)
    rmSync(fillers, { recursive: true })
    const { status, text } = await runPull(image.reference, place)
    assert.equal(status, 0, text)
    assert.ok(image.starts[0]?.slice(1).every(start => start > 0))
    await assertSound(place.root, 1)
  })

  test('that is read-only ends with status 7 and says so', row, async () => {
    await using opened = await openPlace(64 * MiB)
    const { place, disk } = opened
    await using image = await serveImage([makeNoise('file', MiB)])
    await assertSound(place.root, 0)
    await run('mount', ['-o', 'remount,ro', disk])
    const { status, text, error } = await runPull(image.reference, place)
    assert.equal(status, 7, text)
    assert.match(error?.message ?? '', /^Cannot .*(read-only|readonly)/i)
    assert.deepEqual(image.starts, [[]])
    await run('mount', ['-o', 'remount,rw', disk])
    assertTidy(place.root, place.temporary)
    assert.equal((await runPull(image.reference, place)).status, 0)
  })
})

/** The disk is named after a second and a half, and waited for two more; the network would be accused earlier. */
const patience: PullOptions['patience'] = {
  diskMs: 2_000,
  blame: { diskIdleMs: 1_500, sourceIdleMs: 1_500, decompressorIdleMs: 1_500, unexplainedMs: 9_000 },
}

/** Nothing can be written to it while `work` runs; thawed in any case. */
async function whileFrozen<T>(disk: string, work: () => Promise<T>): Promise<T> {
  await run('fsfreeze', ['-f', disk])
  try {
    return await work()
  } finally {
    await run('fsfreeze', ['-u', disk])
  }
}

/** Time to be named, time to answer, time to close what is open; and a machine that has other things to do. */
const boundMs = 40_000

type Stall = Extract<PullEvent, { type: 'stall' }>

describe('a pull onto a disk that is frozen', { concurrency: true }, () => {
  const manyFiles = makeManyFiles('file', 12_000)
  const text = makeLayer([makeFile('file', Buffer.alloc(MiB, 'text '))])
  const entryEvidence =
    /state D .* in percpu_rwsem_wait, .*\n.* frozen .*\(fsfreeze\)\n(.*\n)*it works on entry file-\d+/
  const cases = [
    {
      name: 'while a layer is unpacked, under the command with its own patience, names the entry',
      layer: manyFiles,
      held: manyFiles.blob.length >> 1,
      unpacked: 1,
      stage: 'unpack',
      evidence: entryEvidence,
      options: { stallTimeout: 2 },
      // Half a minute until it is named.
      boundMs: 80_000,
    },
    {
      name: 'while a layer is unpacked names the entry',
      layer: manyFiles,
      held: manyFiles.blob.length >> 1,
      unpacked: 1,
      stage: 'unpack',
      evidence: entryEvidence,
      options: { patience },
      boundMs,
    },
    {
      name: 'when all is unpacked names the sync',
      layer: text,
      held: 4,
      unpacked: text.tar.length,
      stage: 'sync',
      evidence: /^sync \(.*\/diff\) has moved nothing for \d+\.\d s[\s\S]*state D/,
      options: { patience },
      boundMs,
    },
  ]
  for (const { name, layer, held, unpacked, stage, evidence, options, boundMs } of cases) {
    test(`${name}, ends with status 5, and goes on when it thaws`, row, async () => {
      await using opened = await openPlace(128 * MiB)
      const { place, disk } = opened
      const gate = Promise.withResolvers<void>()
      await using image = await serveImage([layer], { 0: holdBack(held, gate.promise) })
      const pull = startPull(image.reference, { ...place, ...options, boundMs: 2 * boundMs })
      await pull.seen(event => event.type === 'progress' && event.bytesUnpacked >= unpacked)
      await whileFrozen(disk, async () => {
        gate.resolve()
        // The command has a front, which leaves whatever the kernel holds; a program that uses the library cannot be reaped yet.
        if ('stallTimeout' in options) assert.equal((await pull.ended).status, 5)
        else await waitUntil('it has left', boundMs, () => hasLeft(pull.child.pid ?? 0))
        // It may be gone before its last words are read.
        await waitUntil('it has told why', boundMs, () => pull.error() !== undefined)
        assert.equal(pull.error()?.code, 'STALLED')
      })
      const stuck = await pull.ended
      assert.equal(stuck.status, 5, stuck.text)
      const stalls = stuck.events.filter((event): event is Stall => event.type === 'stall')
      assert.deepEqual([...new Set(stalls.map(event => event.stage))], [stage], JSON.stringify(stalls))
      assert.match(stalls[0]?.evidence.join('\n') ?? '', evidence)
      const message = `Cannot go on with layer 1: stage ${stage} stands still; `
      assert.ok(stuck.error?.message.startsWith(message), stuck.text)
      await assertSound(place.root, 0)
      const { status, text } = await runPull(image.reference, place)
      assert.equal(status, 0, text)
      assertTidy(place.root, place.temporary)
      await assertSound(place.root, 1)
    })
  }
})
