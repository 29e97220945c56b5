import { WindlassError } from '../../errors.ts'
import { type HttpRequest, type HttpResponse, headerOf } from './http.ts'

/** The bytes of a blob from `offset` up to `end`, which is not included; `size` is that of the whole blob. */
export interface WantedRange {
  readonly offset: number
  readonly end: number
  readonly size: number
}

/** The range header that asks for it, or undefined where it is the whole blob. */
export function formatRange({ offset, end, size }: WantedRange): string | undefined {
  if (offset === 0 && end === size) return undefined
  return `bytes=${offset}-${end === size ? '' : end - 1}`
}

/**
 * Checks that the head of an answer with status 200 or 206 fits the blob that was asked for, and says at which byte it starts:
 * 0 where the server ignored the range (RFC 9110, section 14.2 lets it).
 * @throws WindlassError PROTOCOL, with `facts.wrongRange` where the whole blob may still be had; CORRUPT; the body is then closed
 */
export function checkBlobAnswer(response: HttpResponse, request: HttpRequest, wanted: WantedRange): number {
  const problem = findProblem(response, wanted)
  const start = response.status === 206 ? wanted.offset : 0
  if (problem === undefined) return start
  response.body.destroy()
  const message = `${request.doing}: ${response.url.host} ${problem.text}`
  const facts = { host: response.url.host, status: response.status }
  throw new WindlassError(problem.code, message, {
    facts: problem.isWrongRange && wanted.offset > 0 ? { ...facts, wrongRange: true } : facts,
  })
}

function findProblem(
  response: HttpResponse,
  { offset, end, size }: WantedRange,
): { code: 'PROTOCOL' | 'CORRUPT'; text: string; isWrongRange?: true } | undefined {
  const encoding = headerOf(response, 'content-encoding')
  if (encoding !== undefined && encoding !== 'identity') {
    return { code: 'PROTOCOL', text: 'changed the encoding of the blob; wanted the bytes as they are stored' }
  }
  const start = response.status === 206 ? offset : 0
  if (response.status === 206 && !isRange(headerOf(response, 'content-range'), { offset, end, size })) {
    const text = `answered with another range; wanted bytes ${offset}-${end - 1}/${size}`
    return { code: 'PROTOCOL', text, isWrongRange: true }
  }
  const stop = response.status === 206 ? end : size
  const length = headerOf(response, 'content-length')
  if (length !== undefined && Number(length) !== stop - start) {
    return { code: 'CORRUPT', text: `has ${Number(length)} bytes from byte ${start} on; wanted ${stop - start}` }
  }
  return undefined
}

/** Strictly the range that was asked for: any other, appended to what is here, would spoil it. */
function isRange(text: string | undefined, { offset, end, size }: WantedRange): boolean {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text?.trim() ?? '')
  return match !== null && Number(match[1]) === offset && Number(match[2]) === end - 1 && Number(match[3]) === size
}
