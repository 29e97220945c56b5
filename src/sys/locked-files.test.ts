import assert from 'node:assert/strict'
import { closeSync, fstatSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { waitUntil } from '../../test/testbed/command.ts'
import { pipe2 } from './libc.ts'
import { isLocked, LockedFiles, lockedFiles, type Question } from './locked-files.ts'

const own = `/proc/${process.pid}`

test('many questions are answered in their order, whatever their kind, and refusals with their code', () => {
  const some: Question[] = [
    ['link', `${own}/exe`],
    ['text', `${own}/cmdline`],
    ['text', '/proc/4194305/stat'],
    ['names', `${own}/ns`],
  ]
  const questions = Array.from({ length: 700 }, () => some).flat()
  const answers = lockedFiles.ask(questions)
  assert.equal(answers.length, questions.length)
  for (let at = 0; at < answers.length; at += some.length) {
    const [exe, cmdline, none, names] = answers.slice(at, at + some.length)
    assert.equal(exe, readlinkSync(`${own}/exe`))
    assert.match(String(cmdline), /locked-files\.test\.ts/)
    assert.ok(none instanceof Error && none.code === 'ENOENT')
    assert.ok(String(names).split('\n').includes('mnt'))
  }
})

test('answers that do not fit together come one after the other, and whole', () => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-locked-'))
  const text = 'some words\n'.repeat(40_000)
  writeFileSync(join(directory, 'long'), text)
  const questions: Question[] = Array.from({ length: 12 }, () => ['text', join(directory, 'long')])
  assert.ok(lockedFiles.ask(questions).every(answer => answer === text))
  rmSync(directory, { recursive: true })
})

test('a pipe that was opened is ours; what is no pipe is not opened', () => {
  const { readEnd, writeEnd } = pipe2()
  const [opened, refused] = lockedFiles.ask([
    ['open', `${own}/fd/${writeEnd}`],
    ['open', `${own}/exe`],
  ])
  assert.equal(fstatSync(Number(opened)).ino, fstatSync(readEnd).ino)
  assert.notEqual(typeof refused, 'string')
  for (const fd of [Number(opened), readEnd, writeEnd]) closeSync(fd)
})

test('locks are taken for what concerns a process, and for nothing else', () => {
  for (const path of [
    '/proc/7/stat',
    '/proc/7/task/8/io',
    '/proc/7/fd/9',
    '/proc/7/fd',
    '/proc/7/ns/mnt',
    '/proc/7/exe',
  ])
    assert.ok(isLocked(path), path)
  for (const path of [
    '/proc/7/status',
    '/proc/7/cgroup',
    '/proc/7/net/unix',
    '/proc/7/fdinfo/9',
    '/proc/7/task',
    '/proc/stat',
  ])
    assert.ok(!isLocked(path), path)
  assert.deepEqual([...lockedFiles.silent], [])
})

const whoAsks: Question[] = [['link', '/proc/thread-self']]

test('a thread that does not begin is waited for once; until it does, whoever asks looks himself', async () => {
  const own = readlinkSync('/proc/thread-self')
  const none = new LockedFiles(new URL('./none.ts', import.meta.url), 1000)
  const start = performance.now()
  for (let count = 0; count < 60; count += 1) assert.deepEqual(none.ask(whoAsks), [own])
  assert.ok(performance.now() - start < 30_000, 'not a second for each')
  const late = new LockedFiles(undefined, 0)
  await waitUntil('it asks', 60_000, () => late.ask(whoAsks)[0] !== own)
})

test('a thread that ends while it is asked is told as no answer, and accuses nobody for long', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-locked-'))
  const path = join(directory, 'ending.mjs')
  const code = `
    import { readlinkSync } from 'node:fs'
    import { basename } from 'node:path'
    import { workerData } from 'node:worker_threads'
    import { stateAt, states, threadAt } from '${new URL('./locked-files.ts', import.meta.url)}'
    const words = new Int32Array(workerData, 0, 4)
    words[threadAt] = Number(basename(readlinkSync('/proc/thread-self')))
    Atomics.store(words, stateAt, states.idle)
    Atomics.notify(words, stateAt)
    Atomics.wait(words, stateAt, states.idle)
    process.exit()`
  writeFileSync(path, code)
  const files = new LockedFiles(pathToFileURL(path))
  const [answer] = files.ask([['text', `${own}/cmdline`]])
  assert.ok(answer instanceof Error && answer.code === 'EAGAIN')
  await waitUntil('it is forgotten', 60_000, () => files.silent.size === 0)
  rmSync(directory, { recursive: true })
})

test('a thread whose word is heard before it has woken anybody up is not taken to have answered the next question, too', () => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-locked-'))
  const path = join(directory, 'late.mjs')
  const code = `
    const { notify } = Atomics
    const pause = ms => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
    Atomics.notify = (...what) => {
      pause(120)
      return notify(...what)
    }
    await import('${new URL('./locked-files-thread.ts', import.meta.url)}')`
  writeFileSync(path, code)
  const files = new LockedFiles(pathToFileURL(path))
  const questions: Question[] = Array.from({ length: 300 }, () => ['text', `${own}/cmdline`])
  const [wanted] = new LockedFiles().ask(questions)
  for (let count = 0; count < 5; count += 1)
    assert.deepEqual(
      files.ask(questions),
      Array.from(questions, () => wanted),
      String(count),
    )
  rmSync(directory, { recursive: true })
})
