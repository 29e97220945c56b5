import { firstError, isWindlassError, WindlassError } from '../errors.ts'
import { formatJson, printable } from './printable.ts'

/** An image can nest no errors, but a cycle of causes must not print for ever. */
const causesMax = 16

/** Gives what was thrown the shape of a WindlassError; anything else is a bug, and is said to be one. */
export function toWindlassError(thrown: unknown): WindlassError {
  const error = firstError(thrown)
  if (isWindlassError(error)) return error
  const { name, message } = (error ?? {}) as { name?: string; message?: string }
  if (name === 'AbortError') return new WindlassError('CANCELLED', 'Cannot go on: cancelled', { cause: error })
  return new WindlassError('FAILED', `Cannot go on: internal error: ${message ?? String(error)}`, {
    cause: error,
    hint: 'this is a bug of windlass; run it again with --log-level debug and report what it prints',
  })
}

/** What is printed on stderr for an error: text of one to a few lines, or one line of JSON. Ends with a line break. */
export function formatFailure(error: WindlassError, how: { readonly json: boolean; readonly debug: boolean }): string {
  if (how.json) {
    const { code, message, hint, facts } = error
    const causes = how.debug ? { causes: readCauses(error) } : {}
    return `${formatJson({ error: { code, message, ...(hint !== undefined && { hint }), facts, ...causes } })}\n`
  }
  const lines = [`windlass: ${printable(error.message)}`]
  if (error.hint !== undefined) lines.push(`hint: ${printable(error.hint)}`)
  if (how.debug) lines.push(`code: ${error.code}`, ...readCauses(error).map(cause => `caused by: ${printable(cause)}`))
  return `${lines.join('\n')}\n`
}

function readCauses(error: WindlassError): string[] {
  const causes: string[] = []
  for (let cause = error.cause; cause !== undefined && causes.length < causesMax; cause = (cause as Error).cause) {
    causes.push(formatCause(cause))
  }
  return causes
}

function formatCause(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  const place = isWindlassError(cause) ? undefined : cause.stack?.split('\n').find(line => /^\s+at /.test(line))
  return `${cause.name}: ${cause.message}${place === undefined ? '' : ` (${place.trim()})`}`
}
