import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ending, layerEvent, type Recorded, recording, resolvedEvent } from '../../../test/pull-recording.ts'
import { newPlainView } from './plain.ts'

function play(events: readonly Recorded[], until: number): { text: string; at: number }[] {
  const view = newPlainView('Pulling app', 0)
  const written: { text: string; at: number }[] = []
  const write = (text: string, at: number) => {
    for (const line of text.split('\n').filter(part => part !== '')) written.push({ text: line, at })
  }
  for (let now = 0; now <= until; now += 10) {
    for (const { at, event } of events) if (at === now) write(view.handle(event, now), now)
    write(view.tick(now), now)
  }
  write(view.close(until), until)
  return written
}

test('each change of state is a line', () => {
  assert.deepEqual(
    play([...recording, ...ending], 9500).map(({ text }) => text),
    [
      '127.0.0.1:5000/app/core:2.4: Pulling from 127.0.0.1:5000',
      `Found sha256:${'aa'.repeat(32)} for linux/arm64/v8: 4 layers, 1.841GB`,
      '010101010101: Already exists',
      '020202020202: Pulling 26.66MB',
      '030303030303: Pulling 402MB',
      '020202020202: Pull complete 26.66MB in 1.6s',
      'warning: tried again[2J after 503',
      '7.5s: 239MB/440.7MB, net 0B/s, unpack 0B/s, 2/4 layers (030303030303 pulling)',
      '040404040404: Pulling 12MB',
      '030303030303: Pull complete 402MB in 8.7s',
      '040404040404: Pull complete 12MB in 0.7s',
      'Pulled 440.7MB, 13021 entries in 9.1s',
    ],
  )
})

test('it is never silent for more than five seconds, nor sums up more often', () => {
  const silent = play(recording.slice(0, 6), 30_000)
  for (const [index, { at }] of silent.entries()) {
    const before = silent[index - 1]?.at ?? 0
    if (at > 210) assert.equal(at - before, 5000)
  }
  assert.equal(silent.at(-1)?.at, 25_210)
  assert.match(silent.at(-1)?.text ?? '', /nothing moved for 25s \(020202020202 pulling, 030303030303 pulling\)/)
})

test('before the registry answers, it is named', () => {
  const lines = play([{ at: 1000, event: { type: 'start', reference: 'app', registry: 'registry.example' } }], 6000)
  assert.equal(lines.at(-1)?.text, 'Pulling app: waiting for registry.example, 6.0s')
  assert.equal(play([], 5000).at(-1)?.text, 'Pulling app: 5.0s')
})

test('a pull that changes nothing says so by its layers only', () => {
  const events = [
    { at: 0, event: resolvedEvent([1000]) },
    { at: 0, event: layerEvent(0, 'exists', 1000) },
  ]
  assert.deepEqual(
    play(events, 100).map(({ text }) => text.slice(0, 30)),
    ['Found sha256:aaaaaaaaaaaaaaaaa', '010101010101: Already exists'],
  )
})
