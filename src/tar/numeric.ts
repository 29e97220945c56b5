import { WindlassError } from '../errors.ts'

/**
 * A numeric field of a tar header: octal digits after spaces or NULs, ended by NUL or space; or, where the first bit is set,
 * GNU's base-256 two's complement. An empty field is 0. Returns a safe integer, which may be negative only in base-256.
 * What stands behind the NUL that ends a number is nobody's concern: no reader looks at it, and some writers leave dirt there.
 * @throws WindlassError CORRUPT for anything else
 */
export function parseNumeric(block: Uint8Array, offset: number, length: number, field: string): number {
  const first = block[offset] ?? 0
  return first & 0x80 ? parseBase256(block, offset, length, field) : parseOctal(block, offset, length, field)
}

function parseOctal(block: Uint8Array, offset: number, length: number, field: string): number {
  const end = offset + length
  let at = offset
  while (at < end && (block[at] === 0x20 || block[at] === 0)) at++
  let value = 0
  for (; at < end; at++) {
    const byte = block[at] as number
    if (byte === 0 || byte === 0x20) break
    if (byte < 0x30 || byte > 0x37) throw invalid(field, 'is not octal')
    value = value * 8 + byte - 0x30
  }
  while (at < end && block[at] === 0x20) at++
  if (at < end && block[at] !== 0) throw invalid(field, 'has bytes after its end')
  return value
}

function parseBase256(block: Uint8Array, offset: number, length: number, field: string): number {
  const negative = ((block[offset] ?? 0) & 0x40) !== 0
  let value = BigInt((block[offset] ?? 0) & 0x7f)
  for (let at = offset + 1; at < offset + length; at++) value = (value << 8n) | BigInt(block[at] ?? 0)
  if (negative) value -= 1n << BigInt(length * 8 - 1)
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER))
    throw invalid(field, 'is too large')
  return Number(value)
}

function invalid(field: string, why: string): WindlassError {
  return new WindlassError('CORRUPT', `Cannot read tar header: field ${field} ${why}`)
}
