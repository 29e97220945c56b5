import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'

const program = join(import.meta.dirname, '../../../bin/windlass')

function explain(code: string, env: Record<string, string> = {}) {
  return spawnSync(program, ['explain', code], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C', ...env } })
}

test('explain tells what a finding means and what to do, in any case of letters', () => {
  const { status, stdout } = explain('decompressor_spins')
  assert.equal(status, 0)
  assert.match(stdout, /^DECOMPRESSOR_SPINS: The decompressor spins/)
  assert.match(stdout, /→ .*windlass pull/)
})

test('explain tells it in Chinese where the locale is Chinese', () => {
  assert.match(explain('FILESYSTEM_FROZEN', { LC_ALL: 'zh_CN.UTF-8' }).stdout, /^FILESYSTEM_FROZEN: .*冻结/)
  assert.match(
    explain('RESCUE_TRACED', { LC_ALL: 'zh_CN.UTF-8' }).stdout,
    /^RESCUE_TRACED: 救援被拒绝[\s\S]*跟踪[\s\S]*→ 结束跟踪者/,
  )
})

test('explain knows the errors, too, and refuses what it does not know with the nearest code', () => {
  assert.match(explain('STALLED').stdout, /^STALLED: exit status 5/)
  const { status, stderr } = explain('DECOMPRESSOR_SPIN')
  assert.equal(status, 125)
  assert.match(stderr, /did you mean DECOMPRESSOR_SPINS\?/)
})
