import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { listLiterals } from '../../../test/evidence-literals.ts'
import { translateEvidence } from './evidence.ts'
import { evidenceZh } from './evidence-zh.ts'

const doctor = join(import.meta.dirname, '..')

/** Files whose sentences are no evidence: errors, rules, keys. */
const silent = new Set([
  'collector.ts',
  'order.ts',
  'secrets.ts',
  'goroutines.ts',
  'diagnose.ts',
  'finding.ts',
  'cures',
])
/** Names of questions, tables for the kernel's words, parts that are told only within a sentence above, errors and a command. */
const noEvidence =
  /^(write pwrite64 |it has \{\} requests for pulls\{\};|\{\} for (it|layers)[:,] |in namespace \{\} that layer\{\}|it decompresses (the )?layer |reach padded|small |second |futex nanosleep|passes on$|knows no such name$|did not answer$|could not answer$| through the proxy |nsenter |Cannot (reach|ask for an image)|.* has no such image for |.* has indexes in indexes)/

function sourcesOf(directory: string): string[] {
  return readdirSync(directory)
    .filter(name => name.endsWith('.ts') && !name.endsWith('.test.ts') && !silent.has(name))
    .map(name => join(directory, name))
}

test('every sentence that may be evidence is told in Chinese, too', () => {
  const files = [...sourcesOf(doctor), ...sourcesOf(join(doctor, 'checks')), join(doctor, '../flow/evidence.ts')]
  const isSentence = (text: string) => /[a-z]{2,} [a-z]{2,}/.test(text) && !text.includes('\n')
  // A part of a sentence is told within it.
  const isTold = (text: string) => evidenceZh.some(([english]) => english.includes(text.replaceAll('{}{}', '{}')))
  const missing = files.flatMap(file =>
    listLiterals(readFileSync(file, 'utf8'))
      .filter(text => isSentence(text) && !noEvidence.test(text) && !isTold(text))
      .map(text => `${file.slice(doctor.length + 1)}: ${text}`),
  )
  assert.deepEqual(missing, [])
})

test('each sentence stands once, and its gaps in the translation', () => {
  const english = evidenceZh.map(([text]) => text)
  assert.equal(new Set(english).size, english.length)
  for (const [text, chinese] of evidenceZh) {
    const gaps = text.split('{}').length - 1
    for (let at = 0; at < gaps; at++) assert.ok(chinese.includes(`{${at}}`), text)
    assert.ok(!chinese.includes(`{${gaps}}`), text)
    assert.match(chinese.replace(/\{\d\}/g, ''), /[\u4e00-\u9fff]|[（）：，]|^inode /, text)
  }
})

test('names and numbers come through, also where they look like sentences', () => {
  const cases = [
    [
      'unpigz (process 7) has moved nothing for 6.2 s, although it has 65,536 bytes of input and has room for 4,096',
      'unpigz（进程 7） 已有 6.2 s 没有任何进展，尽管它有 65,536 字节输入，且可再写 4,096 字节',
    ],
    [
      'its task is in state T (stopped by a signal), in do_signal_stop',
      '其任务处于状态 T（被信号停住），位于 do_signal_stop',
    ],
    ['its 4 threads: 3 asleep in futex, 1 running', '其 4 个线程：3 个睡眠于 futex，1 个运行中'],
    [
      '/var/lib/镜像 has 4 of 9 bytes; it grew while it was looked at',
      '/var/lib/镜像 有 4 字节（共 9）；查看期间有增长',
    ],
    ['what somebody else has said', 'what somebody else has said'],
    ['', ''],
  ] as const
  for (const [english, chinese] of cases) assert.equal(translateEvidence(english), chinese)
})

test('a long text of a stranger is not looked through for ever', () => {
  const start = performance.now()
  for (const text of ['a, in '.repeat(300), ' of '.repeat(450), 'x '.repeat(100_000)]) translateEvidence(text)
  assert.ok(performance.now() - start < 20_000)
})
