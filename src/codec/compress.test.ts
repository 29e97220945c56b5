import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { isWindlassError, WindlassError } from '../errors.ts'
import { type CompressOptions, compress } from './compress.ts'

const { signal } = new AbortController()
const lines = Array.from({ length: 60_000 }, (_, line) => `line ${line} of ${line * 7919}\n`)
const sample = Buffer.concat([randomBytes(900_000), Buffer.from(lines.join(''))])

async function* pieces(bytes: Uint8Array, size = 300_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function collect(source: AsyncIterable<Uint8Array>, options: Omit<CompressOptions, 'signal'>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of compress(source, { signal, ...options })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

test('gzip and zstd read what was written, and a higher level is smaller', async () => {
  for (const compression of ['gzip', 'zstd'] as const) {
    const sizes: number[] = []
    for (const level of compression === 'gzip' ? [1, 9] : [1, 19]) {
      const packed = await collect(pieces(sample), { compression, level })
      sizes.push(packed.length)
      const unpacked = execFileSync(compression, ['-dc'], { input: packed, maxBuffer: 2 * sample.length })
      assert.ok(unpacked.equals(sample))
    }
    assert.ok((sizes[1] ?? 0) < (sizes[0] ?? 0))
  }
})

test('nothing in is a valid stream of nothing', async () => {
  const packed = await collect(pieces(Buffer.alloc(0)), { compression: 'gzip' })
  assert.equal(execFileSync('gzip', ['-dc'], { input: packed }).length, 0)
})

test('an error of the source comes out as it is, and an abort as CANCELLED', async () => {
  for (const compression of ['gzip', 'zstd', 'none'] as const) {
    const broken = async function* () {
      yield sample
      throw new WindlassError('FAILED', 'gone')
    }
    await assert.rejects(collect(broken(), { compression }), /gone/)
    const abort = new AbortController()
    const silent = async function* () {
      yield sample
      await new Promise(() => {})
    }
    setTimeout(() => abort.abort(), 20)
    const reading = async () => {
      for await (const _ of compress(silent(), { compression, signal: abort.signal }));
    }
    await assert.rejects(reading, error => isWindlassError(error, 'CANCELLED'))
  }
})
