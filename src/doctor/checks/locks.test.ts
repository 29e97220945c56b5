import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { codesOf, makeEngine, runCheck } from '../../../test/checked.ts'
import { waitUntil } from '../../../test/testbed/command.ts'
import { LiveHost } from '../../sys/host-view.ts'
import { readProcess } from '../../sys/tasks.ts'
import { locks, parseLocks } from './locks.ts'

test('proc_locks(5) is read: who waits, for which file, and who has it', () => {
  const text = [
    '1: POSIX  ADVISORY  WRITE 12 fe:00:34 0 EOF',
    '1: -> POSIX  ADVISORY  WRITE 13 fe:00:34 0 EOF',
    '1: -> POSIX  ADVISORY  READ 14 fe:00:34 0 EOF',
    '2: OFDLCK ADVISORY  WRITE -1 08:12:99 0 0',
    '2: -> OFDLCK ADVISORY  WRITE -1 08:12:99 0 0',
    '',
  ].join('\n')
  assert.deepEqual(parseLocks(text), [
    { waiter: 13, holder: 12, inode: 34 },
    { waiter: 14, holder: 12, inode: 34 },
    { waiter: -1, holder: -1, inode: 99 },
  ])
})

test('an engine that waits for a lock is told, with the file, and who has it and in which state', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-locks-'))
  const file = join(directory, 'storage.lock')
  closeSync(openSync(file, 'w'))
  const holder = spawn('flock', ['--no-fork', file, 'sleep', '60'], { stdio: 'ignore' })
  const inode = statSync(file).ino
  const shows = (pattern: string): boolean => new RegExp(pattern, 'm').test(readFileSync('/proc/locks', 'utf8'))
  await waitUntil('it has the lock', 60_000, () => shows(`^\\d+: FLOCK .*:${inode} `))
  const waiter = spawn('flock', ['--no-fork', file, 'true'], { stdio: 'ignore' })
  await waitUntil('the other waits for it', 60_000, () => shows(`-> FLOCK .*:${inode} `))
  try {
    const engine = makeEngine(waiter.pid ?? 0, { kind: 'podman' })
    const [running] = await runCheck(locks, new LiveHost(), { engines: [engine] })
    assert.equal(running?.code, 'LOCK_WAIT')
    assert.equal(running?.severity, 'warning')
    assert.equal(running?.facts['holder'], holder.pid)
    assert.equal(running?.facts['path'], file)
    holder.kill('SIGSTOP')
    await waitUntil('it is stopped', 60_000, () => readProcess(holder.pid ?? 0)?.state === 'T')
    const [stopped] = await runCheck(locks, new LiveHost(), { engines: [engine] })
    assert.equal(stopped?.severity, 'problem')
    assert.match(stopped?.evidence[0] ?? '', /which sleep \d+ \(state T\) has/)
  } finally {
    holder.kill('SIGKILL')
    await once(waiter, 'exit')
    rmSync(directory, { recursive: true })
  }
  assert.deepEqual(codesOf(await runCheck(locks, new LiveHost(), { engines: [makeEngine(process.pid)] })), [])
})
