import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { refusals } from './refusal.ts'

test('every refusal says in both languages what it means, and what to do next', () => {
  for (const [code, { en, zh }] of Object.entries(refusals)) {
    assert.match(code, /^RESCUE(_[A-Z]+)+$/)
    for (const words of [en.meaning, en.next]) assert.match(words, /^[A-Z][\x20-\x7e]+\.$/, code)
    for (const words of [zh.meaning, zh.next]) assert.match(words, /[\u4e00-\u9fff].*。$/, code)
    const commands = (words: string) => words.match(/windlass [a-z-]+( --?[a-z]+)*/g) ?? []
    assert.deepEqual(commands(zh.next).sort(), commands(en.next).sort(), code)
  }
})

test('docs/rescue.md tells all refusals, and no other', () => {
  const docs = readFileSync(new URL('../../../docs/rescue.md', import.meta.url), 'utf8')
  const told = new Set(docs.match(/\bRESCUE_[A-Z_]+/g))
  assert.deepEqual([...told].sort(), Object.keys(refusals).sort())
})
