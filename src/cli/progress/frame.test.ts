import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ending, layerEvent, recording, replay, resolvedEvent } from '../../../test/pull-recording.ts'
import { renderFrame, type Screen } from './frame.ts'
import { applyEvent, newPullState } from './state.ts'
import { textWidth } from './width.ts'

function screen(columns: number, rows = 24, unicode = true): Screen {
  return { columns, rows, unicode, style: (_name, text) => text }
}

test('120 columns show bars, sizes and the rates of both stages', () => {
  assert.deepEqual(renderFrame(replay(recording, 4000), screen(120), 4000), [
    '127.0.0.1:5000/app/core:2.4: aaaaaaaaaaaa linux/arm64/v8, 4 layers, 1.841GB',
    '010101010101: Already exists',
    '020202020202: Pull complete  26.66MB',
    '030303030303: Pulling        [=====================>                  ] 212.3MB/402MB     ↓ 55.9MB/s  unpack 168MB/s',
    '040404040404: Waiting        12MB',
    'Σ  239MB/440.7MB  ↓ 55.9MB/s  unpack 168MB/s  2/4 layers  eta 3.6s',
  ])
})

test('80 columns leave out the unpack rate of each layer', () => {
  assert.deepEqual(renderFrame(replay(recording, 4000), screen(80), 4000).slice(3), [
    '030303030303: Pulling        [=========>       ] 212.3MB/402MB     ↓ 55.9MB/s',
    '040404040404: Waiting        12MB',
    'Σ  239MB/440.7MB  ↓ 55.9MB/s  unpack 168MB/s  2/4 layers  eta 3.6s',
  ])
})

test('40 columns show a percentage', () => {
  assert.deepEqual(renderFrame(replay(recording, 4000), screen(40), 4000), [
    '127.0.0.1:5000/app/core:2.4: aaaaaaaaaa',
    '010101010101: Already exists',
    '020202020202: Pull complete  26.66MB',
    '030303030303: Pulling        52%',
    '040404040404: Waiting        12MB',
    'Σ  239MB/440.7MB  2/4 layers',
  ])
})

test('without UTF-8 all is ASCII', () => {
  const text = renderFrame(replay(recording, 4000), screen(120, 24, false), 4000).join('\n')
  assert.match(text, /^[\n\x20-\x7e]*$/)
  assert.match(text, /net 55.9MB\/s/)
})

test('what does not move for five seconds is told with its time', () => {
  const lines = renderFrame(replay(recording, 4000), screen(80), 16_000)
  assert.equal(lines[3], '030303030303: Pulling        212.3MB/402MB nothing moved for 12s')
  const syncing = renderFrame(replay([...recording, ...ending], 8300), screen(100), 14_300)
  assert.match(syncing[3] ?? '', /Syncing +402MB\/402MB waiting for the disk or a layer below for 6\.1s/)
})

test('before the registry has answered, it is named, with the time waited', () => {
  const state = newPullState('Pulling app', 0)
  assert.deepEqual(renderFrame(state, screen(80), 500), ['Pulling app'])
  assert.deepEqual(renderFrame(state, screen(80), 3200), ['Pulling app 3.2s'])
  applyEvent(state, { type: 'start', reference: 'app', registry: 'registry.example' }, 3200)
  assert.deepEqual(renderFrame(state, screen(80), 4000), ['Pulling app: waiting for registry.example 4.0s'])
})

test('at the end the last line sums up', () => {
  const lines = renderFrame(replay([...recording, ...ending], 9100), screen(80), 9100)
  assert.equal(lines.at(-1), 'Σ 440.7MB pulled in 9.1s (48.4MB/s) 13021 entries 4/4 layers')
})

test('with more layers than rows the finished ones are folded, then the waiting ones', () => {
  const state = newPullState('x', 0)
  applyEvent(state, resolvedEvent(Array.from({ length: 30 }, () => 1000)), 0)
  for (let layer = 0; layer < 20; layer++) applyEvent(state, layerEvent(layer, 'done', 1000), 1)
  for (let layer = 20; layer < 23; layer++) applyEvent(state, layerEvent(layer, 'pulling', 1000), 1)
  const lines = renderFrame(state, screen(60, 10), 100)
  assert.equal(lines.length, 7)
  assert.equal(lines[1], '20 layers complete')
  assert.match(lines[2] ?? '', /^151515151515: Pulling/)
  assert.equal(lines[5], '7 layers waiting')
  const roomy = renderFrame(state, screen(60, 14), 100)
  assert.equal(roomy.length, 13)
  assert.equal(roomy[1], '20 layers complete')
})

test('no line reaches the last column and no frame the last row, whatever the size of the screen', () => {
  for (const [events, at] of [
    [recording, 4000],
    [recording, 16_000],
    [[...recording, ...ending], 8300],
    [[...recording, ...ending], 9100],
  ] as const) {
    for (let columns = 2; columns < 200; columns++) {
      for (const rows of [2, 4, 6, 24]) {
        const lines = renderFrame(replay(events, at), screen(columns, rows), at)
        for (const line of lines) assert.ok(textWidth(line) < columns, `${columns} columns: ${line}`)
        assert.ok(lines.length < Math.max(rows, 4), `${rows} rows: ${lines.length} lines`)
      }
    }
  }
})

test('a reference from a registry cannot send a command to the terminal', () => {
  const state = newPullState('x', 0)
  applyEvent(
    state,
    { ...resolvedEvent([1]), reference: 'a\x1b[2Jb', platform: { os: '\x9b2J', architecture: '\x07' } },
    0,
  )
  assert.doesNotMatch(renderFrame(state, screen(80), 0).join(''), /[\x00-\x1f\x7f-\x9f]/)
})
