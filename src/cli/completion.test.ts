import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { commandTable } from './commands.ts'
import { formatBash, formatFish, formatZsh } from './completion.ts'

const commands = await Promise.all(
  commandTable.map(async ({ name, summary, load }) => ({ name, summary, ...(await load()).command })),
)
const bash = formatBash(commands)

/** What bash offers after these words, the last of which is being typed. */
function complete(...words: string[]): string[] {
  const quoted = words.map(word => `'${word}'`).join(' ')
  const windlass = `windlass() { printf '%s\\n' debian:12 alpine:latest; }`
  const script = `${windlass}\n${bash}\nCOMP_WORDS=(windlass ${quoted}) COMP_CWORD=${words.length}\n_windlass\nprintf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr, status } = spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stdout.split('\n').filter(line => line !== '')
}

test('the bash script is valid', () => {
  const { stderr, status } = spawnSync('bash', ['-n'], { input: bash, encoding: 'utf8' })
  assert.equal(status, 0, stderr)
})

test('bash completes commands, also after global options and their values', () => {
  assert.deepEqual(complete('pul'), ['pull'])
  assert.deepEqual(complete('--root', '/x', 'ver').toSorted(), ['verify', 'version'])
})

test('bash completes the options of the command and the global ones', () => {
  assert.deepEqual(complete('pull', '--pl'), ['--platform'])
  assert.deepEqual(complete('pull', '--pro'), ['--progress'])
  assert.deepEqual(complete('tag', '--pl'), [])
})

test('bash completes values: choices, words, image names', () => {
  assert.deepEqual(complete('pull', '--progress', 'p'), ['plain'])
  assert.deepEqual(complete('completion', 'z'), ['zsh'])
  assert.deepEqual(complete('inspect', 'deb'), ['debian:12'])
  assert.deepEqual(complete('pull', '--layers', ''), [])
})

test('zsh and fish know every command and option, in balanced quotes', () => {
  for (const script of [formatZsh(commands), formatFish(commands)]) {
    for (const { name, options } of commands) {
      assert.match(script, new RegExp(`\\b${name}\\b`))
      for (const option of Object.keys(options)) assert.ok(script.includes(option), option)
    }
  }
  const unescaped = formatFish(commands).replaceAll(/\\['\\]/g, '')
  for (const line of unescaped.split('\n')) assert.equal((line.match(/'/g)?.length ?? 0) % 2, 0, line)
})
