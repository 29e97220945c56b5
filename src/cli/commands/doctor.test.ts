import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

const program = join(import.meta.dirname, '../../../bin/windlass')

test('doctor --from tells what the record lacks, in the language of the locale', t => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-notes-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'facts')
  const stat = `t/proc/7/stat:7 (dockerd) S 1 7 7 0 ${'0 '.repeat(46)}`
  const head = [
    'windlass-facts 2',
    '=arch x86_64',
    '=now 1800000000 30.00',
    '=only 7',
    '=missing curl',
    '=missing perl',
  ]
  writeFileSync(file, [...head, 'f30.0', stat, 'f32.0', stat, 'f34.0', ''].join('\n'))
  const look = (locale: string) =>
    spawnSync(program, ['doctor', '--from', file], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: locale },
      timeout: 90_000,
    }).stderr
  assert.equal(
    look('C'),
    `warning: the facts end early: the collector was stopped, or the file was cut
These are facts about process 7 alone: other engines were not looked at
That host has no curl, no perl: less could be seen
`,
  )
  assert.equal(
    look('zh_CN.UTF-8'),
    `warning: 记录提前结束：收集脚本被中止，或文件被截断
这些只是关于进程 7 的记录：没有查看其他引擎
该主机没有 curl、perl：能看到的较少
`,
  )
})
