/** Several processes at work in one store at once, some of which die. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Store } from '../../src/places/store/store.ts'
import type { Fault } from '../servers/faulty-registry.ts'
import { type CommandResult, collectResult, waitUntil } from '../testbed/command.ts'
import { assertSound, assertTidy, listNames } from './aftermath.ts'
import { isLong, openRandom, seed, steadyEnvironment, windlassCommand } from './death.ts'
import { type MadeLayer, makeNoise, type ServedImage, serveImage, trickle } from './image.ts'
import { startPull as followPull } from './pull-process.ts'

const KiB = 1024
const directory = mkdtempSync(join(tmpdir(), 'windlass-crowd-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let stores = 0

interface Running {
  readonly result: Promise<CommandResult>
  kill(signal: NodeJS.Signals): void
}

function startPull(root: string, reference: string): Running {
  const command = windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', reference)
  const [program = '', ...args] = command
  const child = spawn(program, args, { env: steadyEnvironment, stdio: ['ignore', 'pipe', 'pipe'] })
  return { result: collectResult(child), kill: signal => void child.kill(signal) }
}

/** Two layers that all images stand on, one that all have on top, and one of its own for each; no two blobs of one size. */
function makeCrowd(count: number): { layers: MadeLayer[]; images: MadeLayer[][] } {
  const noise = (at: number) => makeNoise(`noise-${at}`, 600 * KiB + at * 999)
  const [first, second, top] = [noise(0), noise(1), noise(2)] as const
  const own = Array.from({ length: count }, (_, at) => noise(3 + at))
  return { layers: [first, second, top, ...own], images: own.map(layer => [first, second, layer, top]) }
}

function serveCrowd(count: number): Promise<ServedImage> {
  const { layers, images } = makeCrowd(count)
  return serveImage(layers, Object.fromEntries(layers.map((_, at) => [at, trickle(32 * KiB)])), images)
}

async function gc(root: string, partialIdleMs?: number): Promise<void> {
  await using store = await Store.open(root, { signal: AbortSignal.timeout(60_000) })
  await store.collectGarbage(partialIdleMs === undefined ? {} : { partialIdleMs })
}

async function assertClean(root: string, images: number): Promise<void> {
  await gc(root, 0)
  await assertSound(root, images)
  assertTidy(root, join(root, 'ingest'))
  assert.deepEqual(listNames(join(root, 'partial')), [])
}

describe('a store with many at work', { concurrency: false }, () => {
  test('eight pulls of images with common layers fetch each blob once', { timeout: 120_000 }, async () => {
    await using crowd = await serveCrowd(8)
    const root = join(directory, `store-${stores++}`)
    const pulls = crowd.references.map(reference => startPull(root, reference))
    for (const { result } of pulls) assert.equal((await result).status, 0, (await result).stderr)
    assert.deepEqual(
      crowd.starts,
      crowd.layers.map(() => [0]),
    )
    await assertClean(root, 8)
  })

  const rounds = isLong ? 30 : 1
  test(`when one of the eight is killed, all others are right (${rounds} times)`, { timeout: 600_000 }, async t => {
    const random = openRandom('crowd')
    for (let round = 0; round < rounds; round++) {
      await using crowd = await serveCrowd(8)
      const root = join(directory, `store-${stores++}`)
      const pulls = crowd.references.map(reference => startPull(root, reference))
      const victim = pulls[Math.floor(random() * pulls.length)] as Running
      await waitUntil('the first bytes are on their way', 240_000, () => crowd.registry.bytesServed() > 0)
      await sleep(random() * 1500)
      victim.kill('SIGKILL')
      for (const pull of pulls) {
        const { status, signal, stderr } = await pull.result
        assert.ok(status === 0 || (pull === victim && signal === 'SIGKILL'), stderr)
      }
      const again = crowd.starts.filter(starts => starts.length > 1)
      // what the dead one was fetching: at most three layers at a time on two cores, and its own
      assert.ok(again.every(({ length }) => length === 2) && again.length <= 6, JSON.stringify(crowd.starts))
      const { status } = await victim.result
      if (status !== 0)
        assert.equal((await startPull(root, crowd.references[pulls.indexOf(victim)] ?? '').result).status, 0)
      await assertClean(root, 8)
      rmSync(root, { recursive: true })
    }
    t.diagnostic(`${rounds} pulls of a crowd killed (seed ${seed})`)
  })

  test('gc and rmi beside pulls take nothing that is in use', { timeout: 120_000 }, async t => {
    await using crowd = await serveCrowd(4)
    const root = join(directory, `store-${stores++}`)
    const [gone = '', ...others] = crowd.references
    assert.equal((await startPull(root, gone).result).status, 0)
    const pulls = others.map(reference => startPull(root, reference))
    const all = Promise.all(pulls.map(({ result }) => result))
    let [isDone, collections] = [false, 0]
    void all.then(() => {
      isDone = true
    })
    await sleep(300)
    await using store = await Store.open(root, { signal: AbortSignal.timeout(60_000) })
    await store.removeImage(gone)
    for (; !isDone; collections++) await gc(root, 0)
    for (const { status, stderr } of await all) assert.equal(status, 0, stderr)
    t.diagnostic(`${collections} collections beside three pulls`)
    assert.ok(collections > 0)
    await assertClean(root, 3)
    // the removed image's own layer alone is gone
    assert.equal(listNames(join(root, 'blobs', 'sha256')).length, 3 + 3 + 2 * 3)
  })

  test("who waits for another's download leaves when told to, and takes over when the other dies", {
    timeout: 120_000,
  }, async () => {
    // Slow enough for others to come, also on a busy machine, and no longer than that; too small to be asked for in ranges.
    let isSlow = true
    const slowly: Fault = async exchange => {
      exchange.head()
      let at = 0
      for (; at < exchange.bytes.length && isSlow; at += 8 * KiB) {
        await exchange.send(exchange.bytes.subarray(at, at + 8 * KiB))
        await sleep(20)
      }
      await exchange.send(exchange.bytes.subarray(at))
      exchange.response.end()
    }
    const layers = [makeNoise('slow', 15 << 20)]
    await using image = await serveImage(layers, { 0: slowly })
    const root = join(directory, `store-${stores++}`)
    const first = startPull(root, image.reference)
    await waitUntil('some of it is in the partial', 60_000, () => image.registry.bytesServed() > 1.5 * (1 << 20))
    const place = { root, temporary: join(directory, 'tmp'), boundMs: 100_000 }
    const [leaver, heir] = [followPull(image.reference, place), followPull(image.reference, place)]
    for (const { seen } of [leaver, heir])
      await seen(event => event.type === 'notice' && event.message.includes('is being made by'))
    const left = await leaver.interrupt()
    assert.equal(left.status, 130, left.text)
    assert.equal(image.starts[0]?.length, 1)
    first.kill('SIGKILL')
    await first.result
    isSlow = false
    const { status, text } = await heir.ended
    assert.equal(status, 0, text)
    const [starts = []] = image.starts
    assert.equal(starts.length, 2)
    assert.ok((starts[1] ?? 0) >= 1 << 20, `it went on at ${starts[1]}`)
    await assertClean(root, 1)
  })
})
