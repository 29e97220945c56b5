/** What is written of an image is on its way to the disk before anybody syncs: the sync at the end, which is waited for, then has little left to do. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseDigest } from '../../src/oci/digest.ts'
import { mediaTypes } from '../../src/oci/media-types.ts'
import { Store } from '../../src/places/store/store.ts'
import { type LoopFilesystem, openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { unpackTar } from '../unpack-tar.ts'

const MiB = 1 << 20
const signal = new AbortController().signal
let disk: LoopFilesystem

before(async () => {
  // Left alone, its kernel writes nothing for half a minute.
  disk = await openLoopFilesystem({ sizeBytes: 256 * MiB, isLazy: true })
})
after(async () => await disk[Symbol.asyncDispose]())

/** Bytes of the disk that were ever written. */
async function readWritten(): Promise<number> {
  return (await stat(disk.image)).blocks * 512
}

async function awaitWritten(bytes: number): Promise<void> {
  const deadline = performance.now() + 20_000
  while ((await readWritten()) < bytes) {
    assert.ok(performance.now() < deadline, `${await readWritten()} bytes are on the disk; wanted ${bytes}`)
    await sleep(50)
  }
}

test('a large file of a layer', async () => {
  const directory = join(disk.directory, 'layer')
  await mkdir(directory)
  const before = await readWritten()
  await unpackTar(directory, [{ name: 'large', data: randomBytes(6 * MiB) }])
  await awaitWritten(before + 6 * MiB)
})

test('a blob, while its rest still comes', async () => {
  const bytes = randomBytes(20 * MiB)
  const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
  await using store = await Store.open(join(disk.directory, 'store'), { signal })
  await using session = await store.openSession('test')
  await using blob = await session.openBlob({ mediaType: mediaTypes.ociLayer, digest, size: bytes.length }, signal)
  const before = await readWritten()
  for (let at = 0; at < 18 * MiB; at += MiB) await blob.write(bytes.subarray(at, at + MiB))
  await awaitWritten(before + 16 * MiB)
  await blob.write(bytes.subarray(18 * MiB))
  await blob.commit()
  assert.ok(bytes.equals(Buffer.concat(await Array.fromAsync(blob.read()))))
})
