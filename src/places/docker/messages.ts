import { isWindlassError, WindlassError } from '../../errors.ts'
import { type JsonObject, parseJsonObject, readField, readObject, readString } from '../../oci/json.ts'
import { messageBytesMax } from './limits.ts'

/** One message of docker's streams (API, "image create" and "image load"). */
export interface EngineMessage {
  /** A layer's short name, or empty. */
  readonly id: string
  readonly status: string
  readonly stream: string
  readonly error: string | undefined
  readonly current: number
}

/**
 * The messages of a stream: JSON objects one after the other, a line each.
 * @throws WindlassError PROTOCOL for something else, LIMIT_EXCEEDED for a line without end
 */
export async function* readMessages(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<EngineMessage> {
  let rest = Buffer.alloc(0)
  for await (const chunk of bytes) {
    rest = Buffer.concat([rest, chunk])
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      const line = rest.subarray(0, end)
      rest = rest.subarray(end + 1)
      yield* parseLine(line)
    }
    if (rest.length > messageBytesMax)
      throw new WindlassError(
        'LIMIT_EXCEEDED',
        `Cannot read docker's answer: one message has over ${messageBytesMax} bytes`,
      )
  }
  yield* parseLine(rest)
}

/** Old daemons put several objects on one line. */
function* parseLine(line: Uint8Array): Generator<EngineMessage> {
  const text = Buffer.from(line).toString().trim()
  if (text === '') return
  for (const object of text.split(/(?<=\})(?=\{"(?:status|stream|error|errorDetail|progressDetail|id|aux|progress)":)/))
    yield parseMessage(Buffer.from(object))
}

function parseMessage(bytes: Uint8Array): EngineMessage {
  const name = "docker's answer"
  try {
    const message = parseJsonObject(bytes, name, messageBytesMax)
    const detail = readObject(message, 'errorDetail', name)
    const progress = readObject(message, 'progressDetail', name)
    const text = (from: JsonObject | undefined, key: string) => (from && readString(from, key, name)) ?? ''
    const current = progress && readField(progress, 'current')
    return {
      id: text(message, 'id'),
      status: text(message, 'status'),
      stream: text(message, 'stream'),
      error: text(detail, 'message') || text(message, 'error') || undefined,
      current: typeof current === 'number' ? current : 0,
    }
  } catch (error) {
    if (!isWindlassError(error)) throw error
    throw new WindlassError('PROTOCOL', "Cannot read docker's answer: it is no stream of JSON messages", {
      cause: error,
    })
  }
}
