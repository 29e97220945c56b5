/** The thread behind `threadStream`: it sleeps where there is no input or no credit, and ends with one last message. */
import { createRequire } from 'node:module'
import { ReadableStream } from 'node:stream/web'
import { parentPort, workerData } from 'node:worker_threads'
import bzip2 from 'unbzip2-stream/lib/bzip2.js'
import { RingAborted, RingReader } from '../flow/ring.ts'
import type { ThreadMessage, ThreadTask } from './thread-stream.ts'

const chunkSize = 256 * 1024
const inputPiece = 64 * 1024

// Node finds no named exports in this CommonJS bundle, and its types know no default export.
const { XzReadableStream } = createRequire(import.meta.url)('xz-decompress') as typeof import('xz-decompress')

type Failure = Extract<ThreadMessage, { type: 'failure' }>

const { kind, ring, credit } = workerData as ThreadTask
const reader = new RingReader(ring)
const creditWord = new Int32Array(credit)
let chunk = new Uint8Array(chunkSize)
let filled = 0

function send(message: ThreadMessage, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer)
}

function flush(): void {
  if (filled === 0) return
  while (Atomics.load(creditWord, 0) === 0) Atomics.wait(creditWord, 0, 0)
  Atomics.sub(creditWord, 0, 1)
  send({ type: 'data', chunk: chunk.subarray(0, filled) }, [chunk.buffer])
  chunk = new Uint8Array(chunkSize)
  filled = 0
}

function put(byte: number): void {
  chunk[filled++] = byte
  if (filled === chunkSize) flush()
}

function putAll(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(bytes.length - at, chunkSize - filled)
    chunk.set(bytes.subarray(at, at + length), filled)
    filled += length
    at += length
    if (filled === chunkSize) flush()
  }
}

async function decodeXz(): Promise<void> {
  const source = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const piece = reader.chunk(inputPiece)
        if (piece.length === 0) controller.close()
        else controller.enqueue(piece.slice()) // the view is valid until the next read only
      },
    },
    { highWaterMark: 0 },
  )
  const decoded: AsyncIterable<Uint8Array> = new XzReadableStream(source)
  for await (const bytes of decoded) putAll(bytes)
}

/** Error codes of XZ Embedded's `enum xz_ret`, which the decoder puts into its message. */
const xzFailures: Readonly<Record<string, Omit<Failure, 'type'>>> = {
  3: { code: 'FAILED', message: 'no memory for its dictionary' },
  4: { code: 'LIMIT_EXCEEDED', message: 'its dictionary is above 64 MiB; wanted at most 64 MiB (xz -9)' },
  6: { code: 'UNSUPPORTED', message: 'its filter or check is not supported; wanted LZMA2 with CRC32 or CRC64' },
  5: { code: 'CORRUPT', message: 'it is no xz stream, or other bytes follow its end' },
  7: { code: 'CORRUPT', message: 'corrupt' },
  8: { code: 'CORRUPT', message: 'it ends early' },
}

/** Bits, most significant first, from the ring. */
class BitReader {
  #piece: Uint8Array = new Uint8Array(0)
  #at = 0
  #byte = 0
  #bits = 0

  /** True where no byte is left. */
  isAtEnd(): boolean {
    if (this.#at < this.#piece.length) return false
    this.#piece = reader.chunk(inputPiece)
    this.#at = 0
    return this.#piece.length === 0
  }

  readonly read = (n: number | null): number => {
    if (n === null) this.#bits = 0
    let value = 0
    for (let left = n ?? 0; left > 0; ) {
      if (this.#bits === 0) this.#load()
      const taken = Math.min(left, this.#bits)
      this.#bits -= taken
      left -= taken
      value = (value << taken) | ((this.#byte >> this.#bits) & ((1 << taken) - 1))
    }
    return value
  }

  isZeroNext(): boolean {
    return !this.isAtEnd() && this.#piece[this.#at] === 0
  }

  /** Reads to the end; only zeros may come. */
  skipPadding(): void {
    while (this.isZeroNext()) this.#at++
    if (!this.isAtEnd()) throw new Error('other bytes follow its end; wanted nothing, or zeros')
  }

  #load(): void {
    if (this.isAtEnd()) throw new EarlyEnd()
    this.#byte = this.#piece[this.#at++] ?? 0
    this.#bits = 8
  }
}

class EarlyEnd extends Error {}

function decodeBzip2(): void {
  const input = new BitReader()
  decodeBzip2Stream(input)
  while (!input.isAtEnd()) {
    if (input.isZeroNext()) {
      input.skipPadding()
      return
    }
    decodeBzip2Stream(input)
  }
}

function decodeBzip2Stream(input: BitReader): void {
  const blockSize = bzip2.header(input.read) * 100_000
  const block = new Int32Array(blockSize)
  for (let crc: number | null = 0; crc !== null; ) crc = bzip2.decompress(input.read, put, block, blockSize, crc)
}

function explain(error: unknown): Failure {
  if (error instanceof EarlyEnd) return { type: 'failure', code: 'CORRUPT', message: 'it ends early' }
  const message = error instanceof Error ? error.message : String(error)
  const known = xzFailures[/error code (\d)/.exec(message)?.[1] ?? '']
  if (kind === 'xz' && known !== undefined) return { type: 'failure', ...known }
  return { type: 'failure', code: 'CORRUPT', message: `corrupt: ${message}` }
}

try {
  if (kind === 'xz') await decodeXz()
  else decodeBzip2()
  flush()
  send({ type: 'end' })
} catch (error) {
  if (!(error instanceof RingAborted)) send(explain(error))
}
