import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { recording } from '../../../test/pull-recording.ts'
import { openProgress } from './progress.ts'

function newStream(options: { isTTY?: boolean } = {}) {
  const written: string[] = []
  return { written, columns: 80, rows: 24, ...options, write: (text: string) => written.push(text) > 0 }
}

function play(
  mode: 'tty' | 'plain' | 'json' | 'none',
  env = {},
  logLevel: 'info' | 'error' = 'info',
  isTTY = true,
): string {
  const stream = newStream({ isTTY })
  {
    using progress = openProgress('Pulling app', { mode, stream, env, logLevel })
    for (const { event } of recording) progress.handle(event)
  }
  return stream.written.join('')
}

test('json gives every event as one line', () => {
  const lines = play('json').trimEnd().split('\n')
  assert.deepEqual(
    lines.map(line => JSON.parse(line)),
    recording.map(({ event }) => event),
  )
  assert.doesNotMatch(play('json'), /\x1b/)
})

test('none tells warnings only, and those not when only errors are wanted', () => {
  assert.equal(play('none'), 'warning: tried again[2J after 503\n')
  assert.equal(play('none', {}, 'error'), '')
  assert.doesNotMatch(play('plain', {}, 'error'), /warning/)
  assert.match(play('json', {}, 'error'), /warning/)
})

test('a terminal gets colours unless NO_COLOR is set, and arrows if its locale is UTF-8', () => {
  const colour = /\x1b\[\d+m/
  assert.match(play('tty', { LANG: 'zh_CN.UTF-8' }), colour)
  assert.match(play('tty', { LANG: 'zh_CN.UTF-8' }), /Σ/)
  assert.doesNotMatch(play('tty', { LANG: 'zh_CN.UTF-8', LC_ALL: 'C' }), /Σ/)
  assert.doesNotMatch(play('tty', { NO_COLOR: '1' }), colour)
  assert.doesNotMatch(play('tty', {}, 'info', false), colour)
  assert.doesNotMatch(play('plain'), /\x1b/)
})

test('the display moves on its own, and stops with its end', async () => {
  const stream = newStream()
  {
    using _progress = openProgress('Verifying', { mode: 'tty', stream, env: {}, logLevel: 'info' })
    await sleep(250)
    assert.ok(stream.written.length > 0)
  }
  const { length } = stream.written
  await sleep(250)
  assert.equal(stream.written.length, length)
})
