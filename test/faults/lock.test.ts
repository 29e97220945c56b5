/** Another process that makes the same image in the same store, and stops, dies, or is slow. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { PullEvent } from '../../src/copy/events.ts'
import { Store } from '../../src/places/store/store.ts'
import { assertNoPartial, assertSound, assertTidy } from './aftermath.ts'
import { holdBack, makeNoise, type ServedImage, serveImage, trickle } from './image.ts'
import { type PullOptions, type PullProcess, runPull, startPull } from './pull-process.ts'

const row = { timeout: 90_000 }
const MiB = 1 << 20
const directory = mkdtempSync(join(tmpdir(), 'windlass-lock-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let rows = 0

function makePlace(): PullOptions {
  const base = join(directory, String(rows++))
  const place = { root: join(base, 'store'), temporary: join(base, 'tmp'), boundMs: 60_000 }
  mkdirSync(place.temporary, { recursive: true })
  return place
}

/** Others that do nothing are waited for two seconds, not half a minute. */
const patience: PullOptions['patience'] = { blame: { lockIdleMs: 2_000 } }

/** The library in a process of its own, which has begun to download. */
async function startFirst(image: ServedImage, place: PullOptions): Promise<PullProcess> {
  const first = startPull(image.reference, { ...place, patience: {} })
  await first.seen(event => event.type === 'progress' && event.bytesDownloaded > MiB)
  return first
}

type EventOf<T extends PullEvent['type']> = Extract<PullEvent, { type: T }>

function eventsOf<T extends PullEvent['type']>(events: readonly PullEvent[], type: T): EventOf<T>[] {
  return events.filter((event): event is EventOf<T> => event.type === type)
}

describe('a pull that finds another process at work on its image', { concurrency: true }, () => {
  test('names it after a second, and when it was stopped goes on beside it; both end well', row, async () => {
    const place = makePlace()
    const gate = Promise.withResolvers<void>()
    await using image = await serveImage([makeNoise('slow', 3 * MiB), makeNoise('other', MiB / 2)], {
      0: holdBack(MiB, gate.promise),
    })
    const first = await startFirst(image, place)
    const { pid = 0 } = first.child
    first.child.kill('SIGSTOP')
    try {
      gate.resolve()
      const { status, text, events } = await runPull(image.reference, { ...place, patience })
      assert.equal(status, 0, text)
      const [notice] = eventsOf(events, 'notice')
      const who = `pid ${pid} \\(windlass pull ${image.reference}, state T \\(stopped by a signal\\)\\)`
      assert.match(notice?.message ?? '', new RegExp(`^layer \\d is being made by ${who}; waiting for it$`))
      const stall = eventsOf(events, 'stall').find(({ stage }) => stage === 'lock')
      assert.equal(stall?.kind, 'stopped')
      assert.match(
        stall?.evidence[0] ?? '',
        new RegExp(`^lock \\(held by pid ${pid}, .*\\) has moved nothing for \\d+\\.`),
      )
      await assertSound(place.root, 1)
    } finally {
      first.child.kill('SIGCONT')
    }
    const resumed = await first.ended
    assert.equal(resumed.status, 0, resumed.text)
    assertTidy(place.root, place.temporary)
    assertNoPartial(place.root)
    await assertSound(place.root, 1)
  })

  test('takes over at once when the other is killed', row, async () => {
    const place = makePlace()
    const gate = Promise.withResolvers<void>()
    await using image = await serveImage([makeNoise('slow', 3 * MiB)], { 0: holdBack(MiB, gate.promise) })
    const first = await startFirst(image, place)
    const second = startPull(image.reference, place)
    await second.seen(({ type }) => type === 'notice')
    gate.resolve()
    first.child.kill('SIGKILL')
    const killedMs = performance.now()
    const { status, text, events } = await second.ended
    assert.equal(status, 0, text)
    assert.ok(performance.now() - killedMs < 25_000)
    assert.deepEqual(eventsOf(events, 'stall'), [])
    assert.ok((image.starts[0]?.[1] ?? 0) >= MiB, `it went on at ${image.starts[0]}`)
    // What the dead one left goes with the next session.
    await using store = await Store.open(place.root, { signal: AbortSignal.timeout(20_000) })
    await store.collectGarbage()
    assertTidy(place.root, place.temporary)
    await assertSound(place.root, 1)
  })

  test('waits for one that is slow, and downloads nothing itself', row, async () => {
    const place = makePlace()
    await using image = await serveImage([makeNoise('slow', 4 * MiB)], { 0: trickle(16 << 10) })
    const first = await startFirst(image, place)
    const { status, text, events } = await runPull(image.reference, { ...place, patience })
    assert.equal(status, 0, text)
    assert.equal(eventsOf(events, 'notice').length, 1)
    assert.deepEqual(eventsOf(events, 'stall'), [])
    assert.equal((await first.ended).status, 0)
    assert.deepEqual(image.starts, [[0]])
    await assertSound(place.root, 1)
  })
})
