import { WindlassError } from '../errors.ts'
import { formatPaxRecord, formatPaxTime } from './pax-record.ts'

const typeflags = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
} as const

/** What a header says of an entry. Names are byte strings, as the kernel has them; numbers are exact. */
export interface TarHeaderFields {
  /** Relative, without a slash at the end. */
  readonly name: Uint8Array
  readonly type: keyof typeof typeflags
  /** Permission bits with setuid, setgid and sticky; the file type is not looked at. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Bytes of data that follow; 0 unless the type is `file`. */
  readonly size: number
  /** Nanoseconds since the epoch, may be negative. */
  readonly mtimeNs: bigint
  /** The target of a symlink as it is; for a hard link the name of the entry it links to. */
  readonly linkName?: Uint8Array
  readonly device?: { readonly major: number; readonly minor: number }
  /** Names as byte strings (one character per byte), and values. */
  readonly xattrs?: readonly (readonly [name: string, value: Uint8Array])[]
}

const blockSize = 512
const octal8Max = 0o7777777
const octal12Max = 0o77777777777
const zeroBlocks = Buffer.alloc(2 * blockSize)

/** The end of an archive: two blocks of zeros. */
export const tarEnd: Uint8Array = zeroBlocks

/** The zeros between `size` bytes of data and the next header. */
export function tarPadding(size: number): Uint8Array {
  return zeroBlocks.subarray(0, (blockSize - (size % blockSize)) % blockSize)
}

/**
 * The blocks in front of an entry's data: one ustar header, and a PAX header before it where ustar cannot say it:
 * names above 100 bytes, sizes of 8 GiB and more, ids above 2097151, times with a fraction or outside of 1970 to 2242,
 * and xattrs. The same fields always give the same bytes.
 * @throws WindlassError UNSUPPORTED for an xattr name with a `=`, which no tar can hold
 */
export function tarHeader(fields: TarHeaderFields): Buffer {
  const name = fields.type === 'directory' ? Buffer.concat([fields.name, Buffer.from('/')]) : fields.name
  const records = paxRecords(fields, name)
  const header = ustarHeader(fields, name)
  if (records.length === 0) return header
  const body = Buffer.concat(records)
  return Buffer.concat([paxHeader(name, body.length), body, tarPadding(body.length), header])
}

function paxRecords(fields: TarHeaderFields, name: Uint8Array): Buffer[] {
  const { linkName, mtimeNs } = fields
  const records: Buffer[] = []
  if (name.length > 100) records.push(formatPaxRecord('path', name))
  if (linkName !== undefined && linkName.length > 100) records.push(formatPaxRecord('linkpath', linkName))
  if (fields.size > octal12Max) records.push(formatPaxRecord('size', `${fields.size}`))
  if (fields.uid > octal8Max) records.push(formatPaxRecord('uid', `${fields.uid}`))
  if (fields.gid > octal8Max) records.push(formatPaxRecord('gid', `${fields.gid}`))
  if (!isWholeOctalTime(mtimeNs)) records.push(formatPaxRecord('mtime', formatPaxTime(mtimeNs)))
  for (const [key, value] of fields.xattrs ?? []) records.push(xattrRecord(key, value))
  return records
}

function isWholeOctalTime(nanoseconds: bigint): boolean {
  return nanoseconds >= 0n && nanoseconds % 1_000_000_000n === 0n && nanoseconds / 1_000_000_000n <= octal12Max
}

function xattrRecord(name: string, value: Uint8Array): Buffer {
  if (!name.includes('=')) return formatPaxRecord(`SCHILY.xattr.${name}`, value)
  throw new WindlassError('UNSUPPORTED', `Cannot write xattr ${JSON.stringify(name)} to a tar: its name contains '='`)
}

/** Named after the entry, as other tars do: what does not know PAX unpacks it as a file of that name. */
function paxHeader(name: Uint8Array, size: number): Buffer {
  const trimmed = Buffer.concat([Buffer.from('PaxHeaders.0/'), baseName(name)]).subarray(0, 100)
  const block = startHeader(trimmed, 'x', 0o644)
  writeOctal(block, 108, 8, 0)
  writeOctal(block, 116, 8, 0)
  writeOctal(block, 124, 12, size)
  writeOctal(block, 136, 12, 0)
  return finishHeader(block)
}

function baseName(name: Uint8Array): Uint8Array {
  const end = name.at(-1) === 0x2f ? name.length - 1 : name.length
  return name.subarray(name.subarray(0, end).lastIndexOf(0x2f) + 1, end)
}

/** Fields that do not fit are cut or zero here: the PAX header in front has the truth. */
function ustarHeader(fields: TarHeaderFields, name: Uint8Array): Buffer {
  const block = startHeader(name.subarray(0, 100), typeflags[fields.type], fields.mode & 0o7777)
  writeOctal(block, 108, 8, fields.uid > octal8Max ? 0 : fields.uid)
  writeOctal(block, 116, 8, fields.gid > octal8Max ? 0 : fields.gid)
  writeOctal(block, 124, 12, fields.size > octal12Max ? 0 : fields.size)
  const seconds = fields.mtimeNs < 0n ? 0 : Number(fields.mtimeNs / 1_000_000_000n)
  writeOctal(block, 136, 12, seconds > octal12Max ? 0 : seconds)
  if (fields.linkName !== undefined) block.set(fields.linkName.subarray(0, 100), 157)
  writeOctal(block, 329, 8, fields.device?.major ?? 0)
  writeOctal(block, 337, 8, fields.device?.minor ?? 0)
  return finishHeader(block)
}

function startHeader(name: Uint8Array, typeflag: string, mode: number): Buffer {
  const block = Buffer.alloc(blockSize)
  block.set(name)
  writeOctal(block, 100, 8, mode)
  block.write(typeflag, 156, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  return block
}

function finishHeader(block: Buffer): Buffer {
  let sum = 8 * 0x20 // the checksum field counts as spaces
  for (const byte of block) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function writeOctal(block: Buffer, at: number, length: number, value: number): void {
  block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1')
}
