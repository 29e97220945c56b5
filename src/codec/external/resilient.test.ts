import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { type Fault, plantBroken } from '../../../test/broken-decompressors/plant.ts'
import { isWindlassError, WindlassError } from '../../errors.ts'
import type { ProgramFault } from './program-failure.ts'
import { type ExternalProgram, findPrograms } from './programs.ts'
import { type Fallback, isRedo, ResilientDecompression, type ResilientOptions } from './resilient.ts'

const idleMs = 600
const content = Buffer.concat([
  Buffer.from('windlass hauls images\n'.repeat(40_000)),
  randomBytes(1_500_000),
  Buffer.alloc(300_000),
])
const compressed = gzipSync(content)
const { signal } = new AbortController()

let directory = ''
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-external-'))
})
after(() => rm(directory, { recursive: true }))

async function* pieces(bytes: Uint8Array, size = 65536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function broken(fault: Fault): Promise<ExternalProgram> {
  const path = await plantBroken(await mkdtemp(join(directory, fault)), fault)
  return { name: 'unpigz', path, realPath: path, args: ['-d', '-c'], compression: 'gzip' }
}

function program(path: string): ExternalProgram {
  return { name: 'gzip', path, realPath: path, args: ['-d', '-c'], compression: 'gzip' }
}

interface Outcome {
  readonly run: ResilientDecompression
  readonly bytes: Buffer
  readonly error: unknown
  readonly opened: number
  readonly fallbacks: Fallback[]
  readonly pid: number
  readonly tookMs: number
}

async function decompressWith(
  chosen: ExternalProgram | undefined,
  options: Partial<ResilientOptions> = {},
): Promise<Outcome> {
  const fallbacks: Fallback[] = []
  let opened = 0
  let pid = 0
  const { open = () => pieces(compressed), ...others } = options
  const run = new ResilientDecompression({
    signal,
    idleMs,
    choose: () => chosen,
    onFallback: fallback => fallbacks.push(fallback),
    onStart: process => (pid = process.pid),
    ...others,
    open: attempt => {
      opened++
      return open(attempt)
    },
  })
  const begun = performance.now()
  const chunks: Uint8Array[] = []
  let error: unknown
  try {
    for await (const chunk of run) chunks.push(chunk)
  } catch (thrown) {
    error = thrown
  }
  return { run, bytes: Buffer.concat(chunks), error, opened, fallbacks, pid, tookMs: performance.now() - begun }
}

/** Processes of the group that are left, our own zombies too; those of orphans are init's to reap. */
function membersOf(group: number): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
        const [state, parent, itsGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        return Number(itsGroup) === group && (state !== 'Z' || Number(parent) === process.pid)
      } catch {
        return false
      }
    })
}

async function assertNobodyLeft(group: number): Promise<void> {
  assert.ok(group > 0)
  for (let tries = 0; membersOf(group).length > 0 && tries < 3000; tries++) await sleep(20)
  assert.deepEqual(membersOf(group), [])
}

describe('a program that fails in the middle is replaced, and the bytes are right', { concurrency: 2 }, () => {
  const rows: readonly (readonly [Fault, ProgramFault])[] = [
    ['spin', 'stalled'],
    ['sleep', 'stalled'],
    ['stop-reading', 'stalled'],
    ['ignore-sigterm', 'stalled'],
    ['stop-itself', 'stalled'],
    ['dribble', 'dribbling'],
    ['close-stdout-and-exit', 'early'],
    ['close-stdout-and-live', 'lingering'],
    ['die-by-signal', 'died'],
    ['fail-with-a-child', 'failed'],
  ]
  for (const [fault, expected] of rows) {
    test(`${fault}: ${expected}`, async () => {
      const { run, bytes, error, opened, fallbacks, pid, tookMs } = await decompressWith(await broken(fault))
      assert.equal(error, undefined)
      assert.ok(bytes.equals(content))
      assert.equal(run.digest, createHash('sha256').update(content).digest('hex'))
      assert.deepEqual(
        fallbacks.map(fallback => fallback.fault),
        [expected],
      )
      assert.equal(opened, 2)
      assert.equal(run.isExonerated, false)
      assert.ok(tookMs < 60_000, `${tookMs} ms`)
      assert.match(fallbacks[0]?.error.message ?? '', /^Cannot decompress with \/.*unpigz: \S/)
      await assertNobodyLeft(pid)
    })
  }
})

test('a stall is told with evidence: state, bytes, and what waits in the pipes', async () => {
  const { fallbacks } = await decompressWith(await broken('stop-itself'))
  const { message, facts, code } = fallbacks[0]?.error ?? new WindlassError('FAILED', '')
  assert.equal(code, 'STALLED')
  assert.match(message, /no output for 0.6 s after \d+ bytes, although .* input .*\(state T/)
  assert.equal(facts['state'], 'T')
  assert.ok(Number(facts['bytesOut']) > 0 && Number(facts['bytesIn']) > 0)
})

test('wrong bytes, and then a stall: the work has to be done again, and is not passed off as right', async () => {
  const wrong: ExternalProgram[] = []
  const chosen = await broken('flip-and-sleep')
  const { error, pid } = await decompressWith(chosen, { onWrong: one => wrong.push(one) })
  assert.ok(isRedo(error), String(error))
  assert.ok(isWindlassError(error, 'CORRUPT'))
  assert.deepEqual(wrong, [chosen])
  await assertNobodyLeft(pid)
})

test('wrong bytes with status 0 are for the digest to find: the program stands there to be blamed', async () => {
  const chosen = await broken('flip')
  const { run, bytes, error } = await decompressWith(chosen)
  assert.equal(error, undefined)
  assert.equal(bytes.length, content.length)
  assert.notEqual(run.digest, createHash('sha256').update(content).digest('hex'))
  assert.equal(run.program, chosen)
})

for (const fault of ['flood-stderr', 'leave-a-child'] as const) {
  test(`${fault}: the work is done, so the program is not replaced, and nobody waits for it`, async () => {
    const { bytes, error, fallbacks, pid, tookMs } = await decompressWith(await broken(fault))
    assert.equal(error, undefined)
    assert.ok(bytes.equals(content))
    assert.deepEqual(fallbacks, [])
    assert.ok(tookMs < 60_000)
    await assertNobodyLeft(pid)
  })
}

test('a program that cannot be started is replaced', async () => {
  const { bytes, fallbacks } = await decompressWith(program('/nonexistent/gzip'))
  assert.ok(bytes.equals(content))
  assert.equal(fallbacks[0]?.fault, 'unavailable')
})

test('an error of the source comes out as it is, and the program is not blamed', async () => {
  const failure = new WindlassError('NETWORK', 'gone')
  const open = async function* () {
    yield compressed.subarray(0, 500_000)
    throw failure
  }
  const { error, fallbacks, opened, pid } = await decompressWith(program('/bin/gzip'), { open })
  assert.equal(error, failure)
  assert.deepEqual(fallbacks, [])
  assert.equal(opened, 1)
  await assertNobodyLeft(pid)
})

test('a source that is silent or slow for longer than the idle time is not the fault of the program', async () => {
  const open = async function* () {
    yield compressed.subarray(0, 100_000)
    await sleep(2 * idleMs)
    for (let at = 100_000; at < 100_100; at += 5) {
      yield compressed.subarray(at, at + 5)
      await sleep(idleMs / 10)
    }
    yield* pieces(compressed.subarray(100_100))
  }
  const { bytes, fallbacks } = await decompressWith(program('/bin/gzip'), { open })
  assert.deepEqual(fallbacks, [])
  assert.ok(bytes.equals(content))
})

test('time in which the event loop was blocked, or all was frozen, is not held against the program', async () => {
  const path = join(await mkdtemp(join(directory, 'late')), 'gzip')
  await writeFile(path, '#!/bin/sh\nsleep 1.2\nexec gzip "$@"\n', { mode: 0o755 })
  setTimeout(() => {
    for (const end = performance.now() + 800; performance.now() < end; );
  }, 50)
  const { bytes, fallbacks } = await decompressWith(program(path), { idleMs: 1000 })
  assert.deepEqual(fallbacks, [])
  assert.ok(bytes.equals(content))
})

test('a program that stalls when it has taken all its input is found', async () => {
  const text = Buffer.from('windlass hauls images\n'.repeat(40_000))
  const { bytes, fallbacks, tookMs } = await decompressWith(await broken('sleep'), {
    open: () => pieces(gzipSync(text)),
  })
  assert.equal(fallbacks[0]?.fault, 'stalled')
  assert.match(fallbacks[0].error.message, /although it has had its input/)
  assert.ok(bytes.equals(text))
  assert.ok(tookMs < 60_000)
})

test('a program that takes everything and gives nothing is found, although nothing waits in its input', async () => {
  const path = join(await mkdtemp(join(directory, 'sink')), 'gzip')
  await writeFile(path, '#!/bin/sh\ncat >/dev/null\nsleep 1000\n', { mode: 0o755 })
  const noise = randomBytes(9_000_000)
  const gzip = gzipSync(noise, { level: 0 })
  const open = async function* (attempt: AbortSignal) {
    yield* pieces(gzip.subarray(0, -8))
    if (!attempt.aborted && fallbackCount === 0) await sleep(90_000, undefined, { signal: attempt })
    yield gzip.subarray(-8)
  }
  let fallbackCount = 0
  const { bytes, tookMs } = await decompressWith(program(path), { open, onFallback: () => fallbackCount++ })
  assert.equal(fallbackCount, 1)
  assert.ok(bytes.equals(noise))
  assert.ok(tookMs < 60_000)
})

test('a reader that is slower than the idle time is not the fault of the program', async () => {
  const fallbacks: Fallback[] = []
  const run = new ResilientDecompression({
    signal,
    idleMs: 1000,
    choose: () => program('/bin/gzip'),
    open: () => pieces(compressed),
    onFallback: fallback => fallbacks.push(fallback),
  })
  let bytes = 0
  let slept = false
  for await (const chunk of run) {
    bytes += chunk.length
    if (slept) continue
    await sleep(2000)
    slept = true
  }
  assert.equal(bytes, content.length)
  assert.deepEqual(fallbacks, [])
})

test('data that is damaged fails in process, too: the program is exonerated', async () => {
  const damaged = Buffer.from(compressed)
  damaged.fill(0x55, 600_000, 700_000)
  const { run, error, fallbacks } = await decompressWith(program('/bin/gzip'), { open: () => pieces(damaged) })
  assert.ok(error instanceof WindlassError && error.code === 'CORRUPT' && !isRedo(error), String(error))
  assert.equal(fallbacks[0]?.fault, 'failed')
  assert.ok(run.isExonerated)
})

test('a stream of another compression than the program reads is decompressed in process', async () => {
  const { run, bytes, fallbacks } = await decompressWith(program('/bin/gzip'), {
    open: () => pieces(zstdCompressSync(content)),
  })
  assert.ok(bytes.equals(content))
  assert.equal(run.program, undefined)
  assert.deepEqual(fallbacks, [])
})

test('an abort ends a stuck program at once, and leaves nobody', async () => {
  const abort = new AbortController()
  setTimeout(() => abort.abort(), 300)
  const { error, fallbacks, pid, tookMs } = await decompressWith(await broken('spin'), {
    signal: abort.signal,
    idleMs: 20_000,
  })
  assert.ok(error instanceof WindlassError && error.code === 'CANCELLED', String(error))
  assert.deepEqual(fallbacks, [])
  assert.ok(tookMs < 15_000)
  await assertNobodyLeft(pid)
})

test('whoever stops reading ends the program', async () => {
  let pid = 0
  const run = new ResilientDecompression({
    signal,
    choose: () => program('/bin/gzip'),
    open: () => pieces(compressed),
    onStart: process => (pid = process.pid),
  })
  for await (const _ of run) break
  await assertNobodyLeft(pid)
})

test('the first source is told to stop, and has, before the second is opened', async () => {
  let live = 0
  const open = async function* (attempt: AbortSignal) {
    assert.equal(live++, 0)
    try {
      yield* pieces(compressed.subarray(0, 400_000))
      if (!attempt.aborted) await sleep(idleMs * 0.8, undefined, { signal: attempt })
      yield* pieces(compressed.subarray(400_000))
    } finally {
      live--
    }
  }
  const { bytes, opened } = await decompressWith(await broken('spin'), { open })
  assert.ok(bytes.equals(content))
  assert.equal(opened, 2)
})

test('a bomb is refused, and in process it shows that the program is not to blame', async () => {
  const bomb = gzipSync(Buffer.alloc(80 * 1024 * 1024))
  const options = { open: () => pieces(bomb), ratioMax: 100 }
  const { run, error, fallbacks } = await decompressWith(program('/bin/gzip'), options)
  assert.ok(error instanceof WindlassError && error.code === 'LIMIT_EXCEEDED', String(error))
  assert.equal(fallbacks[0]?.fault, 'runaway')
  assert.ok(run.isExonerated)
})

test('an xz stream with a dictionary beyond the limit is refused by the program, too, and in process', async t => {
  const [xz] = (await findPrograms('/usr/bin:/bin', ['xz'])).programs
  if (xz === undefined) return t.diagnostic('xz is not installed')
  const options = { input: content, maxBuffer: 8_000_000 }
  const greedy = execFileSync(xz.path, ['-c', '-T1', '--lzma2=preset=0,dict=256MiB'], options)
  const { run, error, fallbacks } = await decompressWith(xz, { open: () => pieces(greedy) })
  assert.ok(error instanceof WindlassError && error.code === 'LIMIT_EXCEEDED', String(error))
  assert.equal(fallbacks[0]?.fault, 'failed')
  assert.ok(run.isExonerated)
})

test('no descriptor stays open after many runs', async () => {
  const run = async () => {
    await decompressWith(program('/bin/gzip'))
    await decompressWith(program('/bin/false'))
    await decompressWith(program('/nonexistent/gzip'))
  }
  await run()
  await sleep(1000) // who keeps the programs leaves half a second after the last
  const open = readdirSync('/proc/self/fd').length
  for (let round = 0; round < 5; round++) await run()
  const count = () => readdirSync('/proc/self/fd').length
  for (let tries = 0; count() > open && tries < 3000; tries++) await sleep(20)
  assert.ok(count() <= open)
})
