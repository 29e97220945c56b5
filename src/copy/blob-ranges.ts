import { WindlassError } from '../errors.ts'
import { Channel } from '../flow/channel.ts'
import type { SpeedMeter } from '../flow/speed.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Source } from '../places/place.ts'

export interface RangeOptions {
  /** Ranges of one blob at a time; 1 turns it off. */
  readonly rangesMax?: number | undefined
  /** Each is one request, so that a redirect and a round trip cost little beside it. */
  readonly segmentBytes?: number | undefined
  /** Less than this much left is not worth it. */
  readonly leftMin?: number | undefined
  /** The network must have kept the pull waiting for so long. */
  readonly waitedMs?: number | undefined
}

/** More connections for one blob bring little, and registries count them. */
const rangesMaxDefault = 4
const segmentBytesDefault = 4 * 1024 * 1024
const leftMinDefault = 16 * 1024 * 1024
/** Time for a connection to find its speed. */
const waitedMsDefault = 500
/** What all layers together hold ahead of their streams. */
const aheadBytesMax = 32 * 1024 * 1024
/** Waiting for less than this per segment is no waiting. */
const noticeableMs = 10

/** When a blob is fetched as several ranges at once, and how much all of them may hold in memory. */
export class RangeBudget {
  readonly rangesMax: number
  readonly segmentBytes: number
  readonly #leftMin: number
  readonly #waitedMs: number
  #segmentsFree: number

  constructor(options: RangeOptions = {}) {
    this.rangesMax = options.rangesMax ?? rangesMaxDefault
    this.segmentBytes = options.segmentBytes ?? segmentBytesDefault
    this.#leftMin = options.leftMin ?? leftMinDefault
    this.#waitedMs = options.waitedMs ?? waitedMsDefault
    this.#segmentsFree = Math.floor(aheadBytesMax / this.segmentBytes)
  }

  /** True if more connections may help: the pull waits for the network most of the time, and much is left. */
  isWorthwhile(bytesLeft: number, { waitedMs, elapsedMs }: SpeedMeter): boolean {
    return this.rangesMax > 1 && bytesLeft >= this.#leftMin && waitedMs >= this.#waitedMs && waitedMs * 2 > elapsedMs
  }

  tryTake(): boolean {
    if (this.#segmentsFree === 0) return false
    this.#segmentsFree--
    return true
  }

  give(): void {
    this.#segmentsFree++
  }
}

/** A piece of a blob that is being fetched. Its memory is bounded by its length. */
interface Segment {
  readonly chunks: Channel<Uint8Array>
  /** The one that every stream may have was not taken from the budget. */
  readonly isCounted: boolean
  failure: unknown
}

/**
 * The rest of a blob, in order, fetched as several ranges at once: one more while the consumer waits for the network, one fewer while it
 * does not. The first piece flows as it comes, those behind it are held until it is their turn.
 * @throws what the first piece that fails fails with; nothing after it was given out
 */
export async function* readRanges(
  source: Source,
  request: { readonly descriptor: Descriptor; readonly from: number; readonly signal: AbortSignal },
  budget: RangeBudget,
): AsyncGenerator<Uint8Array, void, void> {
  const { descriptor, from } = request
  const stop = new AbortController()
  const signal = AbortSignal.any([request.signal, stop.signal])
  const segments: Segment[] = []
  let next = from
  let ranges = 2
  try {
    while (segments.length > 0 || next < descriptor.size) {
      while (next < descriptor.size && segments.length < ranges) {
        const isCounted = segments.length > 0
        if (isCounted && !budget.tryTake()) break
        const end = Math.min(next + budget.segmentBytes, descriptor.size)
        segments.push(startSegment(source, descriptor, { offset: next, end, signal, isCounted }))
        next = end
      }
      const waitedMs = yield* readSegment(segments[0] as Segment)
      ranges = waitedMs > noticeableMs ? Math.min(ranges + 1, budget.rangesMax) : Math.max(ranges - 1, 1)
      if (segments.shift()?.isCounted) budget.give()
    }
  } finally {
    stop.abort()
    for (const { isCounted } of segments) if (isCounted) budget.give()
  }
}

/** Gives a segment out as it comes, and says for how long it had to be waited for. */
async function* readSegment(segment: Segment): AsyncGenerator<Uint8Array, number, void> {
  let waitedMs = 0
  let askedMs = performance.now()
  for await (const chunk of segment.chunks) {
    waitedMs += performance.now() - askedMs
    yield chunk
    askedMs = performance.now()
  }
  if (segment.failure !== undefined) throw segment.failure
  return waitedMs
}

interface SegmentRequest {
  readonly offset: number
  readonly end: number
  readonly signal: AbortSignal
  readonly isCounted: boolean
}

function startSegment(source: Source, descriptor: Descriptor, request: SegmentRequest): Segment {
  const segment: Segment = { chunks: new Channel(), isCounted: request.isCounted, failure: undefined }
  fetchSegment(source, descriptor, request, segment.chunks)
    .catch(error => {
      segment.failure = error
    })
    .finally(() => segment.chunks.close())
  return segment
}

/** A source that does not give exactly the range is refused: its bytes could not be held in bounded memory. */
async function fetchSegment(
  source: Source,
  descriptor: Descriptor,
  { offset, end, signal }: SegmentRequest,
  chunks: Channel<Uint8Array>,
): Promise<void> {
  const stream = await source.openBlob(descriptor, { offset, end, signal })
  let position = stream.offset
  if (position !== offset) throw wrongRange(source, descriptor, `starts at byte ${position}; wanted ${offset}`)
  for await (const chunk of stream.bytes) {
    position += chunk.byteLength
    if (position > end) throw wrongRange(source, descriptor, `gives more than bytes ${offset} to ${end - 1}`)
    chunks.push(chunk)
  }
  if (position < end) throw wrongRange(source, descriptor, `ended at byte ${position}; wanted ${end}`)
}

function wrongRange({ name }: Source, { digest }: Descriptor, what: string): WindlassError {
  return new WindlassError('NETWORK', `Cannot read ${digest} from ${name}: it ${what}`, { facts: { host: name } })
}
