import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { crc32, gzipSync } from 'node:zlib'
import type { ProcessFacts } from '../../sys/tasks.ts'
import { wasGiven } from './was-given.ts'

const signal = AbortSignal.timeout(60_000)

interface Layer {
  readonly blob: Buffer
  readonly content: Buffer
}

/** Noise cannot be compressed: without a try to its blob has a length that is known. */
function layerOf(content: Buffer, level?: number): Layer {
  return { blob: gzipSync(content, { level }), content }
}

/** Another layer whose blob is as long. */
function likeOf({ blob, content }: Layer, level?: number): Layer {
  for (let at = 1; at < 256; at++) {
    const changed = Buffer.from(content)
    changed[100] = ((content[100] as number) + at) % 256
    const another = layerOf(changed, level)
    if (another.blob.length === blob.length) return another
  }
  throw new Error('there is none')
}

const noise = layerOf(randomBytes(20_000), 0)

/** Reads so many bytes, into buffers of a size. */
const reader = `
my ($left, $size) = @ARGV;
my @buffers;
while ($left > 0) {
  my $wanted = $left < $size ? $left : $size;
  my $buffer = '';
  while (length $buffer < $wanted) { sysread(STDIN, $buffer, $wanted - length $buffer, length $buffer) or die }
  push @buffers, $buffer;
  $left -= $wanted;
}
$| = 1; print 'x'; sleep 1000`

/** A program that has read so many bytes of what it was given; the rest waits. @returns whether it is seen that it was given this layer */
async function look(given: Buffer, read: number, { blob, content }: Layer, bufferSize = 1 << 20): Promise<boolean> {
  const child = spawn('perl', ['-e', reader, String(read), String(bufferSize)], { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    child.stdin.write(given.subarray(0, read))
    await once(child.stdout, 'data')
    const input = given.subarray(read)
    const end = blob.subarray(-(input.length + 65_536))
    const examined = { end, layer: { size: blob.length }, total: content.length, checksum: crc32(content) }
    return await wasGiven({ decompressor: [{ pid: child.pid } as ProcessFacts] }, { input, examined }, signal)
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

/** It is seen that it was given this layer, and that it was not where it was given another one. */
async function checkLooks(layer: Layer, reads: readonly number[], another = likeOf(layer, 0)): Promise<void> {
  for (const read of reads) {
    assert.equal(await look(layer.blob, read, layer), true, String(read))
    assert.equal(await look(another.blob, read, layer), false, String(read))
  }
}

test('a layer was given whose end waits, or was read: all of it, or a part; not one that has as many bytes', async () => {
  await checkLooks(noise, [0, 100, noise.blob.length - 10, noise.blob.length])
})

test('nor one that has as many bytes, and the same up to the end', async () => {
  const { blob, content } = noise
  const another = gzipSync(Buffer.concat([content.subarray(0, -1), Buffer.from([(content.at(-1) as number) ^ 1])]), {
    level: 0,
  })
  assert.equal(another.length, blob.length)
  for (const read of [0, 100, blob.length - 10, blob.length]) assert.equal(await look(another, read, noise), false)
})

test('a layer that ends like many others was given: as much of its end is looked at as no other has', async () => {
  const padded = layerOf(Buffer.concat([randomBytes(3000), Buffer.alloc(300_000)]))
  assert.ok(new Set(padded.blob.subarray(-200)).size < 24)
  const { length } = padded.blob
  await checkLooks(padded, [0, length - 250, length - 100, length - 10, length - 3, length], likeOf(padded))
})

test('a layer of a few bytes is looked at whole', async () => {
  const nothing = layerOf(Buffer.alloc(1024))
  assert.ok(nothing.blob.length < 64)
  const another = layerOf(Buffer.alloc(1024, 1))
  assert.equal(another.blob.length, nothing.blob.length)
  await checkLooks(nothing, [0, nothing.blob.length], another)
})

test('so is one whose end does not tell of all of it: several members, something behind it, another format', async () => {
  const first = likeOf(noise, 0)
  const members = (one: Layer) => Buffer.concat([one.blob, noise.blob])
  for (const [blob, another] of [
    [members(noise), members(first)],
    [Buffer.concat([noise.blob, Buffer.alloc(200)]), Buffer.concat([first.blob, Buffer.alloc(200)])],
    [randomBytes(1000), randomBytes(1000)],
  ] as const) {
    const layer = { blob, content: Buffer.concat([noise.content, noise.content]) }
    for (const read of [0, 100, blob.length]) {
      assert.equal(await look(blob, read, layer), true, String(read))
      assert.equal(await look(another, read, layer), false, String(read))
    }
  }
})

test('but not where more of it was read than a decompressor keeps', async () => {
  const large = layerOf(randomBytes(70_000), 0)
  const blob = Buffer.concat([large.blob, Buffer.alloc(200)])
  assert.equal(await look(blob, blob.length, { ...large, blob }), false)
})

function layerOfLength(length: number): Layer {
  const added = layerOf(randomBytes(length), 0).blob.length - length
  const layer = layerOf(randomBytes(length - added), 0)
  assert.equal(layer.blob.length, length)
  return layer
}

test('an end that stands in two buffers is found, unless these cut its checksum', async () => {
  for (const over of [8, 20, 63]) {
    const layer = layerOfLength(32_768 + over)
    assert.equal(await look(layer.blob, layer.blob.length, layer, 32_768), true, String(over))
    assert.equal(await look(likeOf(layer, 0).blob, layer.blob.length, layer, 32_768), false, String(over))
  }
  const cut = layerOfLength(32_768 + 7)
  assert.equal(await look(cut.blob, cut.blob.length, cut, 32_768), false)
  assert.equal(await look(cut.blob, cut.blob.length - 20, cut, 32_768), true, 'it waits')
})

test('what has not come is not seen', async () => {
  const { blob, content } = noise
  assert.equal(await look(blob.subarray(0, -5), blob.length - 5, noise), false)
  const examined = { end: Buffer.alloc(0), layer: { size: 0 }, total: content.length, checksum: 0 }
  assert.equal(await wasGiven({ decompressor: [] }, { input: Buffer.alloc(0), examined }, signal), false)
})
