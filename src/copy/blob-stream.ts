import { WindlassError } from '../errors.ts'
import type { RetryOptions } from '../flow/retry.ts'
import { type OverallPace, OverallSpeed, type SpeedFloor, SpeedMeter } from '../flow/speed.ts'
import { passThrottled, type Throttle } from '../flow/throttle.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Source } from '../places/place.ts'
import type { BlobIngest } from '../places/store/types.ts'
import { type BlobHosts, isHostFault, Route } from './blob-hosts.ts'
import { type RangeBudget, readRanges } from './blob-ranges.ts'

/** How the blobs of one pull are read: shared by all its layers. */
export interface Network {
  readonly hosts: BlobHosts
  readonly floor: SpeedFloor
  readonly throttle?: Throttle | undefined
  readonly ranges: RangeBudget
  /** The first pause before another attempt. */
  readonly pauseMs?: number | undefined
}

export interface BlobStreamOptions {
  readonly signal: AbortSignal
  /** Told of bytes that came from the network and are new. */
  readonly onBytes: (bytes: number) => void
  readonly onRetry: (error: WindlassError, pauseMs: number) => void
  /** Told that a host begins anew with what is here already: so many bytes come twice. */
  readonly onRepeat?: (source: Source, bytes: number) => void
}

/**
 * An attempt that brings less is none: a host that gives a few bytes and breaks off, again and again, must not be asked for ever. More
 * than the default speed floor lets pass in two windows.
 */
const progressMin = 64 * 1024

/**
 * All bytes of a blob from its first: what an earlier run left, then the rest from the network, which is written down as it flows. What
 * breaks, stalls or is too slow is asked again from where it stands, and then the next host. Nothing here is verified.
 * @throws WindlassError of the last host, naming it and the last thing it did; what the ingest throws
 */
export async function* blobStream(
  network: Network,
  descriptor: Descriptor,
  ingest: Pick<BlobIngest, 'complete' | 'size' | 'read' | 'write'>,
  options: BlobStreamOptions,
): AsyncGenerator<Uint8Array, void, void> {
  yield* ingest.read()
  if (ingest.complete) return
  const { signal, onBytes, onRetry } = options
  const retrying: RetryOptions = { signal, onRetry, pauseMs: network.pauseMs }
  const route = new Route(network.hosts, retrying)
  const overall = new OverallSpeed(network.floor)
  let manner = 'widening' as Manner
  for (let position = ingest.size; position < descriptor.size; ) {
    const { source } = route
    const attempt = new Attempt(network, source, descriptor, { ...options, position, manner })
    try {
      for await (const chunk of attempt.bytes()) {
        const held = overall.hold(chunk.length)
        for await (const piece of passThrottled(chunk, network.throttle, signal)) {
          // Nobody waited for the end of a stream that was given up: what it still brings is not for this ingest, which may have been begun anew.
          signal.throwIfAborted()
          await ingest.write(piece)
          position += piece.length
          onBytes(piece.length)
          yield piece
        }
        held.end()
      }
      if (position < descriptor.size) throw endedEarly(source, descriptor, position)
    } catch (error) {
      const simpler = isHostFault(error) ? attempt.findSimplerManner(error) : undefined
      if (simpler === undefined) {
        overall.judge(speed => slowOnTheWhole(error, source, descriptor, { ...speed, position, floor: network.floor }))
        await route.failed(error, attempt.isProgress)
      } else onRetry(error as WindlassError, 0)
      manner = simpler ?? (route.source === source && manner === 'whole' ? 'whole' : 'single')
    }
  }
}

/** The bytes of a blob from `offset` on, with all that `blobStream` does, and kept nowhere. */
export function passingStream(
  network: Network,
  descriptor: Descriptor,
  offset: number,
  options: BlobStreamOptions,
): AsyncGenerator<Uint8Array, void, void> {
  return blobStream(
    network,
    descriptor,
    { complete: false, size: offset, read: nothing, write: async () => {} },
    options,
  )
}

async function* nothing(): AsyncGenerator<Uint8Array, void, void> {}

/**
 * How the rest of a blob is asked for: by one request that may become several at once (`widening`), by one alone, after trouble, or from
 * the first byte, where a host's ranges are wrong (`whole`).
 */
type Manner = 'widening' | 'single' | 'whole'

interface AttemptOptions extends BlobStreamOptions {
  readonly position: number
  readonly manner: Manner
}

/** One attempt to bring a blob from where it stands to its end. */
class Attempt {
  readonly #network: Network
  readonly #source: Source
  readonly #descriptor: Descriptor
  readonly #options: AttemptOptions
  readonly #meter: SpeedMeter
  #skipped = 0
  #position: number
  #hasWidened = false

  constructor(network: Network, source: Source, descriptor: Descriptor, options: AttemptOptions) {
    this.#network = network
    this.#source = source
    this.#descriptor = descriptor
    this.#options = options
    this.#meter = new SpeedMeter(network.floor)
    this.#position = options.position
  }

  /** True if it brought enough, fast enough, and more that is new than what came twice. */
  get isProgress(): boolean {
    const fresh = this.#position - this.#options.position
    return fresh >= Math.max(progressMin, this.#skipped) && this.#meter.isFast
  }

  /** What may help at this same host, once and at once, where repeating the same would not. */
  findSimplerManner(error: WindlassError): Manner | undefined {
    if (error.retryable || this.#options.manner === 'whole') return undefined
    if (this.#hasWidened) return 'single'
    return error.facts['wrongRange'] === true ? 'whole' : undefined
  }

  /** The bytes from `position` on. A source that starts at 0 although asked for more is read up to there, at the same speed floor. */
  async *bytes(): AsyncGenerator<Uint8Array, void, void> {
    const { position, manner, signal, onRepeat } = this.#options
    const offset = manner === 'whole' ? 0 : position
    const stream = await this.#source.openBlob(this.#descriptor, { offset, signal })
    let skip = position - stream.offset
    if (skip > 0) onRepeat?.(this.#source, skip)
    const mayWiden = manner === 'widening' && stream.servesRanges === true
    let widens = false
    for await (const chunk of this.#measured(stream.bytes)) {
      const skipped = Math.min(skip, chunk.length)
      skip -= skipped
      this.#skipped += skipped
      if (skipped === chunk.length) continue
      this.#position += chunk.length - skipped
      yield skipped > 0 ? chunk.subarray(skipped) : chunk
      widens = mayWiden && this.#isWorthWidening()
      if (widens) break
    }
    if (widens) yield* this.#ranges()
  }

  #measured(bytes: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    const { name } = this.#source
    const { digest, size } = this.#descriptor
    const wanted = this.#network.floor.bytesPerSecond
    return this.#meter.measure(bytes, (bytesPerSecond, windowMs) => {
      const seconds = (windowMs / 1000).toFixed(1)
      const message =
        `Cannot read ${digest} from ${name}: ${bytesPerSecond} bytes/s for ${seconds} s, ` +
        `at byte ${this.#position} of ${size}; wanted ${wanted} bytes/s`
      return new WindlassError('STALLED', message, { facts: { host: name, bytesPerSecond, bytesDone: this.#position } })
    })
  }

  /** The network is what keeps the pull waiting, and there is enough left to gain from it. */
  #isWorthWidening(): boolean {
    return this.#network.ranges.isWorthwhile(this.#descriptor.size - this.#position, this.#meter)
  }

  async *#ranges(): AsyncGenerator<Uint8Array, void, void> {
    this.#hasWidened = true
    const request = { descriptor: this.#descriptor, from: this.#position, signal: this.#options.signal }
    for await (const chunk of this.#measured(readRanges(this.#source, request, this.#network.ranges))) {
      this.#position += chunk.length
      yield chunk
    }
  }
}

/** It is let go on as long as it brings something, but not for ever. */
function slowOnTheWhole(
  last: unknown,
  { name }: Source,
  { digest, size }: Descriptor,
  { bytesPerSecond, waitedMs, position, floor }: OverallPace & { position: number; floor: SpeedFloor },
): unknown {
  if (!isHostFault(last)) return last
  const pace = `${bytesPerSecond} bytes/s for ${(waitedMs / 1000).toFixed(1)} s, breaks included`
  const message =
    `Cannot read ${digest} from ${name}: ${pace}, at byte ${position} of ${size}; ` +
    `wanted ${floor.bytesPerSecond} bytes/s; at last: ${last.message}`
  return new WindlassError('STALLED', message, {
    cause: last,
    facts: { host: name, bytesPerSecond, bytesDone: position },
  })
}

function endedEarly(source: Source, { digest, size }: Descriptor, position: number): WindlassError {
  return new WindlassError(
    'NETWORK',
    `Cannot read ${digest} from ${source.name}: it ended at byte ${position} of ${size}`,
    { facts: { host: source.name, bytesDone: position } },
  )
}
