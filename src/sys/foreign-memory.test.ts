import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { hasInMemory } from './foreign-memory.ts'

const signal = AbortSignal.timeout(60_000)

test('what a process has read is found in its memory, and what it has not read is not', async () => {
  const child = spawn('perl', ['-e', '$| = 1; sysread(STDIN, my $all, 1000); print "x"; sleep 1000'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  try {
    const bytes = randomBytes(1000)
    child.stdin.write(bytes)
    await once(child.stdout, 'data')
    const pid = child.pid as number
    assert.equal(await hasInMemory(pid, bytes.subarray(-64), signal), true)
    assert.equal(await hasInMemory(pid, randomBytes(64), signal), false)
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
})

test('a process that is not there has nothing in its memory', async () => {
  assert.equal(await hasInMemory(4_194_305, randomBytes(64), signal), false)
})

test('who does not want to know any more is not told', async () => {
  await assert.rejects(hasInMemory(process.pid, randomBytes(64), AbortSignal.abort(new Error('enough'))), /enough/)
})
