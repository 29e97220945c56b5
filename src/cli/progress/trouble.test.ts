import assert from 'node:assert/strict'
import { test } from 'node:test'
import { layerEvent, resolvedEvent } from '../../../test/pull-recording.ts'
import { diskStory, fallbackStory, silentStory } from '../../../test/report-recordings.ts'
import type { PullEvent } from '../../copy/events.ts'
import type { Screen } from './frame.ts'
import { newPlainView } from './plain.ts'
import { applyEvent, describeTrouble, newPullState } from './state.ts'
import { isTrouble } from './trouble.ts'
import { newTtyView } from './tty.ts'

function describeAll(events: readonly PullEvent[]): string[] {
  const state = newPullState('x', 0)
  return events.flatMap(event => {
    applyEvent(state, event, 0)
    return isTrouble(event) ? describeTrouble(state, event) : []
  })
}

const stall = {
  type: 'stall',
  layer: 0,
  atMs: 11_000,
  stage: 'decompress',
  kind: 'stopped',
  confidence: 'certain',
  sinceMs: 10_000,
  evidence: ['unpigz (pid 4711) has 3145728 bytes of input', 'state T', 'more than a line can hold'],
} as const
const fallback = {
  type: 'fallback',
  layer: 0,
  atMs: 11_100,
  program: '/usr/bin/unpigz',
  message: 'Cannot decompress with /usr/bin/unpigz: no output for 10 s',
  evidence: ['fault: stalled', 'pid: 4711', 'state: T', 'wchan: '],
  bytesProven: 294_912,
  redone: false,
} as const

test('a stall and the fallback that ends it are a line each', () => {
  assert.deepEqual(describeAll(fallbackStory.events.map(({ event }) => event)), [
    '! layer 010101010101: decompress was stopped by a signal for 10s; decompress (unpigz, pid 4711) has moved nothing for 10.1 s, although it has 3145728 bytes of input and has room for 1048576; its task is in state T (stopped by a signal), in do_signal_stop',
    '! layer 010101010101: unpigz given up; decompressing in process from byte 294912',
  ])
})

test('a fallback without a stall tells its own evidence', () => {
  const start = resolvedEvent([1000])
  assert.deepEqual(
    describeAll([
      start,
      fallback,
      {
        ...fallback,
        redone: true,
        message: 'Cannot decompress with /usr/bin/unpigz: died by SIGSEGV',
        evidence: ['pid: 4711', 'state: '],
      },
    ]),
    [
      '! layer 010101010101: unpigz: no output for 10 s (pid 4711, state T); decompressing in process from byte 294912',
      '! layer 010101010101: unpigz: died by SIGSEGV (pid 4711); unpacking the layer again, decompressed in process',
    ],
  )
})

test('retries and a recovery are told with the host and the pause', () => {
  const lines = describeAll(silentStory.events.map(({ event }) => event))
  assert.equal(lines.length, 4)
  assert.match(
    lines[1] ?? '',
    /^! layer 010101010101: Cannot read layer .*registry\.example:5000 sent nothing.*; trying again in 0\.4s$/,
  )
  assert.equal(lines[3], '! layer 010101010101: source moves again')
  const retry = { type: 'retry', atMs: 0, host: 'registry.example', message: 'status 503', pauseMs: 1000 } as const
  assert.deepEqual(describeAll([retry]), ['! registry.example: status 503; trying again in 1.0s'])
})

test('one stall is told once, whatever it is called while it lasts, and the next one again', () => {
  const recovered = { type: 'recovered', layer: 0, atMs: 12_000, stage: 'decompress' } as const
  assert.equal(describeAll([stall, stall, { ...stall, kind: 'stuck-decompressor', sinceMs: 20_000 }]).length, 1)
  assert.equal(describeAll([stall, { ...stall, layer: 1 }, { ...stall, stage: 'unpack' }]).length, 3)
  assert.equal(describeAll([stall, recovered, recovered, stall]).length, 3)
  assert.equal(describeAll([stall, fallback, stall]).length, 3)
})

test('a kind that is not known, or named like a property of every object, stands still', () => {
  for (const kind of ['unexplained', 'constructor'])
    assert.match(describeAll([{ ...stall, kind }])[0] ?? '', /: decompress stood still for 10s;/)
})

test('plain and terminal show the same line, and nobody can send a command in it', () => {
  const evil = { ...stall, stage: 'a\x1b[2J\nb', evidence: ['entry \u202egpj.exe 文件'] }
  const plain = newPlainView('x', 0)
  plain.handle(layerEvent(0, 'pulling', 10), 0)
  assert.equal(
    plain.handle(evil, 1),
    '! layer 010101010101: a[2J b was stopped by a signal for 10s; entry gpj.exe 文件\n',
  )
  const show = (unicode: boolean) => {
    const screen: Screen = { columns: 80, rows: 24, unicode, style: (_name, text) => text }
    const view = newTtyView('x', () => screen, 0)
    view.handle(layerEvent(0, 'pulling', 10), 0)
    return view.handle(evil, 1).split('\n')[0]
  }
  assert.match(show(true) ?? '', /! layer 010101010101: a\[2J b was .* entry gpj\.exe 文件$/)
  assert.match(show(false) ?? '', /! layer 010101010101: a\[2J b was .* entry gpj\.exe \?\?$/)
})

test('a stuck disk is told by its task and entry', () => {
  const [line] = describeAll(diskStory.events.map(({ event }) => event))
  assert.match(line ?? '', /: unpack hung in the kernel, waiting for the disk for 30s; .*state D/)
  assert.match(line ?? '', /; it works on entry /)
})
