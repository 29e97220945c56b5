import { WindlassError } from '../../errors.ts'
import { type HttpRequest, type HttpResponse, headerOf, networkError } from './http.ts'
import { readAheadBytes } from './limits.ts'

/**
 * A whole small answer.
 * @throws WindlassError LIMIT_EXCEEDED as soon as it is longer than `sizeMax` bytes
 */
export async function readSmall(response: HttpResponse, request: HttpRequest, sizeMax: number): Promise<Buffer> {
  const promised = Number(headerOf(response, 'content-length') ?? 0)
  const chunks: Uint8Array[] = []
  let size = 0
  let arrivedMs = performance.now()
  try {
    if (promised > sizeMax) throw tooLong(response, request, sizeMax)
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength
      arrivedMs = performance.now()
      if (size > sizeMax) throw tooLong(response, request, sizeMax)
      chunks.push(chunk)
    }
  } catch (error) {
    response.body.destroy()
    throw networkError(
      error,
      { ...request, url: response.url, via: response.via },
      { when: `after ${size} bytes`, sinceMs: arrivedMs },
    )
  }
  return Buffer.concat(chunks, size)
}

function tooLong(response: HttpResponse, request: HttpRequest, sizeMax: number): WindlassError {
  const message = `${request.doing}: ${response.url.host} sends more than the ${sizeMax} bytes allowed`
  return new WindlassError('LIMIT_EXCEEDED', message, { facts: { host: response.url.host, sizeMax } })
}

/**
 * The bytes of a blob from `offset` to `end`, never more and never silently fewer. Leaving the loop early closes the connection.
 * @throws WindlassError NETWORK or STALLED when the connection breaks, CORRUPT when there is more than was promised
 */
export async function* readBlob(
  response: HttpResponse,
  request: HttpRequest,
  range: { offset: number; end: number; size: number; aheadBytes?: number | undefined },
): AsyncGenerator<Uint8Array> {
  const from = { ...request, url: response.url, via: response.via }
  const { host } = response.url
  let position = range.offset
  const arrivals = new Arrivals(response.body, range.aheadBytes)
  try {
    for await (const chunk of arrivals) {
      position += chunk.byteLength
      if (position > range.end) {
        const asked = range.end === range.size ? `the ${range.size} bytes of the descriptor` : 'the range asked for'
        const message = `${request.doing}: ${host} sends more than ${asked}`
        throw new WindlassError('CORRUPT', message, { facts: { host, size: range.size } })
      }
      yield chunk
    }
  } catch (error) {
    throw networkError(error, from, {
      when: `after ${position} of ${range.size} bytes`,
      sinceMs: arrivals.lastMs,
    })
  } finally {
    response.body.destroy()
  }
  if (position < range.end) {
    const message = `${request.doing}: ${host} ended after ${position} of ${range.size} bytes`
    throw new WindlassError('NETWORK', message, { facts: { host, bytesDone: position, size: range.size } })
  }
}

/**
 * The chunks of a body, and its failure only after all that came before it: a Node stream that breaks throws away what it has read
 * ahead, so that a connection that often breaks would never bring a slow reader on. Reads ahead up to `aheadBytes`.
 */
class Arrivals implements AsyncIterable<Uint8Array> {
  readonly #body: HttpResponse['body']
  readonly #aheadBytes: number
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #ended = false
  #failure: unknown
  #wake: (() => void) | undefined
  /** When the last chunk came, by `performance.now()`. */
  lastMs = performance.now()

  constructor(body: HttpResponse['body'], aheadBytes = readAheadBytes) {
    this.#body = body
    this.#aheadBytes = aheadBytes
    body.on('error', error => this.#end(error))
    body.on('end', () => this.#end(undefined))
    body.on('close', () => this.#end(new Error('the connection was closed')))
    // What broke before anybody listened will not say so again.
    if (body.destroyed) this.#end(body.errored ?? new Error('the connection was closed'))
    body.on('data', (chunk: Uint8Array) => this.#add(chunk))
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    while (true) {
      const chunks = this.#queue
      this.#queue = []
      for (const chunk of chunks) {
        this.#take(chunk)
        yield chunk
      }
      if (this.#queue.length > 0) continue
      if (this.#failure !== undefined) throw this.#failure
      if (this.#ended) return
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  #add(chunk: Uint8Array): void {
    this.lastMs = performance.now()
    this.#queue.push(chunk)
    this.#queuedBytes += chunk.byteLength
    if (this.#queuedBytes >= this.#aheadBytes) this.#body.pause()
    this.#wake?.()
  }

  #take(chunk: Uint8Array): void {
    this.#queuedBytes -= chunk.byteLength
    if (this.#queuedBytes < this.#aheadBytes && this.#body.isPaused()) this.#body.resume()
  }

  #end(failure: unknown): void {
    if (!this.#ended) this.#failure = failure
    this.#ended = true
    this.#wake?.()
  }
}
