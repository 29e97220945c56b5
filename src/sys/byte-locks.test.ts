import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { tryByteLock, waitByteLock } from './byte-locks.ts'

function makeFile(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-locks-'))
  t.after(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'locks'), '')
  return join(directory, 'locks')
}

test('one byte has one holder, also within a process, and other bytes are free', t => {
  const path = makeFile(t)
  const far = 3 * 2 ** 48 + 0xffffffffffff
  using first = tryByteLock(path, far)
  assert.ok(first)
  assert.equal(tryByteLock(path, far), undefined)
  using other = tryByteLock(path, far - 1)
  assert.ok(other)
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  using again = tryByteLock(path, far)
  assert.ok(again)
})

test('a wait ends when the holder lets go, and when the signal fires', async t => {
  const path = makeFile(t)
  const lock = tryByteLock(path, 1)
  await assert.rejects(waitByteLock(path, 1, AbortSignal.timeout(60)))
  await assert.rejects(waitByteLock(path, 1, AbortSignal.abort()))
  const waiting = waitByteLock(path, 1, AbortSignal.timeout(5000))
  lock?.[Symbol.dispose]()
  using _got = await waiting
  assert.equal(tryByteLock(path, 1), undefined)
})

test('a killed process holds nothing', async t => {
  const path = makeFile(t)
  const module = new URL('./byte-locks.ts', import.meta.url).href
  const script = `import { tryByteLock } from ${JSON.stringify(module)}
    globalThis.lock = tryByteLock(${JSON.stringify(path)}, 1)
    console.log('held')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  assert.equal(tryByteLock(path, 1), undefined)
  child.kill('SIGKILL')
  using lock = await waitByteLock(path, 1, AbortSignal.timeout(5000))
  assert.ok(lock)
})
