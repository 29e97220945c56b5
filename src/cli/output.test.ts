import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LogLevel } from './command.ts'
import { writeJson, writeJsonLine, writeLine, writeNote, writeWarning } from './output.ts'

function newOutput() {
  const written: string[] = []
  return { written, write: (text: string) => written.push(text) > 0 }
}

test('results are one line each, and none of them can send a command to the terminal', () => {
  const stdout = newOutput()
  writeLine({ stdout }, 'a\x1b[2J\nb')
  writeJsonLine({ stdout }, { a: '\x9b' })
  writeJson({ stdout }, { a: 1 })
  assert.deepEqual(stdout.written, ['a[2J b\n', '{"a":"\\u009b"}\n', '{\n  "a": 1\n}\n'])
})

test('notes are told unless quiet, JSON or a log level above info keeps stderr for what matters', () => {
  const told = (quiet: boolean, jsonErrors: boolean, logLevel: LogLevel) => {
    const stderr = newOutput()
    writeNote({ stderr, quiet, jsonErrors, logLevel }, 'note')
    return stderr.written.join('')
  }
  assert.equal(told(false, false, 'info'), 'note\n')
  assert.equal(told(false, false, 'debug'), 'note\n')
  assert.equal(told(true, false, 'info') + told(false, true, 'info') + told(false, false, 'warn'), '')
})

test('a warning is a note, an event where stderr carries events, and nothing beside a JSON result', () => {
  const told = (json: boolean, jsonErrors: boolean) => {
    const stderr = newOutput()
    writeWarning({ stderr, json, jsonErrors, quiet: false, logLevel: 'info' }, 'old\x9b')
    return stderr.written.join('')
  }
  assert.equal(told(false, false), 'warning: old\n')
  assert.equal(told(false, true), '{"type":"warning","message":"old\\u009b"}\n')
  assert.equal(told(true, true), '')
})
