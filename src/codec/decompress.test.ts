import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { type ErrorCode, isWindlassError, WindlassError } from '../errors.ts'
import { type DecompressOptions, decompress } from './decompress.ts'

const { signal } = new AbortController()

// Text, noise and zeros: large enough for several blocks of bzip2 and several writes into an engine.
const sample = Buffer.concat([
  Buffer.from('windlass hauls images\n'.repeat(20_000)),
  randomBytes(700_000),
  Buffer.alloc(1_000_000),
])
const small = Buffer.from('a small stream, but one with some redundancy, redundancy, redundancy'.repeat(3))

function run(command: string, input: Buffer): Buffer {
  const [program = '', ...args] = command.split(' ')
  return execFileSync(program, args, { input, maxBuffer: 64 * 1024 * 1024, stdio: ['pipe', 'pipe', 'ignore'] })
}

async function* pieces(bytes: Uint8Array, size = 65536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function collect(source: AsyncIterable<Uint8Array>, options: Partial<DecompressOptions> = {}): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of decompress(source, { signal, ...options })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function failsWith(code: ErrorCode, text: RegExp): (error: unknown) => boolean {
  return error => {
    assert.ok(isWindlassError(error, code), `${code} expected: ${error}`)
    assert.match(error.message, text)
    return true
  }
}

const commands = [
  'gzip -1 -c',
  'gzip -9 -c',
  'pigz -c -p 4 -b 128',
  'pigz -c -i',
  'zstd -q -1 -c',
  'zstd -q -19 -c',
  'zstd -q -c --long=27',
  'zstd -q -c -T2 -B1MiB',
  'xz -1 -c',
  'xz -9 -c -T2 --block-size=500000',
  'xz -1 -c --check=crc32',
  'bzip2 -1 -c',
  'bzip2 -9 -c',
  'cat',
]

for (const command of commands) {
  test(`what ${command} wrote comes back`, async () => {
    assert.ok((await collect(pieces(run(command, sample)))).equals(sample))
  })
}

const kinds = {
  gzip: gzipSync(small),
  zstd: zstdCompressSync(small),
  xz: run('xz -c', small),
  bzip2: run('bzip2 -c', small),
} as const
const names = Object.keys(kinds) as (keyof typeof kinds)[]
const inPool = ['gzip', 'zstd'] as const

for (const kind of names) {
  const one = kinds[kind]
  test(`${kind}: several streams, one after the other, and zeros at the end are one stream`, async () => {
    const all = Buffer.concat([one, one, one, Buffer.alloc(1024)])
    assert.ok((await collect(pieces(all))).equals(Buffer.concat([small, small, small])))
  })

  test(`${kind}: other bytes after the end are refused, also behind zeros`, async () => {
    for (const tail of [
      Buffer.from('garbage of some length'),
      Buffer.concat([Buffer.alloc(600_000), Buffer.from('x')]),
    ]) {
      await assert.rejects(
        collect(pieces(Buffer.concat([one, tail]))),
        failsWith('CORRUPT', /follow its end|corrupt|early/),
      )
    }
  })

  test(`${kind}: no bytes at all are a stream that ends early`, async () => {
    await assert.rejects(collect(pieces(Buffer.alloc(0)), { compression: kind }), failsWith('CORRUPT', /ends early/))
  })

  test(`${kind}: an error of the source comes out as it is`, async () => {
    const broken = async function* () {
      yield one.subarray(0, 10)
      throw new WindlassError('NETWORK', 'gone')
    }
    await assert.rejects(collect(broken()), failsWith('NETWORK', /gone/))
  })

  test(`${kind}: an abort ends the wait for a silent source, at once`, async () => {
    const abort = new AbortController()
    const silent = async function* () {
      yield one.subarray(0, 10)
      await new Promise(() => {})
    }
    setTimeout(() => abort.abort(), 20)
    const begun = performance.now()
    await assert.rejects(collect(silent(), { signal: abort.signal }), failsWith('CANCELLED', /cancelled/))
    assert.ok(performance.now() - begun < 30_000)
  })

  test(`${kind}: whoever stops reading closes the source`, async () => {
    const many = Buffer.concat(Array.from({ length: 300 }, () => one))
    let closed = false
    const endless = async function* () {
      try {
        for (;;) {
          yield many
          await sleep(0)
        }
      } finally {
        closed = true
      }
    }
    for await (const _ of decompress(endless(), { signal })) break
    await sleep(20)
    assert.ok(closed)
  })
}

for (const kind of inPool) {
  const one = kinds[kind]
  test(`${kind}: a stream that is cut anywhere is told from a whole one`, async () => {
    for (let length = 1; length < one.length; length++) {
      const cut = collect(pieces(one.subarray(0, length)), { compression: kind })
      await assert.rejects(cut, failsWith('CORRUPT', new RegExp(`ends early at byte ${length}`)))
      const second = collect(pieces(Buffer.concat([one, one.subarray(0, length)])))
      await assert.rejects(second, failsWith('CORRUPT', /ends early|follow its end/))
    }
  })

  test(`${kind}: the bytes are the same wherever the source cuts, and it may use its buffer again`, async () => {
    const archive = Buffer.concat([one, run(kind === 'gzip' ? 'gzip -c' : 'zstd -q -c', sample), one, Buffer.alloc(7)])
    const expected = Buffer.concat([small, sample, small])
    const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 400_000 })), {
      minLength: 1,
    })
    await fc.assert(
      fc.asyncProperty(cuts, async lengths => {
        const source = async function* () {
          const shared = Buffer.alloc(400_000)
          for (let at = 0, turn = 0; at < archive.length; turn++) {
            const length = Math.min(lengths[turn % lengths.length] ?? 1, archive.length - at)
            // Tiny pieces only at the beginning, so that a run takes milliseconds.
            const size = turn < 200 ? length : Math.min(400_000, archive.length - at)
            archive.copy(shared, 0, at, at + size)
            at += size
            yield shared.subarray(0, size)
          }
        }
        assert.ok((await collect(source())).equals(expected))
      }),
      { numRuns: 30 },
    )
  })
}

for (const kind of ['xz', 'bzip2'] as const) {
  const one = kinds[kind]
  test(`${kind}: a stream that is cut is told from a whole one`, async () => {
    for (const length of [7, 14, 40, one.length - 9, one.length - 1]) {
      await assert.rejects(collect(pieces(one.subarray(0, length))), failsWith('CORRUPT', /ends early/))
    }
  })

  test(`${kind}: single bytes and uneven pieces give the same bytes`, async () => {
    for (const size of [1, 7]) assert.ok((await collect(pieces(one, size))).equals(small))
    assert.ok((await collect(pieces(run(`${kind} -1 -c`, sample), 99_991))).equals(sample))
  })

  test(`${kind}: a damaged stream is corrupt`, async () => {
    const damaged = Buffer.from(one)
    damaged[40] = (damaged[40] ?? 0) ^ 0xff
    await assert.rejects(collect(pieces(damaged)), failsWith('CORRUPT', /corrupt|early/))
  })

  test(`${kind}: a slow consumer holds the thread back, and gets everything`, async () => {
    const noise = randomBytes(6_000_000)
    const parts: Uint8Array[] = []
    let bytesIn = 0
    const onInput = (bytes: number) => {
      bytesIn += bytes
    }
    for await (const chunk of decompress(pieces(run(`${kind} -1 -c`, noise)), { signal, onInput })) {
      if (parts.length === 0) await sleep(800)
      if (parts.length === 0) assert.ok(bytesIn < 4_500_000, `${bytesIn} bytes were taken while nobody read`)
      parts.push(chunk)
    }
    assert.ok(Buffer.concat(parts).equals(noise))
  })
}

test('gzip: a damaged stream is corrupt, wherever the damage is', async () => {
  const one = kinds.gzip
  for (let at = 10; at < one.length; at++) {
    const damaged = Buffer.from(one)
    damaged[at] = (damaged[at] ?? 0) ^ 0x55
    await assert.rejects(collect(pieces(damaged)), error => isWindlassError(error, 'CORRUPT'))
  }
})

test('damage far inside is placed near the byte where it is', async () => {
  const archive = Buffer.concat(Array.from({ length: 20 }, () => gzipSync(randomBytes(100_000))))
  archive.fill(0x55, 1_500_000, 1_500_100)
  const place = (error: unknown) => {
    const at = Number(/after byte (\d+)/.exec((error as Error).message)?.[1])
    return at <= 1_500_100 && at > 1_200_000
  }
  await assert.rejects(collect(pieces(archive)), place)
})

test('zstd: skippable frames are skipped wherever they stand', async () => {
  const skippable = Buffer.from('532a4d180400000061626364', 'hex')
  const archive = Buffer.concat([skippable, kinds.zstd, skippable, kinds.zstd, skippable])
  assert.ok((await collect(pieces(archive))).equals(Buffer.concat([small, small])))
})

test('zstd: a window above 128 MiB is refused before it is allocated', async () => {
  // Read from a pipe, so the frame keeps the window it was asked for.
  const archive = run('zstd -q -1 -c --long=28', sample)
  await assert.rejects(collect(pieces(archive)), failsWith('LIMIT_EXCEEDED', /128 MiB/))
})

test('xz: filters, checks and dictionaries that cannot be decoded are named', async () => {
  await assert.rejects(collect(pieces(run('xz --x86 --lzma2 -c', small))), failsWith('UNSUPPORTED', /LZMA2/))
  await assert.rejects(collect(pieces(run('xz --check=sha256 -c', small))), failsWith('UNSUPPORTED', /CRC64/))
  const large = run('xz -c --lzma2=preset=1,dict=128MiB', small)
  await assert.rejects(collect(pieces(large)), failsWith('LIMIT_EXCEEDED', /64 MiB/))
})

test('an expansion ratio above the limit ends the stream, but not below 64 MiB of output', async () => {
  const zeros = (mebibytes: number) => zstdCompressSync(Buffer.alloc(mebibytes * 1024 * 1024))
  await assert.rejects(collect(pieces(zeros(80))), failsWith('LIMIT_EXCEEDED', /1000 times/))
  assert.equal((await collect(pieces(zeros(60)))).length, 60 * 1024 * 1024)
  assert.equal((await collect(pieces(zeros(80)), { ratioMax: 1e6 })).length, 80 * 1024 * 1024)
})

test('every byte in and out is counted', async () => {
  const archive = run('gzip -c', sample)
  let bytesIn = 0
  let bytesOut = 0
  await collect(pieces(archive, 999), {
    onInput: bytes => {
      bytesIn += bytes
    },
    onOutput: bytes => {
      bytesOut += bytes
    },
  })
  assert.deepEqual([bytesIn, bytesOut], [archive.length, sample.length])
})

for (const command of ['gzip -c', 'zstd -q -c', 'xz -1 -c', 'bzip2 -c']) {
  test(`an abort ends what ${command} wrote at the next read, though all its input is there`, async () => {
    const abort = new AbortController()
    const archive = run(command, Buffer.alloc(40_000_000))
    const reading = async () => {
      for await (const _ of decompress(pieces(archive, 1_000_000), { signal: abort.signal })) {
        await sleep(20)
        assert.equal(abort.signal.aborted, false)
        abort.abort()
      }
    }
    await assert.rejects(reading, failsWith('CANCELLED', /cancelled/))
  })
}

test('a signal that is aborted already opens nothing', async () => {
  let opened = false
  const source = async function* () {
    opened = true
    yield kinds.gzip
  }
  await assert.rejects(collect(source(), { signal: AbortSignal.abort() }), failsWith('CANCELLED', /cancelled/))
  assert.equal(opened, false)
})

test('whoever lets memory be used again has it freed: what was read once the next is asked for, and nothing that lies in a pool', async () => {
  for (const archive of [run('gzip -c', sample), run('zstd -q -c', sample)]) {
    const pool = new ArrayBuffer(Buffer.poolSize)
    const given: Uint8Array[] = []
    const source = async function* () {
      for (let at = 0; at < archive.length; at += 50_000) {
        const piece = Uint8Array.from(archive.subarray(at, at + 50_000))
        given.push(piece)
        yield piece
        assert.equal(piece.buffer.detached, true)
      }
      // Zeros may follow the end.
      yield new Uint8Array(pool, pool.byteLength - 100)
    }
    const chunks: Buffer[] = []
    for await (const chunk of decompress(source(), { signal, recycle: true })) chunks.push(Buffer.from(chunk))
    assert.ok(Buffer.concat(chunks).equals(sample))
    assert.ok(given.length > 5)
    assert.equal(pool.detached, false)
  }
})

test('decoders that are left early or aborted give their memory back', async () => {
  const archive = run('zstd -q -19 -c --long=24', sample) // 16 MiB of window each
  const rss: number[] = []
  for (let round = 0; round < 150; round++) {
    const abort = new AbortController()
    try {
      for await (const _ of decompress(pieces(archive), { signal: abort.signal })) {
        if (round % 2 === 0) break
        abort.abort()
      }
    } catch (error) {
      assert.ok(isWindlassError(error, 'CANCELLED'))
    }
    if (round === 50 || round === 149) rss.push(process.memoryUsage().rss)
  }
  const [early = 0, late = 0] = rss
  assert.ok(late - early < 100 * 1024 * 1024, `${early} grew to ${late}`)
})
