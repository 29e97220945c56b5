import assert from 'node:assert/strict'
import { test } from 'node:test'
import { constants, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { ZstdFrames } from './zstd-frames.ts'

const skippable = Buffer.from('502a4d1803000000616263', 'hex')

function compressed(content: Uint8Array, checksum: boolean): Buffer {
  return zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0 } })
}

test('a stream is between frames exactly where one ends, however it is cut', () => {
  const content = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.constant(Buffer.alloc(300_000)))
  const frame = fc.oneof(
    fc.tuple(content, fc.boolean()).map(([bytes, flag]) => compressed(bytes, flag)),
    fc.constant(skippable),
  )
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 9 }), (frames, size) => {
      const ends = new Set([0])
      for (const { length } of frames) ends.add(Math.max(...ends) + length)
      const stream = Buffer.concat(frames)
      const scan = new ZstdFrames()
      for (let at = 0; at < stream.length; at += size) {
        scan.push(stream.subarray(at, at + size))
        assert.equal(scan.isBetweenFrames, ends.has(Math.min(at + size, stream.length)))
      }
    }),
    { numRuns: 200 },
  )
})

test('zeros after a frame are padding, the first bytes of a frame are not', () => {
  const whole = compressed(Buffer.from('content'), true)
  for (const [tail, expected] of [
    [[0], true],
    [[0, 0, 0, 0, 0, 0], true],
    [[0x28], false],
    [[0x28, 0xb5, 0x2f], false],
    [[0x78], false],
  ] as const) {
    const scan = new ZstdFrames()
    scan.push(whole)
    scan.push(Buffer.from(tail))
    assert.equal(scan.isBetweenFrames, expected)
  }
})
