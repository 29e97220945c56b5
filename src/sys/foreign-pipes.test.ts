import assert from 'node:assert/strict'
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
import { drainPipe, peekPipe } from './foreign-pipes.ts'
import { LiveHost } from './host-view.ts'
import { O, pipe2 } from './libc.ts'
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
    await assert.rejects(drainPipe(pipe), Replaced)
  }
  for (const fd of put.slice(0, 2)) assert.equal(new LiveHost().pipeFill(pathOf(fd)), undefined)
  assert.equal(readFileSync(file, 'utf8'), '')
  for (const end of [...put, another.writeEnd, readEnd, writeEnd]) closeSync(end)
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
