import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { quote } from '../oci/quote.ts'
import { showName } from '../tar/entry.ts'
import { formatJson, printable } from './printable.ts'

test('escape sequences lose the characters that make them work', () => {
  assert.equal(printable('a\x1b[2Jb\x9b31mc\x07d\x7fe'), 'a[2Jb31mcde')
  assert.equal(printable('one\r\ntwo\tthree'), 'one two three')
  assert.equal(printable('safe\u202egnp.exe\u2066\u200b\ufeff'), 'safegnp.exe')
})

test('what messages quote of a stranger loses them too, and is short', () => {
  for (const show of [quote, (text: string) => showName(Buffer.from(text).toString('latin1'))]) {
    assert.equal(show('a\x1b[2J\x9b31m\x07\x7f\u202egnp\u2066'), '"a\\u001b[2J?31m\\u0007??gnp?"')
    assert.ok(show('x'.repeat(10_000)).length < 250)
  }
})

test('letters of any script stay', () => {
  assert.equal(printable('不能拉取 naïve Σ'), '不能拉取 naïve Σ')
})

test('whatever the text, no control character is left', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), text => !/[\u0000-\u001f\u007f-\u009f]/.test(printable(text))))
})

test('JSON holds no control character but its own line breaks, and says the same', () => {
  const value = { text: 'a\x9b31m\u202eb\x7f', list: [1, 'x\ny'] }
  const text = formatJson(value, 2)
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
  assert.deepEqual(JSON.parse(text), value)
})
