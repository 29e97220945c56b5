import { WindlassError } from '../errors.ts'
import { showName } from './entry.ts'

/**
 * PAX extended header records (POSIX pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record in
 * decimal. Values are bytes: a capability or another xattr is no text. Keys are byte strings (one character per byte).
 */
export type PaxRecords = Map<string, Buffer>

const NEWLINE = 0x0a
const SPACE = 0x20
const EQUALS = 0x3d

/**
 * Parses the body of an `x` or `g` header. Of a key that comes twice the last value counts, as in Go and GNU tar; but there are readers that
 * take the first, so a key that decides where entries lie or end (entry smuggling) must not have two different values. GNU's repeated
 * sparse keys are joined by commas in order, as format 0.1 writes them.
 * @throws WindlassError CORRUPT
 */
export function parsePax(body: Uint8Array): PaxRecords {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  const records: PaxRecords = new Map()
  const sparse: string[] = []
  let at = 0
  while (at < bytes.length) {
    const space = bytes.indexOf(SPACE, at)
    const length = space < 0 ? Number.NaN : parseLength(bytes.toString('latin1', at, space))
    const end = at + length
    // Nor is there a newline behind the last byte.
    if (!(end > space + 2 && bytes[end - 1] === NEWLINE)) throw malformed('a record has a wrong length')
    const equals = bytes.indexOf(EQUALS, space + 1)
    if (equals <= space + 1 || equals >= end - 1) throw malformed('a record has no key')
    addRecord(
      records,
      sparse,
      bytes.toString('latin1', space + 1, equals),
      Buffer.from(bytes.subarray(equals + 1, end - 1)),
    )
    at = end
  }
  if (sparse.length > 0) records.set('GNU.sparse.map', Buffer.from(sparse.join(','), 'latin1'))
  return records
}

function parseLength(text: string): number {
  return /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN
}

function addRecord(records: PaxRecords, sparse: string[], key: string, value: Buffer): void {
  if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') {
    if ((key === 'GNU.sparse.offset') !== (sparse.length % 2 === 0)) throw malformed('sparse records are out of order')
    sparse.push(value.toString('latin1'))
    return
  }
  if (key.includes('\0')) throw malformed('a key holds a NUL')
  if (isDecisive(key) && !(records.get(key) ?? value).equals(value)) {
    throw malformed(`key ${showName(key)} comes twice with different values`)
  }
  records.set(key, value)
}

/** True for a key that decides which bytes of the archive are whose: what it says must not depend on the reader. */
export function isDecisive(key: string): boolean {
  return key === 'path' || key === 'linkpath' || key === 'size' || key.startsWith('GNU.sparse.')
}

function malformed(why: string): WindlassError {
  return new WindlassError('CORRUPT', `Cannot read PAX header: ${why}`)
}

/** A decimal number of a PAX record, a safe non-negative integer. */
export function parsePaxNumber(key: string, value: Buffer): number {
  const text = value.toString('latin1')
  const number = Number(text)
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(number)) throw malformed(`${key} is not a number in range`)
  return number
}

/** A time of a PAX record: decimal seconds, maybe negative, with any number of digits after the point; cut to nanoseconds. */
export function parsePaxTime(key: string, value: Buffer): { seconds: number; nanoseconds: number } {
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(value.toString('latin1'))
  if (match === null) throw malformed(`${key} is not a time`)
  const seconds = Number(match[2])
  const nanoseconds = Number((match[3] ?? '').padEnd(9, '0').slice(0, 9))
  if (match[1] !== '-') return { seconds, nanoseconds }
  return nanoseconds === 0
    ? { seconds: 0 - seconds, nanoseconds }
    : { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds }
}
