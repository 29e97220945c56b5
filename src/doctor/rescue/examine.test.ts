import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { buildTar, type RawEntry } from '../../../test/tar-builder.ts'
import { isWindlassError } from '../../errors.ts'
import { type Before, decodeFrom, type Examined, examine, PrefixDiffers } from './examine.ts'
import type { LayerFile } from './layer-files.ts'

const { signal } = new AbortController()

/** In pieces of a size that no boundary of a gzip or a tar falls on. */
function layerOf(blob: Buffer): LayerFile {
  const read = async function* () {
    for (let at = 0; at < blob.length; at += 997) yield Uint8Array.from(blob.subarray(at, at + 997)) // its memory is freed once it was used
  }
  const dispose = async () => {}
  return {
    name: 'layer',
    size: blob.length,
    digest: undefined,
    position: undefined,
    isFetched: false,
    read,
    [Symbol.asyncDispose]: dispose,
  }
}

interface Asked {
  readonly input?: Buffer
  readonly others?: readonly Buffer[]
  /** What the engine has open: its path, and how many bytes of it are written. */
  readonly files?: Readonly<Record<string, number>>
}

async function look(blob: Buffer, { input = Buffer.alloc(0), others = [], files = {} }: Asked = {}): Promise<Examined> {
  const open = Object.entries(files).map(([path, position]) => ({ path, link: '/proc/1/fd/3', position }))
  return await examine(layerOf(blob), { input, others, files: open, positionMax: 2 ** 40 }, signal)
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function fileOf(name: string, size: number, more: Partial<RawEntry> = {}): RawEntry {
  return { name, typeflag: '0', data: Buffer.alloc(size, `${name} `), ...more }
}

/** Bytes that do not repeat, so that they stand in the blob in one place. */
function noise(size: number): Buffer {
  return Buffer.concat(
    Array.from({ length: Math.ceil(size / 32) }, (_, at) => createHash('sha256').update(String(at)).digest()),
  ).subarray(0, size)
}

const tar = buildTar([fileOf('first', 700), { name: 'second', typeflag: '0', data: noise(200_000) }])
const nothing: Before = { length: 0, read: () => Buffer.alloc(0) }

async function decode(blob: Buffer, position: number, before = nothing): Promise<Buffer> {
  const chunks = await Array.fromAsync(decodeFrom(layerOf(blob), { position, before, signal }))
  assert.ok(chunks.every(({ length }) => length > 0))
  return Buffer.concat(chunks)
}

const empty = gzipSync('')
const shapes: Readonly<Record<string, Buffer>> = {
  'one member': gzipSync(tar),
  'several members': Buffer.concat([
    gzipSync(tar.subarray(0, 1000)),
    gzipSync(tar.subarray(1000, 1001)),
    gzipSync(tar.subarray(1001)),
  ]),
  'members of nothing before, between and after': Buffer.concat([
    empty,
    gzipSync(tar.subarray(0, 5000)),
    empty,
    gzipSync(tar.subarray(5000)),
    empty,
  ]),
  'zeros behind its end': Buffer.concat([gzipSync(tar), Buffer.alloc(4096)]),
  'no compression': tar,
}

for (const [shape, blob] of Object.entries(shapes)) {
  test(`a layer of ${shape} is decoded to its end, and from any byte on`, async () => {
    const { digest, diffId, total, enginePositions } = await look(blob, { files: { '/root/second': 1234 } })
    assert.deepEqual([digest, diffId, total], [digestOf(blob), digestOf(tar), tar.length])
    assert.deepEqual(
      enginePositions.map(({ position }) => position),
      [512 + 1024 + 512 + 1234],
    )
    for (const position of [0, 1, 999, 1000, 1001, 5000, tar.length - 1])
      assert.ok((await decode(blob, position)).equals(tar.subarray(position)), String(position))
    assert.equal((await decode(blob, tar.length)).length, 0) // it stopped at the very end: nothing is owed
  })
}

const damaged: Readonly<Record<string, Buffer>> = {
  'other bytes behind its end': Buffer.concat([gzipSync(tar), Buffer.from('garbage')]),
  'another member that is cut': Buffer.concat([gzipSync(tar), gzipSync('more').subarray(0, 12)]),
  'an end too early': gzipSync(tar).subarray(0, -9),
  'a wrong checksum': Buffer.concat([gzipSync(tar).subarray(0, -8), Buffer.alloc(8)]),
}

for (const [shape, blob] of Object.entries(damaged)) {
  test(`a layer with ${shape} is none`, async () => {
    await assert.rejects(look(blob), error => isWindlassError(error, 'CORRUPT'))
  })
}

test('the input that waits is found where it stands, over the boundaries of the pieces', async () => {
  const blob = gzipSync(tar)
  // At 983 its last byte is the first of a piece.
  for (const at of [0, 983, 996, 5000])
    assert.equal((await look(blob, { input: blob.subarray(at, at + 5000) })).inputAt, at)
  assert.equal((await look(blob, { input: Buffer.from('not of this layer') })).inputAt, undefined)
})

test('other decompressors of the engine may work on the layer if their input stands in it, or none waits', async () => {
  const blob = gzipSync(tar)
  const others = [blob.subarray(3000, 9000), Buffer.alloc(0), Buffer.from('not of this layer'), blob.subarray(50, 60)]
  const found = await look(blob, { others })
  assert.deepEqual([found.others, found.rivals], [3, 1])
})

test('what the engine has must stand before the position', async () => {
  const blob = gzipSync(tar)
  const position = 2048 + 70_000
  const had = (bytes: Buffer): Before => ({
    length: bytes.length,
    read: (at, length) => bytes.subarray(at, at + length),
  })
  const right = Buffer.from(tar.subarray(2048, position))
  assert.ok((await decode(blob, position, had(right))).equals(tar.subarray(position)))
  for (const at of [0, 69_999]) {
    const wrong = Buffer.from(right)
    wrong.writeUInt8(wrong.readUInt8(at) ^ 1, at)
    await assert.rejects(decode(blob, position, had(wrong)), PrefixDiffers)
    const end = had(Buffer.concat([Buffer.alloc(tar.length - position), wrong]))
    await assert.rejects(decode(blob, tar.length, end), PrefixDiffers) // also where nothing is owed
  }
})

const long = `${'directory/'.repeat(12)}${'n'.repeat(90)}`
const named: Readonly<Record<string, RawEntry>> = {
  'of PAX': fileOf('short', 3000, { pax: { path: long } }),
  'of GNU': fileOf('short', 3000, { gnuName: `${long}\0` }),
  'in two parts': fileOf('n'.repeat(90), 3000, { prefix: 'directory/'.repeat(12).slice(0, -1) }),
  'that begins with a dot': fileOf('short', 3000, { pax: { path: `./${long}` } }),
}

for (const [kind, entry] of Object.entries(named)) {
  test(`the engine's place is known in a file with a long name ${kind}`, async () => {
    const whole = buildTar([fileOf('before', 10), entry, fileOf('after', 10)])
    const dataStart =
      whole.indexOf(Buffer.alloc(3000, 'short ')) < 0
        ? whole.indexOf(Buffer.alloc(3000, `${'n'.repeat(90)} `))
        : whole.indexOf(Buffer.alloc(3000, 'short '))
    const { enginePositions } = await look(gzipSync(whole), { files: { [`/rootfs/${long}`]: 2000 } })
    assert.deepEqual(
      enginePositions.map(({ position, isAtEnd }) => [position, isAtEnd]),
      [[dataStart + 2000, false]],
    )
    const other = await look(gzipSync(whole), {
      files: { [`/rootfs/${long}x`]: 2000, [`/rootfs/${long.slice(1)}`]: 2000 },
    })
    assert.deepEqual(other.enginePositions, [])
  })
}

test('a hard link has no content, whatever it is called; its file is the one that is open', async () => {
  const link: RawEntry = { name: 'link', typeflag: '1', linkname: 'file' }
  const { enginePositions, contents } = await look(
    gzipSync(buildTar([fileOf('file', 600), link, fileOf('next', 600)])),
    {
      files: { '/r/link': 0, '/r/file': 600 },
    },
  )
  assert.deepEqual(
    enginePositions.map(({ file, position, isAtEnd }) => [file.path, position, isAtEnd]),
    [['/r/file', 512 + 600, true]],
  )
  assert.deepEqual(contents, [
    [512, 1112],
    [512 + 1024 + 512 + 512, 512 + 1024 + 512 + 512 + 600],
  ])
})

test('a sparse file tells no place: how long it is says nothing of how much of it came', async () => {
  const pax = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': 'holes',
    'GNU.sparse.realsize': '100000',
  }
  const map = Buffer.alloc(512)
  map.write('1\n50000\n600\n')
  const data = Buffer.concat([map, Buffer.alloc(600, 'x')])
  const whole = buildTar([{ name: 'GNUSparseFile.0/holes', typeflag: '0', data, pax }, fileOf('next', 10)])
  const { enginePositions } = await look(gzipSync(whole), { files: { '/r/holes': 300, '/r/next': 5 } })
  assert.deepEqual(
    enginePositions.map(({ file, position }) => [file.path, position]),
    [['/r/next', whole.indexOf('next next') + 5]],
  )
})

test('a file of the engine that is longer than that of the layer is another one; two entries of a name are both told', async () => {
  const whole = gzipSync(buildTar([fileOf('twice', 600), fileOf('twice', 900)]))
  const places = async (size: number) => (await look(whole, { files: { '/r/twice': size } })).enginePositions.length
  assert.deepEqual([await places(500), await places(800), await places(1000)], [2, 1, 0])
})
