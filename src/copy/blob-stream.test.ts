import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { Source } from '../places/place.ts'
import { BlobHosts } from './blob-hosts.ts'
import { RangeBudget } from './blob-ranges.ts'
import { blobStream } from './blob-stream.ts'

test('what comes after the stream was given up is not written: the blob may have been begun anew', async () => {
  const descriptor: Descriptor = { mediaType: 'x', digest: `sha256:${'0'.repeat(64)}` as Digest, size: 8 }
  const late = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  async function* bytes(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('0123')
    asked.resolve()
    await late.promise
    yield Buffer.from('4567')
  }
  const source = { name: 'slow', openBlob: async () => ({ offset: 0, bytes: bytes() }) } as unknown as Source
  const network = {
    hosts: new BlobHosts(source),
    floor: { bytesPerSecond: 1, windowMs: 60_000 },
    ranges: new RangeBudget({ rangesMax: 1 }),
  }
  const written: string[] = []
  const ingest = {
    complete: false,
    size: 0,
    async *read() {},
    write: async (chunk: Uint8Array) => void written.push(Buffer.from(chunk).toString()),
  }
  const stop = new AbortController()
  const options = { signal: stop.signal, onBytes: () => {}, onRetry: () => {} }
  const stream = blobStream(network, descriptor, ingest, options)
  assert.equal((await stream.next()).done, false)
  const next = stream.next()
  await asked.promise
  stop.abort()
  late.resolve()
  await assert.rejects(next)
  assert.deepEqual(written, ['0123'])
})
