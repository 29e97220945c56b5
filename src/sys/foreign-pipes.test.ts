import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import {
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { drainPipe, isMarkedSize, markPipe, peekPipe } from './foreign-pipes.ts'
import { LiveHost } from './host-view.ts'
import { O, pipe2, pipeSize } from './libc.ts'
import { openForeignFile, openForeignPipe, Replaced } from './open-foreign-pipe.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-foreign-'))
after(() => rmSync(directory, { recursive: true }))

function pathOf(fd: number): string {
  return `/proc/self/fd/${fd}`
}

function inodeOf(fd: number): string {
  return String(fstatSync(fd).ino)
}

test('the pipe that is wanted is opened, whichever end its path leads to', () => {
  const { readEnd, writeEnd } = pipe2()
  const fd = openForeignPipe(pathOf(readEnd), constants.O_WRONLY, inodeOf(readEnd))
  writeSync(fd, 'hello')
  assert.equal(peekPipe({ path: pathOf(writeEnd), inode: inodeOf(writeEnd) }).toString(), 'hello')
  for (const end of [fd, readEnd, writeEnd]) closeSync(end)
})

test('what was put in the place of a pipe is neither opened nor changed: a file that is only named, a terminal, another pipe', async () => {
  const file = join(directory, 'secret')
  closeSync(openSync(file, 'w', 0o600))
  const another = pipe2()
  const { readEnd, writeEnd } = pipe2()
  const put = [openSync(file, O.PATH), openSync('/dev/ptmx', O.PATH), another.readEnd]
  for (const fd of put) {
    const pipe = { path: pathOf(fd), inode: inodeOf(readEnd) }
    for (const flags of [constants.O_WRONLY, constants.O_RDONLY | constants.O_NONBLOCK])
      assert.throws(() => openForeignPipe(pipe.path, flags, pipe.inode), Replaced, readlinkSync(pipe.path))
    assert.throws(() => peekPipe(pipe), Replaced)
    await assert.rejects(drainPipe(pipe, { signal: AbortSignal.timeout(60_000) }), Replaced)
  }
  for (const fd of put.slice(0, 2)) assert.equal(new LiveHost().pipeFill(pathOf(fd)), undefined)
  assert.equal(readFileSync(file, 'utf8'), '')
  for (const end of [...put, another.writeEnd, readEnd, writeEnd]) closeSync(end)
})

test('who drains a pipe tells of what comes, and hears a signal also while more and more does', async () => {
  const { readEnd, writeEnd } = pipe2()
  const yes = spawn('yes', { stdio: ['ignore', writeEnd, 'ignore'] })
  try {
    const enough = new AbortController()
    let told = 0
    const moved = () => {
      if (++told === 5) setTimeout(() => enough.abort(new Error('enough')), 1)
    }
    const pipe = { path: pathOf(readEnd), inode: inodeOf(readEnd) }
    await assert.rejects(drainPipe(pipe, { signal: enough.signal, moved }), /enough/)
  } finally {
    yes.kill('SIGKILL')
    for (const end of [readEnd, writeEnd]) closeSync(end)
  }
})

test('a file of another process is opened as long as it is that one', () => {
  const path = join(directory, 'unpacked')
  const fd = openSync(path, 'w')
  closeSync(openForeignFile(pathOf(fd), path))
  for (const name of [`${path}x`, '/dev/null']) assert.throws(() => openForeignFile(pathOf(fd), name), Replaced)
  const device = openSync('/dev/ptmx', O.PATH)
  assert.throws(() => openForeignFile(pathOf(device), readlinkSync(pathOf(device))), Replaced)
  for (const one of [fd, device]) closeSync(one)
})

test('a pipe that is marked is told from one that nobody has touched, also when it is marked again', () => {
  const { readEnd, writeEnd } = pipe2()
  assert.equal(isMarkedSize(pipeSize(readEnd)), false)
  for (const end of [writeEnd, readEnd]) {
    assert.equal(markPipe(end), true)
    assert.equal(isMarkedSize(pipeSize(readEnd)), true)
  }
  for (const end of [readEnd, writeEnd]) closeSync(end)
})

/** Without the right to more; so many pipes that the kernel gives no more room to any, and new ones get the least. */
const manyPipes = `
  const { isMarkedSize, markPipe } = await import(process.argv[1])
  const { pipe2, pipeSize, trySetPipeSize } = await import(process.argv[2])
  const first = pipe2().readEnd
  const size = pipeSize(first)
  const grow = fd => trySetPipeSize(fd, 2 * pipeSize(fd))
  let last
  do last = pipe2().readEnd
  while (pipeSize(last) === size || grow(last))
  const see = fd => [isMarkedSize(pipeSize(fd)), grow(fd), markPipe(fd), isMarkedSize(pipeSize(fd))]
  console.log(JSON.stringify([see(last), see(first)]))
`

test('a pipe that may not have more room is marked by less', () => {
  const urls = ['./foreign-pipes.ts', './libc.ts'].map(name => new URL(name, import.meta.url).href)
  const node = [process.execPath, '--input-type=module', '-e', manyPipes, ...urls]
  const rights = '-sys_resource,-sys_admin'
  const weaken = process.getuid?.() === 0 ? ['setpriv', `--bounding-set=${rights}`, `--inh-caps=${rights}`] : []
  const [file = '', ...args] = [...weaken, ...node]
  const seen = JSON.parse(execFileSync(file, args, { encoding: 'utf8', timeout: 60_000 }))
  assert.deepEqual(seen, Array(2).fill([false, false, true, true]))
})
