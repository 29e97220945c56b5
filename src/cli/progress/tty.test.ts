import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ending, type Recorded, recording } from '../../../test/pull-recording.ts'
import type { Screen } from './frame.ts'
import { newTtyView } from './tty.ts'
import type { View } from './view.ts'

function plainScreen(columns: number): Screen {
  return { columns, rows: 24, unicode: true, style: (_name, text) => text }
}

/** What a terminal shows after this text: line feeds, carriage returns, cursor up and two ways to erase are all it must know. */
function showTerminal(text: string): string[] {
  const lines: string[] = ['']
  let row = 0
  let column = 0
  for (const [token] of text.matchAll(/\x1b\[\d*[A-Z]|[\r\n]|[^\x1b\r\n]+/g)) {
    const line = lines[row] ?? ''
    if (token === '\n') lines[++row] ??= ''
    else if (token === '\x1b[K') lines[row] = line.slice(0, column)
    else if (token === '\x1b[J') lines.splice(row, lines.length, line.slice(0, column))
    else if (token.startsWith('\x1b')) row -= Number(token.slice(2, -1))
    else if (token !== '\r') lines[row] = line.slice(0, column) + token + line.slice(column + token.length)
    column = token === '\n' || token === '\r' ? 0 : token.startsWith('\x1b') ? column : column + token.length
    assert.ok(row >= 0, 'the cursor leaves the screen')
  }
  return lines.slice(0, -1)
}

function play(view: View, events: readonly Recorded[], until: number): string {
  let text = ''
  for (let now = 0; now <= until; now += 10) {
    for (const { at, event } of events) if (at === now) text += view.handle(event, now)
    text += view.tick(now)
  }
  return text
}

test('frames replace each other, and warnings stay above them without their control characters', () => {
  const view = newTtyView('Pulling app', () => plainScreen(80), 0)
  const text = play(view, recording, 4000)
  assert.deepEqual(showTerminal(text), [
    'warning: tried again[2J after 503',
    '127.0.0.1:5000/app/core:2.4: aaaaaaaaaaaa linux/arm64/v8, 4 layers, 1.841GB',
    '010101010101: Already exists',
    '020202020202: Pull complete  26.66MB',
    '030303030303: Pulling        [=========>       ] 212.3MB/402MB     ↓ 55.9MB/s',
    '040404040404: Waiting        12MB',
    'Σ  239MB/440.7MB  ↓ 55.9MB/s  unpack 168MB/s  2/4 layers  eta 3.6s',
  ])
})

test('the last frame stays on the screen', () => {
  const view = newTtyView('Pulling app', () => plainScreen(80), 0)
  const lines = showTerminal(play(view, [...recording, ...ending], 9100) + view.close(9100))
  assert.equal(lines.length, 7)
  assert.match(lines.at(-1) ?? '', /^Σ 440.7MB pulled in 9.1s/)
})

test('what is written aside stands above the frame that is drawn next', () => {
  const view = newTtyView('Pulling app', () => plainScreen(80), 0)
  const text = `${play(view, recording, 4000)}${view.clear()}copied app:1\n${view.tick(4100)}`
  const [warning, aside, head, ...rest] = showTerminal(text)
  assert.match(warning ?? '', /^warning/)
  assert.equal(aside, 'copied app:1')
  assert.match(head ?? '', /^127\.0\.0\.1:5000\/app/)
  assert.equal(rest.length, 5)
})

test('at most ten frames are drawn in a second, and one when nothing happens', () => {
  const frames = (text: string) => text.split('app').length - 1
  const view = newTtyView('app', () => plainScreen(80), 0)
  let busy = ''
  for (let now = 0; now < 1000; now += 5) {
    busy += view.handle({ type: 'start', reference: 'x', registry: 'y' }, now) + view.tick(now)
  }
  assert.equal(frames(busy), 10)
  let idle = ''
  for (let now = 1000; now < 6000; now += 100) idle += view.tick(now)
  assert.ok(frames(idle) >= 5 && frames(idle) <= 6, `${frames(idle)} frames`)
})

test('when the terminal has become narrower, the lines that it wrapped are gone back over as well', () => {
  let columns = 120
  const view = newTtyView('Pulling app', () => plainScreen(columns), 0)
  play(view, recording, 4000)
  columns = 60
  // 75 and 107 columns of the wide frame take two rows each now; arrows count twice, so the sum line does as well.
  assert.match(view.close(4100), /^\x1b\[9A\r/)
})
