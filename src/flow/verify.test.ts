import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { isWindlassError } from '../errors.ts'
import { parseDigest } from '../oci/digest.ts'
import { type Expected, verified } from './verify.ts'

const content = Buffer.from('what was promised')
const digest = parseDigest(`sha256:${createHash('sha256').update(content).digest('hex')}`)
const digest512 = parseDigest(`sha512:${createHash('sha512').update(content).digest('hex')}`)

/** A stream in pieces of `size` bytes, that notes whether it was closed. */
class Stream {
  closed = false
  given = 0
  readonly #bytes: Buffer
  readonly #size: number

  constructor(bytes: Buffer, size = 5) {
    this.#bytes = bytes
    this.#size = size
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    try {
      for (let at = 0; at < this.#bytes.length; at += this.#size) {
        this.given++
        yield this.#bytes.subarray(at, at + this.#size)
      }
    } finally {
      this.closed = true
    }
  }
}

async function collect(source: Stream, expected: Omit<Expected, 'subject'>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of verified(source, { subject: 'layer', ...expected })) pieces.push(piece)
  return Buffer.concat(pieces)
}

test('what is as it should be comes through unchanged', async () => {
  assert.ok((await collect(new Stream(content), { digest, size: content.length })).equals(content))
  assert.ok((await collect(new Stream(content), { digest })).equals(content))
  assert.ok((await collect(new Stream(content), { digest: digest512, size: content.length })).equals(content))
})

test('nothing at all is verified too', async () => {
  const none = parseDigest(`sha256:${createHash('sha256').digest('hex')}`)
  assert.equal((await collect(new Stream(Buffer.alloc(0)), { digest: none, size: 0 })).length, 0)
  await assert.rejects(collect(new Stream(Buffer.alloc(0)), { digest }), { code: 'DIGEST_MISMATCH' })
})

test('a changed byte is refused at the end, and the message names both digests', async () => {
  const changed = Buffer.from(content)
  changed[3] = 0
  await assert.rejects(
    collect(new Stream(changed), { digest, size: content.length }),
    error =>
      isWindlassError(error, 'DIGEST_MISMATCH') && /layer: its bytes are sha256:.*; wanted sha256:/.test(error.message),
  )
})

test('a byte too few is refused, and a byte too many ends the stream before it is read on', async () => {
  await assert.rejects(
    collect(new Stream(content), { digest, size: content.length + 1 }),
    /17 bytes; it should have 18/,
  )
  const endless = new Stream(Buffer.concat([content, Buffer.alloc(100_000)]))
  await assert.rejects(collect(endless, { digest, size: content.length }), /more than the 17 bytes/)
  assert.equal(endless.given, 4)
  assert.equal(endless.closed, true)
})

test('who stops early closes the source', async () => {
  const source = new Stream(content)
  for await (const _ of verified(source, { digest, subject: 'layer' })) break
  assert.equal(source.closed, true)
})
