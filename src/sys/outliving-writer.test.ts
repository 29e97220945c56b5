import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pipe2, pipeSize } from './libc.ts'
import { OutlivingWriter } from './outliving-writer.ts'
import { PipeReader } from './pipes.ts'
import { readWritten } from './written-count.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-writer-'))
after(() => rmSync(directory, { recursive: true }))

const signal = AbortSignal.timeout(60_000)

async function readAll(reader: PipeReader): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) chunks.push(chunk)
  return Buffer.concat(chunks)
}

test('a pipe of somebody else has more room once it is marked, and not before', async () => {
  const { readEnd, writeEnd } = pipe2()
  const size = pipeSize(readEnd)
  const countFile = join(directory, 'count')
  using writer = new OutlivingWriter(openSync(`/proc/self/fd/${writeEnd}`, 'w'), countFile)
  assert.equal(pipeSize(readEnd), size)
  assert.equal(writer.mark(), true)
  using reader = new PipeReader(readEnd)
  const all = readAll(reader)
  const pieces = [100_000, 3_000_000].map((length, at) => Buffer.alloc(length, `piece ${at} `))
  for (const piece of pieces) await writer.write(piece, signal)
  assert.ok(pipeSize(writeEnd) > size)
  closeSync(writeEnd)
  assert.deepEqual(await writer.end(signal), { bytes: 3_100_000, state: 'done' })
  assert.ok(Buffer.concat(pieces).equals(await all))
})

test('what is no pipe is written to all the same', async () => {
  const path = join(directory, 'no-pipe')
  using writer = new OutlivingWriter(openSync(path, 'w'), join(directory, 'count-of-no-pipe'))
  await writer.write(Buffer.from('hello'), signal)
  assert.deepEqual(await writer.end(signal), { bytes: 5, state: 'done' })
  assert.equal(readFileSync(path, 'utf8'), 'hello')
})

test('where nobody reads, what waits for that is given up, and what was given comes through once somebody reads', async () => {
  const { readEnd, writeEnd } = pipe2()
  const countFile = join(directory, 'count-of-unread')
  const data = Buffer.alloc(8_000_000, 'unread ')
  {
    using writer = new OutlivingWriter(openSync(`/proc/self/fd/${writeEnd}`, 'w'), countFile)
    const abort = new AbortController()
    const written = writer.write(data, abort.signal)
    setTimeout(() => abort.abort(new Error('enough')), 300)
    await assert.rejects(written, /enough/)
    const far = await writer.end(AbortSignal.timeout(300))
    assert.equal(far?.state, 'writing')
  }
  closeSync(writeEnd)
  using reader = new PipeReader(readEnd)
  const all = await readAll(reader)
  while (readWritten(countFile)?.state === 'writing') await sleep(10)
  assert.deepEqual(readWritten(countFile), { bytes: all.length, state: 'done' })
  assert.ok(all.length > 0 && all.equals(data.subarray(0, all.length)))
})
