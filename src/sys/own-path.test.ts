import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { findStranger } from './own-path.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-own-path-'))
after(() => rmSync(directory, { recursive: true }))
chmodSync(directory, 0o755)
const stranger = 65_534

function makeProgram(name: string, mode = 0o755): string {
  const path = join(directory, name, 'program')
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, '#!/bin/sh\n')
  chmodSync(path, mode)
  return path
}

test('what is ours or root’s all the way is nobody else’s, in a directory like /tmp, too', async () => {
  const path = makeProgram('mine')
  assert.equal(await findStranger(path), undefined)
  assert.equal(await findStranger('/usr/bin/env'), undefined)
  symlinkSync('../mine/./program', join(directory, 'mine/link'))
  symlinkSync(join(directory, 'mine/link'), join(directory, 'far'))
  assert.equal(await findStranger(join(directory, 'far')), undefined)
  await assert.rejects(findStranger(join(directory, 'missing/program')), { code: 'ENOENT' })
})

test('others may write to the file, to its directory or to one above, be it as a group', async () => {
  for (const mode of [0o775, 0o757]) {
    const file = makeProgram(`file-${mode}`, mode)
    assert.deepEqual(await findStranger(file), { place: file, uid: process.geteuid?.(), isOpen: true })
    const path = makeProgram(`above-${mode}/below`)
    const above = join(directory, `above-${mode}`)
    chmodSync(above, mode)
    assert.equal((await findStranger(path))?.place, above)
    // Nobody takes away there what is another's.
    chmodSync(above, 0o1000 | mode)
    assert.equal(await findStranger(path), undefined)
  }
})

test('a link that leads round and round is no way', async () => {
  symlinkSync(join(directory, 'round'), join(directory, 'round'))
  await assert.rejects(findStranger(join(directory, 'round')), { code: 'ELOOP' })
})

test('a file, a directory above it, or a link on the way is somebody else’s', {
  skip: process.getuid?.() !== 0,
}, async () => {
  const path = makeProgram('theirs/below')
  const theirs = (place: string) => ({ place, uid: stranger, isOpen: false })
  chownSync(path, stranger, stranger)
  assert.deepEqual(await findStranger(path), theirs(path))
  assert.equal(await findStranger(path, stranger), undefined, 'who looks is he himself')
  chownSync(path, 0, 0)
  const above = join(directory, 'theirs')
  chownSync(above, stranger, stranger)
  assert.deepEqual(await findStranger(path), theirs(above))
  // What he may lead elsewhere at any moment, though it leads to root's now.
  const link = join(above, 'link')
  symlinkSync('/usr/bin', link)
  assert.deepEqual(await findStranger(join(link, 'env')), theirs(above))
  symlinkSync(join(above, 'link/env'), join(directory, 'ours'))
  assert.deepEqual(await findStranger(join(directory, 'ours')), theirs(above))
})

test('who may write to a socket may talk to whoever listens there, and no more', async () => {
  const path = join(directory, 'socket')
  const server = createServer().listen(path)
  await new Promise(resolve => server.once('listening', resolve))
  chmodSync(path, 0o666)
  try {
    assert.equal(await findStranger(path), undefined)
  } finally {
    server.close()
  }
})
