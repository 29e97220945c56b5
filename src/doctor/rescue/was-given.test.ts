import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { ProcessFacts } from '../../sys/tasks.ts'
import { wasGiven } from './was-given.ts'

const signal = AbortSignal.timeout(60_000)
const content = randomBytes(20_000)
const blob = gzipSync(content)

/** A program that has read so many bytes of what it was given; the rest waits. @returns whether it is seen that it was given this */
async function look(given: Buffer, read: number, layer: { blob: Buffer; total: number }): Promise<boolean> {
  const script = '$| = 1; sysread(STDIN, my $all, $ARGV[0]) if $ARGV[0]; print "x"; sleep 1000'
  const child = spawn('perl', ['-e', script, String(read)], { stdio: ['pipe', 'pipe', 'ignore'] })
  try {
    child.stdin.write(given.subarray(0, read))
    await once(child.stdout, 'data')
    const input = given.subarray(read)
    const end = layer.blob.subarray(-(input.length + 64))
    const decompressor = [{ pid: child.pid } as ProcessFacts]
    return await wasGiven({ decompressor }, { input, examined: { end, total: layer.total } }, signal)
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

test('a layer was given whose end waits, or was read: all of it, or a part', async () => {
  for (const read of [0, 100, blob.length - 10, blob.length])
    assert.equal(await look(blob, read, { blob, total: content.length }), true, String(read))
})

test('not one that has as many bytes, and the same up to the end', async () => {
  const another = gzipSync(Buffer.concat([content.subarray(0, -1), Buffer.from([(content.at(-1) as number) ^ 1])]))
  assert.equal(another.length, blob.length)
  for (const read of [0, 100, blob.length - 10, blob.length])
    assert.equal(await look(another, read, { blob, total: content.length }), false, String(read))
})

test('nor one whose end tells of its last part alone, or is like the end of many', async () => {
  const members = Buffer.concat([gzipSync(randomBytes(5000)), blob])
  assert.equal(await look(members, members.length, { blob: members, total: 5000 + content.length }), false)
  const padded = Buffer.concat([blob, Buffer.alloc(200)])
  assert.equal(await look(padded, padded.length, { blob: padded, total: content.length }), false)
  const even = { input: Buffer.alloc(64), examined: { end: Buffer.alloc(128), total: 0 } }
  assert.equal(await wasGiven({ decompressor: [] }, even, signal), false)
})
