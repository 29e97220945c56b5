import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
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
    const [head, end, another] = [bytes.subarray(0, 64), bytes.subarray(-64), randomBytes(64)]
    assert.equal(await hasInMemory(pid, [end, head], signal), true)
    assert.equal(await hasInMemory(pid, [another], signal), false)
    assert.equal(await hasInMemory(pid, [end, another], signal), false)
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
})

test('a process that is not there has nothing in its memory', async () => {
  assert.equal(await hasInMemory(4_194_305, [randomBytes(64)], signal), false)
})

test('who does not want to know any more is not told', async () => {
  await assert.rejects(hasInMemory(process.pid, [randomBytes(64)], AbortSignal.abort(new Error('enough'))), /enough/)
})

test('what is mapped of a device is not read', async () => {
  const path = `/dev/shm/windlass-${process.pid}-${Date.now()}`
  const bytes = randomBytes(4096)
  const script = `
import mmap, os, sys, time
with open(sys.argv[1], 'r+b') as file: mapped = mmap.mmap(file.fileno(), 4096)
os.write(1, b'x')
time.sleep(1000)`
  writeFileSync(path, bytes)
  const child = spawn('python3', ['-c', script, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    await once(child.stdout, 'data')
    assert.match(readFileSync(`/proc/${child.pid}/maps`, 'latin1'), new RegExp(` rw-s .*${path}`))
    assert.equal(await hasInMemory(child.pid as number, [bytes.subarray(0, 64)], signal), false)
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
    rmSync(path)
  }
})
