/** Decompression in process and the calls to files share libuv's pool: a disk that holds all its threads must not look like a decompressor that hangs. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { decompress } from '../../src/codec/decompress.ts'
import { LayerStages } from '../../src/copy/layer-stages.ts'
import { LockStage } from '../../src/copy/lock-stage.ts'
import { defaultBlameLimits, type Verdict } from '../../src/flow/blame.ts'
import { watch } from '../../src/flow/watch.ts'
import { run } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'

test('a frozen disk that holds every thread of the pool is named, and not the decompressor behind it', {
  timeout: 60_000,
}, async t => {
  const { signal } = t
  await using loop = await openLoopFilesystem({ sizeBytes: 32 << 20 })
  const content = randomBytes(3_000_000)
  const stages = new LayerStages(
    new LockStage(
      () => 0,
      () => {},
    ),
  )
  const told = Promise.withResolvers<Verdict>()
  // It would be accused long before the disk.
  const limits = { ...defaultBlameLimits, decompressorIdleMs: 1_500, diskIdleMs: 3_000, unexplainedMs: 20_000 }
  await run('fsfreeze', ['-f', loop.directory])
  const thaw = Promise.withResolvers<void>()
  // More than the pool has threads.
  const writes = Array.from({ length: 8 }, (_, name) => writeFile(join(loop.directory, String(name)), 'x'))
  const source = stages.meterCompressed(pieces(gzipSync(content)))
  const chunks = Array.fromAsync(stages.meterDecompressed(decompress(source, { signal })))
  try {
    using _watching = watch(closer => stages.sample(closer), { signal, limits, onVerdict: told.resolve })
    const timer = setTimeout(() => thaw.resolve(), 20_000)
    await Promise.race([told.promise, thaw.promise])
    clearTimeout(timer)
  } finally {
    await run('fsfreeze', ['-u', loop.directory])
  }
  const { stage, kind, evidence } = await told.promise
  assert.deepEqual([stage, kind], ['decompress', 'disk-wait'], evidence.join('\n'))
  assert.match(evidence.join('\n'), /\(in process, behind \d+ threads that all wait for the disk\)/)
  assert.match(evidence.join('\n'), /state D .* in percpu_rwsem_wait, .*\n.* frozen .*\(fsfreeze\)/)
  await Promise.all(writes)
  assert.ok(Buffer.concat(await chunks).equals(content))
})

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  for (let at = 0; at < bytes.length; at += 1 << 20) yield bytes.subarray(at, at + (1 << 20))
}
