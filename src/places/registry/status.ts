import { type ErrorCode, type ErrorDetails, WindlassError } from '../../errors.ts'
import { type HttpRequest, type HttpResponse, headerOf } from './http.ts'
import { errorBodyMs, errorBytesMax } from './limits.ts'

/** An answer that is not what was asked for, as an error: what the host said, cleaned, and when to come back. Uses the body up. */
export async function statusError(
  response: HttpResponse,
  request: HttpRequest,
  details: ErrorDetails = {},
): Promise<WindlassError> {
  const { status, url } = response
  const said = await readErrorText(response)
  const retryAfterMs = parseRetryAfter(headerOf(response, 'retry-after'), Date.now())
  const facts = { host: url.host, status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }
  const message = `${request.doing}: ${url.host} answered ${status}${said === '' ? '' : ` (${said})`}`
  return new WindlassError(statusCode(status), message, { ...details, facts: { ...facts, ...details.facts } })
}

function statusCode(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'DENIED'
  if (status === 404) return 'NOT_FOUND'
  if (status === 429) return 'RATE_LIMITED'
  // 408 and 425: the server wants the same request again, as after any other failure in between.
  if (status >= 500 || status === 408 || status === 425) return 'NETWORK'
  return 'PROTOCOL'
}

/** RFC 9110, section 10.2.3: seconds or a date. `now` in milliseconds since the epoch. */
function parseRetryAfter(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,9}$/.test(text.trim())) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

async function readErrorText(response: HttpResponse): Promise<string> {
  const timer = setTimeout(() => response.body.destroy(), errorBodyMs)
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength
      if (size > errorBytesMax) return ''
      chunks.push(chunk)
    }
  } catch {
    return ''
  } finally {
    clearTimeout(timer)
  }
  return errorText(Buffer.concat(chunks, size).toString())
}

/** OCI distribution-spec, "Error Codes": `{"errors":[{"code","message","detail"}]}`. Anything else is not worth showing. */
function errorText(body: string): string {
  try {
    const { errors } = JSON.parse(body) as { errors?: unknown }
    if (!Array.isArray(errors)) return ''
    const texts = errors.slice(0, 3).map(error => cleanText(error?.message || error?.code))
    return texts.filter(text => text !== '').join('; ')
  } catch {
    return ''
  }
}

/** A stranger's words for the terminal: no control or direction characters, no query strings (they hold signatures), not long. */
function cleanText(text: unknown): string {
  if (typeof text !== 'string') return ''
  return text
    .replace(/(\/\/[^\s?"']*)\?[^\s"']*/g, '$1')
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
    .slice(0, 200)
}
