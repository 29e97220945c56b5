/** The front of the program: it leaves in bounded time, with the right status, whatever the kernel holds of the program. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { run, waitUntil } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { hasLeft, hasThreadInD, programOf } from './aftermath.ts'
import { type PullProcess, startPull } from './pull-process.ts'

const row = { timeout: 180_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-front-'))
after(() => rmSync(directory, { recursive: true, force: true }))

/** A pull into a new store on a filesystem to which nothing can be written. */
async function startOnFrozen(stallTimeout?: number, report?: string) {
  await using stack = new AsyncDisposableStack()
  const loop = stack.use(await openLoopFilesystem({ sizeBytes: 32 << 20 }))
  await run('fsfreeze', ['-f', loop.directory])
  let program = 0
  stack.defer(async () => {
    await run('fsfreeze', ['-u', loop.directory])
    await waitUntil('the kernel has let it go', 60_000, () => hasLeft(program))
  })
  const root = join(loop.directory, 'store')
  const pull = startPull('127.0.0.1:1/team/app:v1', {
    root,
    temporary: join(directory, 'tmp'),
    ...(stallTimeout !== undefined && { stallTimeout }),
    ...(report !== undefined && { report }),
    boundMs: 120_000,
  })
  const front = pull.child.pid ?? 0
  await waitUntil('its main thread is stuck', 60_000, () => hasThreadInD(programOf(front) ?? 0))
  program = programOf(front) ?? 0
  const kept = stack.move()
  return { pull, program, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}

/** A pull from a registry that takes the connection and never answers. */
async function startSilent(): Promise<{ pull: PullProcess; program: number } & AsyncDisposable> {
  const asked = Promise.withResolvers<void>()
  const silent = createServer(socket => void socket.on('error', () => {}).once('data', () => asked.resolve()))
  await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
  const address = silent.address()
  const port = typeof address === 'object' ? address?.port : ''
  const root = join(directory, `silent-${port}`)
  const pull = startPull(`127.0.0.1:${port}/team/app:v1`, { root, temporary: join(directory, 'tmp') })
  await asked.promise
  const close = () => new Promise<void>(done => silent.close(() => done()))
  return { pull, program: programOf(pull.child.pid ?? 0) ?? 0, [Symbol.asyncDispose]: close }
}

describe('a disk that was frozen before the pull began', { concurrency: true }, () => {
  test('is named, and the pull ends with status 5 while it is still frozen', row, async () => {
    const report = join(directory, 'report.json')
    await using frozen = await startOnFrozen(5, report)
    const { pull, program } = frozen
    const { status, text, error, tookMs } = await pull.ended
    assert.equal(status, 5, text)
    assert.ok(hasThreadInD(program))
    assert.ok(tookMs < 60_000, `took ${tookMs} ms`)
    assert.equal(error?.code, 'STALLED')
    assert.match(error?.message ?? '', /mkdir of \/.*\/store \(thread \d+, state D in percpu_rwsem_wait\)$/)
    const warnings = pull.events.map(event => ('message' in event ? event.message : ''))
    assert.match(warnings.join('\n'), /^the disk does not answer: mkdir of /m)
    const [{ outcome }] = JSON.parse(readFileSync(report, 'utf8')).pulls
    assert.deepEqual([outcome.status, outcome.error.code, outcome.error.message], ['failed', 'STALLED', error?.message])
  })

  test('does not keep a signal from ending it', row, async () => {
    await using frozen = await startOnFrozen()
    const { status, text, tookMs } = await frozen.pull.interrupt('SIGTERM')
    assert.equal(status, 143, text)
    assert.ok(tookMs < 60_000, `took ${tookMs} ms`)
    assert.ok(hasThreadInD(frozen.program))
    assert.match(text, /stopped by a signal; left behind: mkdir of /)
  })

  test('does not keep a second signal from ending it on the spot', row, async () => {
    await using frozen = await startOnFrozen()
    frozen.pull.child.kill('SIGINT')
    // Two at once would be one. The front opens this descriptor when it has taken the first.
    await waitUntil('the first was taken', 60_000, () => existsSync(`/proc/${frozen.pull.child.pid}/fd/9`))
    frozen.pull.child.kill('SIGINT')
    // The streams of what the kernel holds stay open a little longer than the front.
    await waitUntil('the front has left', 60_000, () => frozen.pull.child.exitCode !== null)
    assert.equal(frozen.pull.child.exitCode, 130)
  })
})

test('the program dies with its front', row, async () => {
  await using silent = await startSilent()
  silent.pull.child.kill('SIGKILL')
  await waitUntil('the program has left', 60_000, () => hasLeft(silent.program))
})

test('a program that dies by a signal ends the front with 128 and its number', row, async () => {
  await using silent = await startSilent()
  process.kill(silent.program, 'SIGKILL')
  assert.equal((await silent.pull.ended).status, 137)
})

test('a signal that comes to both, as from a terminal, ends the pull once and cleanly', row, async () => {
  await using silent = await startSilent()
  process.kill(silent.program, 'SIGINT')
  const { status, text } = await silent.pull.interrupt('SIGINT')
  assert.equal(status, 130, text)
  assert.doesNotMatch(text, /left behind/)
})

test('stdin may be closed', row, async () => {
  const program = join(import.meta.dirname, '..', '..', 'bin', 'windlass')
  assert.match(await run('sh', ['-c', `${program} version <&-`]), /^windlass /)
})
