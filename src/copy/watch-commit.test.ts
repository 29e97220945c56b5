import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PullEvent } from './events.ts'
import { Stuck } from './stuck.ts'
import { watchCommit } from './watch-commit.ts'

const never = new AbortController().signal

function makeContext(events: PullEvent[], diskMs: number) {
  const options = { patience: { blame: { diskIdleMs: 500 } } }
  return {
    options,
    signal: never,
    emit: (event: PullEvent) => events.push(event),
    stuck: new Stuck(diskMs),
    startedMs: 0,
  }
}

test('a document that is not written in time is named, and ends the pull', { timeout: 30_000 }, async () => {
  const events: PullEvent[] = []
  const context = makeContext(events, 200)
  const hanging = Promise.withResolvers<void>()
  const working = watchCommit(context, async commit => {
    await commit('document sha256:aa', Promise.resolve())
    await commit('document sha256:bb', hanging.promise)
  })
  // The watch is no reason for a process to stay.
  const stay = setInterval(() => {}, 1000)
  await assert.rejects(context.stuck.given, {
    code: 'STALLED',
    message: /^Cannot go on with the image: stage commit stands still; commit \(document sha256:bb\) has moved nothing/,
  })
  clearInterval(stay)
  assert.deepEqual(
    events.map(event => event.type === 'stall' && [event.layer, event.stage, event.kind]),
    [[undefined, 'commit', 'stuck-commit']],
  )
  hanging.resolve()
  await working
})

test('documents that are written one after the other are no stall, however long all of them take', async () => {
  const events: PullEvent[] = []
  await watchCommit(makeContext(events, 200), async commit => {
    for (let count = 0; count < 10; count++)
      await commit(`document ${count}`, new Promise(resolve => setTimeout(resolve, 100)))
  })
  assert.deepEqual(events, [])
})
