import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { waitUntil } from '../../test/testbed/command.ts'
import { type ErrorCode, isWindlassError } from '../errors.ts'
import { readProcess } from './tasks.ts'
import { runWatched } from './watched-command.ts'

const run = (script: string, options: { idleMs?: number; signal?: AbortSignal } = {}) =>
  runWatched({
    program: '/bin/sh',
    args: ['-c', script],
    env: { PATH: '/usr/bin:/bin' },
    idleMs: options.idleMs ?? 20_000,
    signal: options.signal ?? new AbortController().signal,
    doing: 'Cannot run it',
  })

const fails = (code: ErrorCode, text: RegExp) => (error: unknown) =>
  isWindlassError(error, code) && text.test(error.message)

test('what it says is the result', async () => {
  assert.equal(await run('echo one; echo two >&2; echo three'), 'one\nthree\n')
})

test('a failure is told in its last words', async () => {
  await assert.rejects(run('echo first >&2; echo last words >&2; exit 3'), fails('FAILED', /sh says "last words"/))
  await assert.rejects(run('exit 3'), fails('FAILED', /it ended with 3/))
  await assert.rejects(run('echo write /x: no space left on device >&2; exit 1'), fails('NO_SPACE', /no space/))
})

test('who does nothing for too long is ended, with all it started', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'windlass-watched-'))
  const script = `sleep 1000 & echo $! >${directory}/pid; sleep 1000`
  await assert.rejects(
    run(script, { idleMs: 1500 }),
    fails('STALLED', /sh \(process \d+\) has read and written nothing for 1.5 s/),
  )
  const child = Number(await readFile(join(directory, 'pid'), 'utf8'))
  assert.ok(child > 0)
  // Whoever takes over orphans may leave it unburied.
  await waitUntil('it is gone', 60_000, () => ['Z', undefined].includes(readProcess(child)?.state))
  await rm(directory, { recursive: true })
})

test('who is slow but moves is left alone', async () => {
  const script = 'for i in 1 2 3 4; do sleep 0.7; head -c 100000 /dev/zero >/dev/null; done; echo done'
  assert.equal(await run(script, { idleMs: 2000 }), 'done\n')
})

test('a cancelled one is ended at once', async () => {
  const reason = new Error('enough')
  const controller = new AbortController()
  setTimeout(() => controller.abort(reason), 200)
  await assert.rejects(run('sleep 1000', { signal: controller.signal }), reason)
})

test('a program that is not there is named', async () => {
  const nothing = runWatched({
    program: '/nonexistent/program',
    args: [],
    env: {},
    idleMs: 1000,
    signal: new AbortController().signal,
    doing: 'Cannot run it',
  })
  await assert.rejects(nothing, fails('NOT_FOUND', /there is no program \/nonexistent\/program/))
})
