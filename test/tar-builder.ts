/**
 * Builds any tar, also broken and evil ones, field by field. Nothing is checked or completed unless a comment says so;
 * the only comfort is that sizes and checksums are right when they are not given.
 */

/** Text is UTF-8. A field that is full has no NUL at its end, as ustar allows. */
export type Text = string | Uint8Array
/** A number is written in octal, or base-256 where octal cannot hold it; bytes are put in as they are. */
export type Numeric = number | bigint | Uint8Array

export interface RawHeader {
  readonly name?: Text
  readonly mode?: Numeric
  readonly uid?: Numeric
  readonly gid?: Numeric
  readonly size?: Numeric
  readonly mtime?: Numeric
  /** `bad` is off by one; `signed` sums signed bytes, as some old tars did. */
  readonly checksum?: Numeric | 'bad' | 'signed'
  /** One character: 0 file, 1 hard link, 2 symlink, 3 character device, 4 block device, 5 directory, 6 FIFO, … */
  readonly typeflag?: string
  readonly linkname?: Text
  /** Magic and version, 8 bytes: `magics.ustar` if not given. */
  readonly magic?: Text
  readonly uname?: Text
  readonly gname?: Text
  readonly devmajor?: Numeric
  readonly devminor?: Numeric
  readonly prefix?: Text
  /** Written over the finished block, before the checksum is made. */
  readonly patches?: readonly { readonly at: number; readonly bytes: Text }[]
}

/** PAX records in order, doubles allowed; or the whole body of the header, however malformed. */
export type PaxRecords = Readonly<Record<string, Text>> | readonly (readonly [Text, Text])[] | Uint8Array

export interface RawEntry extends RawHeader {
  /** The header's size is its length unless `size` says otherwise. Padded to full blocks unless `padding` is false. */
  readonly data?: Text
  readonly padding?: boolean
  /** A PAX extended header ('x') in front. */
  readonly pax?: PaxRecords
  /** A PAX global header ('g') in front. */
  readonly globalPax?: PaxRecords
  /** GNU long name ('L') and long link ('K') entries in front. */
  readonly gnuName?: Text
  readonly gnuLink?: Text
}

export const magics = { ustar: 'ustar\x0000', gnu: 'ustar  \0', v7: '\0\0\0\0\0\0\0\0' } as const

const blockSize = 512

/** The bytes of an archive: entries, or ready-made blocks, and the two zero blocks unless `end` is false. */
export function buildTar(entries: readonly (RawEntry | Uint8Array)[], options: { end?: boolean } = {}): Buffer {
  const parts = entries.map(entry => (entry instanceof Uint8Array ? entry : rawEntry(entry)))
  if (options.end !== false) parts.push(Buffer.alloc(2 * blockSize))
  return Buffer.concat(parts)
}

/** One entry with all that goes in front of it and its padded data. */
export function rawEntry(entry: RawEntry): Buffer {
  const { data = '', padding = true, pax, globalPax, gnuName, gnuLink, ...header } = entry
  const parts: Uint8Array[] = []
  if (globalPax !== undefined) parts.push(paxEntry(globalPax, 'g'))
  if (pax !== undefined) parts.push(paxEntry(pax))
  if (gnuLink !== undefined) parts.push(gnuLongEntry('K', gnuLink))
  if (gnuName !== undefined) parts.push(gnuLongEntry('L', gnuName))
  const body = bytesOf(data)
  parts.push(rawHeader({ size: body.length, ...header }), padding ? padded(body) : body)
  return Buffer.concat(parts)
}

/** One header block of 512 bytes. */
export function rawHeader(header: RawHeader): Buffer {
  const block = Buffer.alloc(blockSize)
  const { mode = 0o644, uid = 0, gid = 0, size = 0, mtime = 0, devmajor = 0, devminor = 0 } = header
  putText(block, 0, 100, header.name ?? '')
  putNumber(block, 100, 8, mode)
  putNumber(block, 108, 8, uid)
  putNumber(block, 116, 8, gid)
  putNumber(block, 124, 12, size)
  putNumber(block, 136, 12, mtime)
  putText(block, 156, 1, header.typeflag ?? '0')
  putText(block, 157, 100, header.linkname ?? '')
  putText(block, 257, 8, header.magic ?? magics.ustar)
  putText(block, 265, 32, header.uname ?? '')
  putText(block, 297, 32, header.gname ?? '')
  putNumber(block, 329, 8, devmajor)
  putNumber(block, 337, 8, devminor)
  putText(block, 345, 155, header.prefix ?? '')
  for (const { at, bytes } of header.patches ?? []) putText(block, at, blockSize - at, bytes)
  putChecksum(block, header.checksum)
  return block
}

/**
 * A PAX header entry on its own; `pax` and `globalPax` of an entry make one too. `header` overrides its ustar fields.
 */
export function paxEntry(records: PaxRecords, typeflag: 'x' | 'g' = 'x', header: RawHeader = {}): Buffer {
  const data = records instanceof Uint8Array ? records : paxBody(records)
  return rawEntry({ name: 'PaxHeader', typeflag, data, ...header })
}

/** `length key=value\n` for each record (POSIX pax, "pax Extended Header"). */
export function paxBody(records: Exclude<PaxRecords, Uint8Array>): Buffer {
  const pairs: readonly (readonly [Text, Text])[] = Array.isArray(records) ? records : Object.entries(records)
  return Buffer.concat(pairs.map(([key, value]) => paxRecord(key, value)))
}

export function paxRecord(key: Text, value: Text): Buffer {
  const rest = Buffer.concat([Buffer.from(' '), bytesOf(key), Buffer.from('='), bytesOf(value), Buffer.from('\n')])
  let length = rest.length
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length
  return Buffer.concat([Buffer.from(`${length}`), rest])
}

/** A GNU long name ('L') or long link ('K') entry; the value ends with a NUL. */
export function gnuLongEntry(typeflag: 'L' | 'K', value: Text): Buffer {
  const data = Buffer.concat([bytesOf(value), Buffer.alloc(1)])
  return rawEntry({ name: '././@LongLink', typeflag, magic: magics.gnu, data })
}

export interface SparseFile extends RawHeader {
  readonly name: Text
  /** The size of the file with its holes. */
  readonly realSize: number
  /**
   * GNU tar reads only what it writes: every segment but the last has full blocks of 512 bytes. Data is joined
   * unpadded.
   */
  readonly segments: readonly { readonly offset: number; readonly data: Text }[]
}

/** Old GNU sparse ('S'): four segments in the header, 21 in each extension block. */
export function oldGnuSparse({ realSize, segments, ...header }: SparseFile): Buffer {
  const map = sparseMap(segments, realSize).map(([offset, length]) =>
    Buffer.concat([numberField(offset, 12), numberField(length, 12)]),
  )
  const extensions: Buffer[] = []
  for (let at = 4; at < map.length; at += 21) {
    const block = Buffer.alloc(blockSize)
    Buffer.concat(map.slice(at, at + 21)).copy(block)
    block[504] = at + 21 < map.length ? 1 : 0
    extensions.push(block)
  }
  const data = joinSegments(segments)
  const patches = [
    { at: 386, bytes: Buffer.concat(map.slice(0, 4)) },
    { at: 482, bytes: Buffer.from([extensions.length > 0 ? 1 : 0]) },
    { at: 483, bytes: numberField(realSize, 12) },
    ...(header.patches ?? []),
  ]
  const first = rawHeader({ typeflag: 'S', magic: magics.gnu, size: data.length, ...header, patches })
  return Buffer.concat([first, ...extensions, padded(data)])
}

/** PAX sparse formats as GNU tar writes them. */
export function paxSparse(version: '0.0' | '0.1' | '1.0', { realSize, segments, ...header }: SparseFile): Buffer {
  const map = sparseMap(segments, realSize)
  const data = joinSegments(segments)
  const placeholder = { ...header, name: 'GNUSparseFile.0/file' }
  if (version === '0.0') {
    const pax: [Text, Text][] = [
      ['GNU.sparse.size', `${realSize}`],
      ['GNU.sparse.numblocks', `${map.length}`],
    ]
    for (const [offset, length] of map)
      pax.push(['GNU.sparse.offset', `${offset}`], ['GNU.sparse.numbytes', `${length}`])
    return rawEntry({ ...header, pax, data })
  }
  if (version === '0.1') {
    const pax = {
      'GNU.sparse.name': header.name,
      'GNU.sparse.size': `${realSize}`,
      'GNU.sparse.numblocks': `${map.length}`,
      'GNU.sparse.map': map.flat().join(','),
    }
    return rawEntry({ ...placeholder, pax, data })
  }
  const pax = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': header.name,
    'GNU.sparse.realsize': `${realSize}`,
  }
  const table = padded(Buffer.from([map.length, ...map.flat()].map(number => `${number}\n`).join('')))
  return rawEntry({ ...placeholder, pax, data: Buffer.concat([table, data]) })
}

/** A number in base-256 (GNU): big-endian two's complement with the first bit set. */
export function base256(value: number | bigint, length: number): Buffer {
  const field = Buffer.alloc(length)
  let rest = BigInt.asUintN(length * 8, BigInt(value))
  for (let at = length - 1; at >= 0; at--, rest >>= 8n) field[at] = Number(rest & 0xffn)
  field[0] = (field[0] ?? 0) | 0x80
  return field
}

/** A number as a header field holds it: octal with a NUL at the end, or base-256 where octal cannot hold it. */
export function numberField(value: Numeric, length: number): Buffer {
  if (value instanceof Uint8Array) return Buffer.from(value)
  const text = value < 0 ? '' : value.toString(8).padStart(length - 1, '0')
  if (text === '' || text.length > length - 1) return base256(value, length)
  return Buffer.from(`${text}\0`)
}

/** Fills up to the next multiple of 512 with zeros. */
export function padded(data: Uint8Array): Buffer {
  return Buffer.concat([data, Buffer.alloc((blockSize - (data.length % blockSize)) % blockSize)])
}

/**
 * Offset and length of each segment; a hole at the end is told by an empty segment at the real size, as GNU tar does.
 */
function sparseMap(segments: SparseFile['segments'], realSize: number): [number, number][] {
  const map = segments.map(({ offset, data }): [number, number] => [offset, bytesOf(data).length])
  const [offset, length] = map.at(-1) ?? [0, 0]
  if (offset + length < realSize) map.push([realSize, 0])
  return map
}

function joinSegments(segments: SparseFile['segments']): Buffer {
  return Buffer.concat(segments.map(({ data }) => bytesOf(data)))
}

function putText(block: Buffer, at: number, length: number, value: Text): void {
  const bytes = bytesOf(value)
  if (bytes.length > length) throw new Error(`${bytes.length} bytes do not fit the field of ${length} at ${at}`)
  block.set(bytes, at)
}

function putNumber(block: Buffer, at: number, length: number, value: Numeric): void {
  putText(block, at, length, numberField(value, length))
}

function putChecksum(block: Buffer, checksum: RawHeader['checksum']): void {
  block.fill(' ', 148, 156)
  let sum = 0
  for (const byte of block) sum += checksum === 'signed' && byte > 127 ? byte - 256 : byte
  if (checksum instanceof Uint8Array) {
    putText(block, 148, 8, checksum)
    return
  }
  const value =
    typeof checksum === 'number' || typeof checksum === 'bigint' ? checksum : checksum === 'bad' ? sum + 1 : sum
  block.write(`${value.toString(8).padStart(6, '0')}\0 `, 148)
}

function bytesOf(value: Text): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}
