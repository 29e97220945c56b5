import { constants, createGzip, createZstdCompress, type Gzip, type ZstdCompress } from 'node:zlib'
import { Input } from './input.ts'

/** The compressions that windlass writes. */
export type CompressionOut = 'gzip' | 'zstd' | 'none'

export interface CompressOptions {
  readonly signal: AbortSignal
  readonly compression: CompressionOut
  /** gzip 1 to 9 (6 if not given), zstd 1 to 22 (3 if not given). */
  readonly level?: number | undefined
}

const chunkSize = 256 * 1024

/**
 * Compresses a stream in libuv's pool. gzip has no name and time 0 in its header, zstd ends with a checksum: the same
 * input in the same chunks gives the same bytes. A chunk of the source is in use until two more were asked for. Chunks
 * that come out may share an ArrayBuffer with later ones: do not transfer them.
 * @throws WindlassError CANCELLED, or whatever the source throws
 */
export async function* compress(
  source: AsyncIterable<Uint8Array>,
  options: CompressOptions,
): AsyncGenerator<Uint8Array, void, void> {
  using input = new Input(source, options, 'compress')
  if (options.compression === 'none') {
    for (let data = await input.next(); data !== undefined; data = await input.next()) yield data
    return
  }
  const engine = openEngine(options.compression, options.level)
  engine.on('error', () => {}) // may come when nobody iterates any more
  const cancel = () => engine.destroy(input.cancelled())
  input.signal.addEventListener('abort', cancel)
  feed(engine, input).catch((error: unknown) => engine.destroy(error as Error))
  try {
    for await (const chunk of engine) yield chunk
  } finally {
    input.signal.removeEventListener('abort', cancel)
    engine.destroy()
  }
}

function openEngine(compression: 'gzip' | 'zstd', level: number | undefined): Gzip | ZstdCompress {
  const options = { chunkSize, readableObjectMode: true, readableHighWaterMark: 2 }
  if (compression === 'gzip') return createGzip({ ...options, level: level ?? 6 })
  const params = { [constants.ZSTD_c_compressionLevel]: level ?? 3, [constants.ZSTD_c_checksumFlag]: 1 }
  return createZstdCompress({ ...options, params })
}

/** One write at a time, while the source already makes the next chunk. */
async function feed(engine: Gzip | ZstdCompress, input: Input): Promise<void> {
  let written = Promise.resolve()
  for (let data = await input.next(); data !== undefined; data = await input.next()) {
    await written
    written = write(engine, data)
    written.catch(() => {}) // seen at the next await
  }
  await written
  engine.end()
}

function write(engine: Gzip | ZstdCompress, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    engine.write(chunk, error => (error ? reject(error) : resolve()))
  })
}
