import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { pipe2, pipeSize } from './libc.ts'
import { OutlivingWriter } from './outliving-writer.ts'
import { PipeReader } from './pipes.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-writer-'))
after(() => rmSync(directory, { recursive: true }))

async function readAll(reader: PipeReader): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) chunks.push(chunk)
  return Buffer.concat(chunks)
}

test('a pipe of somebody else has more room from the first byte on, and not before', async () => {
  const { readEnd, writeEnd } = pipe2()
  const size = pipeSize(readEnd)
  const countFile = join(directory, 'count')
  using writer = new OutlivingWriter(`/proc/self/fd/${writeEnd}`, countFile)
  assert.equal(pipeSize(readEnd), size)
  using reader = new PipeReader(readEnd)
  const all = readAll(reader)
  const pieces = [100_000, 3_000_000].map((length, at) => Buffer.alloc(length, `piece ${at} `))
  for (const piece of pieces) await writer.write(piece)
  assert.ok(pipeSize(writeEnd) > size)
  closeSync(writeEnd)
  assert.deepEqual(await writer.end(), { bytes: 3_100_000, state: 'done' })
  assert.ok(Buffer.concat(pieces).equals(await all))
})

test('what cannot have more room is written to all the same', async () => {
  const path = join(directory, 'no-pipe')
  closeSync(openSync(path, 'w'))
  using writer = new OutlivingWriter(path, join(directory, 'count-of-no-pipe'))
  await writer.write(Buffer.from('hello'))
  assert.deepEqual(await writer.end(), { bytes: 5, state: 'done' })
  assert.equal(readFileSync(path, 'utf8'), 'hello')
})
