import assert from 'node:assert/strict'
import { test } from 'node:test'
import { areas, catalogue, isFindingCode, languageOf } from './catalogue.ts'

test('every finding has words in both languages, and every problem has advice', () => {
  for (const [code, { area, severity, en, zh }] of Object.entries(catalogue)) {
    assert.ok(areas.includes(area), code)
    assert.match(code, /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/)
    assert.ok(en.title.length > 0 && en.meaning.length > 0, code)
    assert.match(zh.title + zh.meaning, /[\u4e00-\u9fff]/, code)
    assert.equal(en.advice.length, zh.advice.length, code)
    if (severity === 'problem' || severity === 'warning') assert.ok(en.advice.length > 0, code)
  }
})

test('a code is one of the catalogue, and nothing that objects bring with them', () => {
  assert.ok(isFindingCode('DECOMPRESSOR_SPINS'))
  assert.ok(!isFindingCode('constructor'))
})

test('Chinese is chosen by the locale, the most particular variable first', () => {
  assert.equal(languageOf({ LANG: 'zh_CN.UTF-8' }), 'zh')
  assert.equal(languageOf({ LANG: 'zh_CN.UTF-8', LC_ALL: 'C' }), 'en')
  assert.equal(languageOf({}), 'en')
})
