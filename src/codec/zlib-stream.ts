import { constants, createGunzip, createZstdDecompress, type Gunzip, type ZstdDecompress } from 'node:zlib'
import { WindlassError } from '../errors.ts'
import type { Input } from './input.ts'
import { ZstdFrames } from './zstd-frames.ts'

/**
 * Bytes per write into the engine. Measured on a tar of /usr/lib: gzip gives 170 MB/s with 16 KiB, 340 with 64, 430
 * with 256, and nothing more with 1 MiB; each write is one trip through libuv's pool.
 */
const batchSize = 256 * 1024
/** Bytes per output buffer: zstd gains from 512 KiB (910 MB/s against 870 with 256), and nothing more with 1 MiB. */
const chunkSize = 512 * 1024
/** Output buffers that may wait for the consumer, so that the pool decompresses while the consumer works. */
const chunksAhead = 2
/** 128 MiB: what `zstd --ultra -22` and `--long` ask for, and half of the memory that windlass may use at all. */
const windowLogMax = 27

type Engine = Gunzip | ZstdDecompress

/**
 * Decompresses gzip members or zstd frames (skippable ones too), one after the other, in libuv's pool. After the last
 * one only zeros may follow: tape-style padding is harmless, and anything else would be bytes that one reader sees and
 * another does not.
 *
 * Chunks share their ArrayBuffer with what the engine writes next: they must not be transferred to another thread.
 * @throws WindlassError CORRUPT, LIMIT_EXCEEDED (a zstd window above 128 MiB), or what the input throws
 */
export async function* inflateStream(
  kind: 'gzip' | 'zstd',
  input: Input,
  { recycle = false }: { readonly recycle?: boolean | undefined } = {},
): AsyncGenerator<Uint8Array, void, void> {
  const engine = openEngine(kind)
  engine.on('error', () => {}) // may come when nobody iterates any more
  const cancel = () => engine.destroy(input.cancelled())
  input.signal.addEventListener('abort', cancel)
  const feeding = new Feeder(kind, engine, input, recycle).run().catch((error: unknown) => {
    engine.destroy(error as Error)
    return error
  })
  try {
    let before: Uint8Array | undefined
    for await (const chunk of engine) {
      yield chunk
      if (recycle && before !== undefined) freeMemory(before)
      before = chunk
    }
    const failure = await feeding
    if (failure !== undefined) throw failure
  } catch (error) {
    throw explainEngineError(error, kind, engine.bytesWritten, input.bytes)
  } finally {
    input.signal.removeEventListener('abort', cancel)
    engine.destroy() // frees the native state, at once or when the write under way returns from the pool
  }
}

/**
 * Frees the memory behind a chunk at once, if the chunk is the last of it, and not one of many small ones in Node's pool. Left to the garbage
 * collector, it makes V8 collect its whole heap every few megabytes: a fifth of the CPU time of a pull.
 */
function freeMemory({ buffer, byteOffset, byteLength }: Uint8Array): void {
  if (!(buffer instanceof ArrayBuffer) || byteOffset + byteLength !== buffer.byteLength) return
  // What comes from the pool is smaller than half of it.
  if (buffer.byteLength > Buffer.poolSize || byteLength >= buffer.byteLength / 2) buffer.transfer(0)
}

function openEngine(kind: 'gzip' | 'zstd'): Engine {
  // Object mode hands the buffers out one by one; otherwise a read joins all that wait, by copying them.
  const options = { chunkSize, readableObjectMode: true, readableHighWaterMark: chunksAhead }
  if (kind === 'gzip') return createGunzip(options)
  return createZstdDecompress({ ...options, params: { [constants.ZSTD_d_windowLogMax]: windowLogMax } })
}

/**
 * Moves the input into the engine in large writes, one at a time. While one is under way, arriving bytes are gathered
 * in the other batch, which leaves when the engine is free: a slow source is never waited for, a fast one fills whole
 * batches.
 */
class Feeder {
  readonly #kind: string
  readonly #engine: Engine
  readonly #input: Input
  readonly #recycle: boolean
  readonly #frames: ZstdFrames | undefined
  #batch = Buffer.allocUnsafeSlow(batchSize)
  #spare = Buffer.allocUnsafeSlow(batchSize)
  #filled = 0
  #handedOver = 0
  #writing = false
  /** Set once the engine has left bytes untouched: its last member or frame is over. */
  #isOver = false
  #failure: unknown
  #wake: (() => void) | undefined

  constructor(kind: string, engine: Engine, input: Input, recycle: boolean) {
    this.#kind = kind
    this.#engine = engine
    this.#input = input
    this.#recycle = recycle
    this.#frames = kind === 'zstd' ? new ZstdFrames() : undefined
  }

  async run(): Promise<void> {
    for (let data = await this.#input.next(); data !== undefined; data = await this.#input.next()) {
      this.#frames?.push(data)
      for (let at = 0; at < data.length; ) {
        if (this.#filled === batchSize) await this.#written()
        at += this.#gather(data, at)
        if (!this.#writing) this.#flush()
      }
      if (this.#recycle) freeMemory(data)
    }
    while (this.#writing || this.#filled > 0) await this.#written()
    if (this.#isOver) return
    if (this.#frames?.isBetweenFrames === false) throw earlyEndError(this.#kind, this.#input.bytes)
    this.#engine.end()
  }

  #gather(data: Uint8Array, from: number): number {
    const length = Math.min(data.length - from, batchSize - this.#filled)
    this.#batch.set(data.subarray(from, from + length), this.#filled)
    this.#filled += length
    return length
  }

  #flush(): void {
    const data = this.#batch.subarray(0, this.#filled)
    this.#filled = 0
    if (this.#isOver) {
      checkPadding(data, this.#kind)
      return
    }
    const batch = this.#batch
    this.#batch = this.#spare
    this.#spare = batch
    this.#handedOver += data.length
    this.#writing = true
    this.#engine.write(data, error => this.#onWritten(data, error))
  }

  #onWritten(data: Uint8Array, error: Error | null | undefined): void {
    this.#writing = false
    try {
      if (error) throw error
      const left = this.#handedOver - this.#engine.bytesWritten
      if (left > 0 && !this.#isOver) {
        this.#isOver = true
        checkPadding(data.subarray(data.length - left), this.#kind)
      }
      if (this.#filled > 0) this.#flush()
    } catch (failure) {
      this.#failure = failure
      this.#engine.destroy(failure as Error)
    }
    this.#wake?.()
  }

  async #written(): Promise<void> {
    if (this.#writing) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    if (this.#failure !== undefined) throw this.#failure
  }
}

function checkPadding(data: Uint8Array, kind: string): void {
  if (data.every(byte => byte === 0)) return
  throw new WindlassError(
    'CORRUPT',
    `Cannot decompress ${kind} stream: other bytes follow its end; wanted nothing, or zeros`,
  )
}

function earlyEndError(kind: string, received: number, cause?: unknown): WindlassError {
  return new WindlassError('CORRUPT', `Cannot decompress ${kind} stream: it ends early at byte ${received}`, { cause })
}

function explainEngineError(error: unknown, kind: string, consumed: number, received: number): unknown {
  const { code, message } = error as { code?: unknown; message?: string }
  if (error instanceof WindlassError || typeof code !== 'string' || !/^Z_|^ZSTD_/.test(code)) return error
  const doing = `Cannot decompress ${kind} stream`
  if (code === 'Z_BUF_ERROR') {
    return earlyEndError(kind, received, error)
  }
  if (code === 'ZSTD_error_frameParameter_windowTooLarge') {
    const text = `${doing}: its window is above 128 MiB; wanted at most 128 MiB (zstd --long=27)`
    return new WindlassError('LIMIT_EXCEEDED', text, { cause: error })
  }
  if (/MEM_ERROR|memory_allocation/.test(code)) {
    return new WindlassError('FAILED', `${doing}: no memory for its window`, { cause: error })
  }
  const text = `${doing}: corrupt in the ${Math.ceil(batchSize / 1024)} KiB after byte ${consumed}: ${message}`
  return new WindlassError('CORRUPT', text, { cause: error })
}
