import { WindlassError } from '../errors.ts'
import { type Compression, detectCompression } from './detect.ts'
import { Input } from './input.ts'
import { threadStream } from './thread-stream.ts'
import { inflateStream } from './zlib-stream.ts'

/** Output below which the ratio is not looked at: small streams of zeros are common and harmless. */
const ratioFreeSize = 64 * 1024 * 1024
/** Deflate cannot pass 1032; real layers stay below 100. What goes beyond is a bomb, or a disk image full of zeros. */
const ratioMaxDefault = 1000

export interface DecompressOptions {
  readonly signal: AbortSignal
  /** What the bytes are, or `auto` (the default) to go by the magic number. */
  readonly compression?: Compression | 'auto' | undefined
  /** Output bytes per input byte, once more than 64 MiB came out; 1000 if not given. */
  readonly ratioMax?: number | undefined
  /** A chunk is used no more when the second one after it is asked for: its memory may be freed then. So may the source's, once it is asked for the next one. */
  readonly recycle?: boolean | undefined
  /** Told of every chunk taken from the source. */
  readonly onInput?: ((bytes: number) => void) | undefined
  /** Told of every chunk before it is handed out. */
  readonly onOutput?: ((bytes: number) => void) | undefined
}

/**
 * The decompressed bytes of a stream, in chunks of up to 512 KiB (uncompressed input passes as it comes). gzip and
 * zstd are decompressed in libuv's pool, xz and bzip2 in a thread of their own. Several members, frames or streams one
 * after the other are one stream; after the last only zeros may follow. The caller hashes.
 *
 * Aborting, or returning early, frees the decoder and tells the source to stop. Chunks may share an ArrayBuffer with
 * later ones: do not transfer them.
 *
 * One decoder holds at most 2.5 MiB of buffers; zstd adds its window (2 MiB at level 3, 8 at 19, never above 128); xz
 * and bzip2 take a thread (some 15 MiB), 2.5 MiB of buffers, and the dictionary of xz (never above 64 MiB).
 * @throws WindlassError CORRUPT (damaged, cut short, followed by other bytes than zeros), LIMIT_EXCEEDED (expansion
 * ratio, window), UNSUPPORTED, CANCELLED, or whatever the source throws
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  options: DecompressOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const { compression = 'auto', ratioMax = ratioMaxDefault, onOutput } = options
  using input = new Input(source, options)
  const kind = compression === 'auto' ? detectCompression(await input.peek()) : compression
  let bytesOut = 0
  for await (const chunk of openDecoder(kind, input, options)) {
    bytesOut += chunk.length
    if (kind !== 'none') checkExpansion(kind, input.bytes, bytesOut, ratioMax)
    onOutput?.(chunk.length)
    yield chunk
  }
}

function openDecoder(kind: Compression, input: Input, options: DecompressOptions): AsyncIterable<Uint8Array> {
  if (kind === 'gzip' || kind === 'zstd') return inflateStream(kind, input, options)
  if (kind === 'none') return passThrough(input)
  return threadStream(kind, input)
}

async function* passThrough(input: Input): AsyncGenerator<Uint8Array, void, void> {
  for (let data = await input.next(); data !== undefined; data = await input.next()) yield data
}

/**
 * Refuses a stream that expands beyond all reason.
 * @throws WindlassError LIMIT_EXCEEDED
 */
export function checkExpansion(kind: string, bytesIn: number, bytesOut: number, ratioMax = ratioMaxDefault): void {
  if (bytesOut <= ratioFreeSize || bytesOut <= ratioMax * bytesIn) return
  const text = `Cannot decompress ${kind} stream: it expands more than ${ratioMax} times; wanted at most ${ratioMax}`
  throw new WindlassError('LIMIT_EXCEEDED', text, { facts: { ratioMax } })
}
