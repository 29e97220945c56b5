import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { constants, crc32, gzipSync, zstdCompressSync } from 'node:zlib'
import type { Compression } from '../detect.ts'
import { damaged, type Shape } from './shape.ts'
import { xzShapes } from './xz-shapes.ts'

const mebibyte = 1024 * 1024

/** Every shape of a compression, made in code: the same on every host. Takes half a second. */
export function makeShapes(compression: Compression): readonly Shape[] {
  if (compression === 'gzip') return gzipShapes()
  if (compression === 'zstd') return zstdShapes()
  return compression === 'xz' ? xzShapes() : []
}

function gzipShapes(): Shape[] {
  const noise = makeNoise(3 * mebibyte)
  const text = makeText(4 * mebibyte)
  const zeros = Buffer.alloc(16 * mebibyte)
  const far = makeFarMatches(mebibyte)
  const members = Array.from({ length: 200 }, (_, index) => text.subarray(index * 1000, index * 1100))
  const whole = gzipSync(text)
  const plain = (name: string, content: Uint8Array, options = {}) => ({
    name,
    content,
    compressed: gzipSync(content, options),
  })
  return [
    plain('empty', Buffer.alloc(0)),
    plain('one byte', Buffer.from('a')),
    { ...plain('text byte by byte', text.subarray(0, 2000)), pieceSize: 1 },
    plain('stored blocks', noise, { level: 0 }),
    plain('incompressible', noise),
    plain('fixed Huffman codes', text, { strategy: constants.Z_FIXED }),
    plain('dynamic Huffman codes', text, { level: 9 }),
    plain('Huffman codes only', text, { strategy: constants.Z_HUFFMAN_ONLY }),
    plain('small window', text, { windowBits: 9 }),
    plain('long runs', zeros),
    plain('runs only', text, { strategy: constants.Z_RLE }),
    plain('a whole number of 32 KiB', text.subarray(0, 64 * 32768)),
    plain('one byte above 32 KiB', noise.subarray(0, 32769)),
    { name: 'matches at the edge of the window', ...far },
    {
      name: 'many members',
      content: Buffer.concat(members),
      compressed: Buffer.concat(members.map(one => gzipSync(one))),
    },
    { name: 'header with name, extra field and checksum', content: text, compressed: withLongHeader(whole) },
    { ...plain('slow reader', zeros.subarray(0, 4 * mebibyte)), readPauseMs: 5 },
    { ...plain('slow reader of noise', noise), readPauseMs: 5, pieceSize: 4096 },
    {
      name: 'zeros at the end',
      content: text,
      compressed: Buffer.concat([whole, Buffer.alloc(1024)]),
      isOptional: true,
    },
    ...damaged(whole, 8),
  ]
}

function zstdShapes(): Shape[] {
  const noise = makeNoise(3 * mebibyte)
  const text = makeText(4 * mebibyte)
  const compress = (content: Uint8Array, level = 3, checksum = 1) =>
    zstdCompressSync(content, {
      params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: checksum },
    })
  const whole = compress(text)
  const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]) // RFC 8878, 3.1.2
  return [
    { name: 'empty', content: Buffer.alloc(0), compressed: compress(Buffer.alloc(0)) },
    { name: 'one byte', content: Buffer.from('a'), compressed: compress(Buffer.from('a')) },
    {
      name: 'text byte by byte',
      content: text.subarray(0, 2000),
      compressed: compress(text.subarray(0, 2000)),
      pieceSize: 1,
    },
    { name: 'incompressible', content: noise, compressed: compress(noise) },
    { name: 'level 1', content: text, compressed: compress(text, 1) },
    { name: 'level 19', content: text.subarray(0, mebibyte), compressed: compress(text.subarray(0, mebibyte), 19) },
    { name: 'long runs', content: Buffer.alloc(16 * mebibyte), compressed: compress(Buffer.alloc(16 * mebibyte)) },
    {
      name: 'many frames',
      content: Buffer.concat([text, noise, text]),
      compressed: Buffer.concat([whole, compress(noise, 3, 0), whole]),
    },
    { name: 'skippable frames', content: text, compressed: Buffer.concat([skippable, whole, skippable]) },
    { name: 'slow reader', content: noise, compressed: compress(noise), readPauseMs: 5 },
    ...damaged(whole, 4),
  ]
}

/** Numbers that look random and are the same on every host (xorshift32). */
function makeNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

function makeNoise(size: number): Buffer {
  const next = makeNumbers(0x77696e64)
  const noise = Buffer.allocUnsafe(size)
  for (let at = 0; at < size; at += 4) noise.writeUInt32LE(next(), at)
  return noise
}

/** Words of many lengths, with an uneven frequency: all code lengths and match lengths occur. */
function makeText(size: number): Buffer {
  const next = makeNumbers(0x6c617373)
  const words = Array.from({ length: 2000 }, (_, index) =>
    (next().toString(36) + next().toString(36)).slice(0, 2 + (index % 11)),
  )
  let text = ''
  while (text.length < size) text += `${words[(next() % 2000) % (1 + (next() % 2000))]} `
  return Buffer.from(text.slice(0, size), 'latin1')
}

/** What real layers hold: machine code, from the middle of this very program. */
export function makeProgramCode(size: number): Buffer {
  const fd = openSync(process.execPath, 'r')
  try {
    const code = Buffer.alloc(size)
    const length = readSync(fd, code, 0, size, Math.max(0, (fstatSync(fd).size - size) >> 1))
    return code.subarray(0, length)
  } finally {
    closeSync(fd)
  }
}

/** RFC 1952, 2.3: FHCRC, FEXTRA, FNAME and FCOMMENT together. */
function withLongHeader(gzip: Buffer): Buffer {
  const head = Buffer.from(gzip.subarray(0, 10))
  head.writeUInt8(2 | 4 | 8 | 16, 3)
  const extra = Buffer.concat([Buffer.from([100, 0, 0x57, 0x4c, 96, 0]), Buffer.alloc(96, 0x5a)])
  const header = Buffer.concat([head, extra, Buffer.from('a file name\0and a comment\0')])
  const checksum = Buffer.alloc(2)
  checksum.writeUInt16LE(crc32(header) & 0xffff)
  return Buffer.concat([header, checksum, gzip.subarray(10)])
}

/**
 * Matches at distances up to the last byte of the window, 32 768, of every length: zlib never makes them (it stops 262 bytes short of it), other
 * compressors do, and inflate code with wide stores has overwritten the window's edge there. Fixed Huffman codes, RFC 1951, 3.2.6.
 */
function makeFarMatches(size: number): { compressed: Buffer; content: Buffer } {
  const next = makeNumbers(0x66617221)
  const content = Buffer.alloc(size)
  const bits = new BitWriter()
  bits.write(0b011, 3) // last block, fixed codes
  let at = 0
  while (at < size - 300) {
    const distance = 32768 - (next() % 8 === 0 ? next() % 400 : next() % 4)
    if (at < 32768 || next() % 4 === 0) {
      const byte = next() & 0xff
      content[at++] = byte
      bits.literal(byte)
    } else {
      const length = 3 + (next() % 256)
      content.copyWithin(at, at - distance, at - distance + length)
      at += length
      bits.match(length, distance)
    }
  }
  bits.endOfBlock()
  const used = content.subarray(0, at)
  const trailer = Buffer.alloc(8)
  trailer.writeUInt32LE(crc32(used), 0)
  trailer.writeUInt32LE(at, 4)
  return {
    content: used,
    compressed: Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]), bits.finish(), trailer]),
  }
}

/** Writes deflate's bits: numbers from the low bit on, Huffman codes from the high bit on. */
class BitWriter {
  readonly #bytes: number[] = []
  #bits = 0
  #count = 0

  write(value: number, count: number): void {
    for (let bit = 0; bit < count; bit++) {
      this.#bits |= ((value >> bit) & 1) << this.#count
      if (++this.#count === 8) this.#flush()
    }
  }

  literal(byte: number): void {
    if (byte < 144) this.#code(0x30 + byte, 8)
    else this.#code(0x190 + byte - 144, 9)
  }

  /** Length 3 to 258, distance 16 385 to 32 768 in steps of their own: codes 28 and 29. */
  match(length: number, distance: number): void {
    this.#length(length)
    this.#code(distance > 24576 ? 29 : 28, 5)
    this.write((distance - 1) & 0x1fff, 13)
  }

  endOfBlock(): void {
    this.#code(0, 7)
  }

  finish(): Buffer {
    if (this.#count > 0) this.#flush()
    return Buffer.from(this.#bytes)
  }

  #length(length: number): void {
    if (length === 258) return this.#symbol(285)
    if (length < 11) return this.#symbol(254 + length)
    const extraBits = Math.floor(Math.log2(length - 3)) - 2
    const offset = length - 3 - (4 << extraBits)
    this.#symbol(261 + 4 * extraBits + (offset >> extraBits))
    this.write(offset, extraBits)
  }

  #symbol(symbol: number): void {
    if (symbol < 280) this.#code(symbol - 256, 7)
    else this.#code(0xc0 + symbol - 280, 8)
  }

  #code(code: number, count: number): void {
    for (let bit = count - 1; bit >= 0; bit--) this.write((code >> bit) & 1, 1)
  }

  #flush(): void {
    this.#bytes.push(this.#bits)
    this.#bits = this.#count = 0
  }
}
