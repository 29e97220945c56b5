import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { createRing, RingAborted, RingReader, RingWriter } from './ring.ts'

const readerThread = `
  const { workerData, parentPort } = require('node:worker_threads')
  const { createHash } = require('node:crypto')
  import(workerData.module).then(({ RingReader }) => {
    const reader = new RingReader(workerData.memory)
    const hash = createHash('sha256')
    let seed = 7, bytes = 0
    while (true) {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff
      const piece = seed & 1 ? reader.read(1 + (seed % 997)) : reader.chunk(1 + (seed % 9001))
      if (piece === undefined || piece.length === 0) { if (piece === undefined) { const rest = reader.chunk(4096); bytes += rest.length; hash.update(rest); if (rest.length) continue } break }
      bytes += piece.length
      hash.update(piece)
    }
    parentPort.postMessage({ bytes, digest: hash.digest('hex') })
  })`

test('every byte crosses to a blocking thread in order, whatever the sizes on both sides', async () => {
  const memory = createRing(16384)
  const worker = new Worker(readerThread, {
    eval: true,
    workerData: { memory, module: new URL('./ring.ts', import.meta.url).href },
  })
  const answer = new Promise<{ bytes: number; digest: string }>(resolve => worker.once('message', resolve))
  const writer = new RingWriter(memory)
  const hash = createHash('sha256')
  let bytes = 0
  for (let size = 1; size < 60000; size = size * 2 + 3) {
    const chunk = randomBytes(size)
    hash.update(chunk)
    bytes += chunk.length
    await writer.write(chunk)
  }
  writer.end()
  assert.deepEqual(await answer, { bytes, digest: hash.digest('hex') })
  await worker.terminate()
})

test('a reader at the end of the stream gets nothing and does not wait', () => {
  const memory = createRing(4096)
  const writer = new RingWriter(memory)
  const reader = new RingReader(memory)
  writer.end()
  assert.equal(reader.read(1), undefined)
  assert.equal(reader.chunk(10).length, 0)
})

test('a writer that waits for room is freed when the ring is aborted', async () => {
  const memory = createRing(1024)
  const writer = new RingWriter(memory)
  const waiting = writer.write(new Uint8Array(2000))
  setTimeout(() => writer.abort(), 20)
  await assert.rejects(waiting, RingAborted)
  assert.throws(() => new RingReader(memory).read(500), RingAborted)
})

test('what the reader still looks at is not overwritten', async () => {
  const memory = createRing(1024)
  const writer = new RingWriter(memory)
  const reader = new RingReader(memory)
  await writer.write(new Uint8Array(1024).fill(1))
  const view = reader.chunk(256)
  let wrote = false
  const more = writer.write(new Uint8Array(256).fill(2)).then(() => {
    wrote = true
  })
  await new Promise(resolve => setTimeout(resolve, 20))
  assert.equal(wrote, false)
  assert.ok(view.every(byte => byte === 1))
  assert.equal(reader.chunk(256).length, 256)
  await more
})

test('an end after an abort is no end: the reader must not take what it has for the whole', () => {
  const memory = createRing(1024)
  const writer = new RingWriter(memory)
  writer.abort()
  writer.end()
  assert.throws(() => new RingReader(memory).chunk(10), RingAborted)
})

test('a read of more than can ever be there at once is refused, not waited for', () => {
  const memory = createRing(1024)
  assert.throws(() => new RingReader(memory).read(513), RangeError)
})

test('at the end of the stream all of it counts as taken', async () => {
  const memory = createRing(1024)
  const writer = new RingWriter(memory)
  await writer.write(new Uint8Array(100))
  writer.end()
  const reader = new RingReader(memory)
  while (reader.chunk(60).length > 0);
  assert.equal(writer.pending, 0)
})
