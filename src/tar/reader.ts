import { WindlassError } from '../errors.ts'
import { type ByteSource, defaultTarLimits, type EntryType, showName, type TarEntry, type TarLimits } from './entry.ts'
import { parseNumeric } from './numeric.ts'
import { isDecisive, type PaxRecords, parsePax, parsePaxNumber, parsePaxTime } from './pax.ts'
import { checkSparse, parseSparseMap, paxSparseVersion, readOldGnuSparse, readSparseMap } from './sparse.ts'

const BLOCK = 512
const XATTR_PREFIX = 'SCHILY.xattr.'
/** Extension headers in front of one entry: one each of g, x, L and K is what tools write. */
const EXTENSIONS_MAX = 8
/** What a source gives in one piece (`ByteSource.read`). */
const PIECE_MAX = 1024 * 1024

/** Extensions gathered for the next real entry. They never apply to each other. */
interface Extensions {
  pax: PaxRecords | undefined
  longName: string | undefined
  longLink: string | undefined
}

/**
 * Reads a tar (ustar, PAX, GNU, star, v7) from a blocking source. It follows Go's archive/tar where readers differ, since that is what the
 * images of this world were written for; where a difference could smuggle an entry past another reader, it refuses.
 *
 * Of types that are not in POSIX it takes S (GNU sparse); all others (D, M, N, V, X, …) are refused, as docker and containerd refuse them.
 * Only files have content: the size of any other entry is ignored, also of a hard link.
 */
export class TarReader {
  readonly #source: ByteSource
  readonly #limits: TarLimits
  #entries = 0
  #length = 0
  #lastName = ''
  #contentLeft = 0
  #padding = 0

  constructor(source: ByteSource, limits: TarLimits = defaultTarLimits) {
    this.#source = source
    this.#limits = limits
  }

  /** Entries returned so far. */
  get entries(): number {
    return this.#entries
  }

  /**
   * The next entry, or undefined at the end of the archive. What is left of the content of the one before is skipped.
   * @throws WindlassError CORRUPT, LIMIT_EXCEEDED
   */
  next(): TarEntry | undefined {
    try {
      return this.#next()
    } catch (error) {
      if (!(error instanceof WindlassError)) throw error
      const where = this.#lastName === '' ? '' : `, at or after ${showName(this.#lastName)}`
      throw new WindlassError(error.code, `${error.message} (entry ${this.#entries + 1}${where})`, { cause: error })
    }
  }

  #next(): TarEntry | undefined {
    const extensions: Extensions = { pax: undefined, longName: undefined, longLink: undefined }
    for (let count = 0; count <= EXTENSIONS_MAX; count++) {
      this.#skipContent()
      const header = this.#readHeader()
      if (header === undefined) return undefined
      const typeflag = String.fromCharCode(header[156] as number)
      if (this.#readExtension(typeflag, header, extensions)) continue
      if (this.#entries === this.#limits.entriesMax) throw tooLarge(`more than ${this.#limits.entriesMax} entries`)
      const entry = this.#readEntry(typeflag, header, extensions)
      this.#entries++
      return entry
    }
    throw malformed('too many extension headers in front of one entry')
  }

  /** The next piece of the entry's content, at most `lengthMax` bytes; empty at its end. Valid until the next call. */
  content(lengthMax: number): Uint8Array {
    if (this.#contentLeft === 0) return empty
    const piece = this.#source.chunk(Math.min(lengthMax, this.#contentLeft))
    if (piece.length === 0) throw malformed('the archive ends within the content of an entry')
    this.#contentLeft -= piece.length
    return piece
  }

  /** Leaves out what is left of the content, and its padding: the caller has its source go on so many bytes later. */
  skip(): number {
    const bytes = this.#contentLeft + this.#padding
    this.#contentLeft = 0
    this.#padding = 0
    return bytes
  }

  /** Reads the archive to the end of its stream: what stands behind the end of archive is part of the diffId, but of nothing else. */
  drain(): void {
    while (this.#source.chunk(BLOCK * 512).length > 0);
  }

  #skipContent(): void {
    const padding = this.#padding
    let left = this.#contentLeft + padding
    this.#contentLeft = 0
    this.#padding = 0
    while (left > 0) {
      const piece = this.#source.chunk(left)
      // A last entry whose padding is cut is whole: Go takes it, and the digest tells whether anything is missing.
      if (piece.length === 0 && left <= padding) return
      if (piece.length === 0) throw malformed('the archive ends within the content of an entry')
      left -= piece.length
    }
  }

  #expectContent(size: number): void {
    this.#contentLeft = size
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK
  }

  /** The next header block with a right checksum, or undefined at the end of the archive. */
  #readHeader(): Uint8Array | undefined {
    const block = this.#source.read(BLOCK)
    if (block === undefined) {
      if (this.#source.chunk(1).length > 0) throw malformed('the archive ends within a header')
      return undefined
    }
    if (block[0] !== 0 || !isZero(block)) {
      checkChecksum(block)
      return block
    }
    const second = this.#source.read(BLOCK)
    if (second === undefined || isZero(second)) return undefined
    throw malformed('a block of zeros stands between entries')
  }

  /** Takes in an extension header; false if this header is a real entry. */
  #readExtension(typeflag: string, header: Uint8Array, extensions: Extensions): boolean {
    if (typeflag === 'x') {
      if (extensions.pax !== undefined) throw malformed('two PAX headers in front of one entry')
      extensions.pax = parsePax(this.#readBody(header, this.#limits.paxMax))
    } else if (typeflag === 'g') {
      // Go forgets the extensions before it, GNU tar applies them to the entry after it.
      if (hasExtension(extensions)) throw malformed('a global PAX header between an entry and its extension headers')
      checkGlobal(parsePax(this.#readBody(header, this.#limits.paxMax)))
    } else if (typeflag === 'L') {
      extensions.longName = this.#readLong(header)
    } else if (typeflag === 'K') {
      extensions.longLink = this.#readLong(header)
    } else return false
    return true
  }

  /** A name of GNU's. GNU tar and libarchive read it on to the first NUL of its block, Go to its size: where that makes two names it is refused. */
  #readLong(header: Uint8Array): string {
    const body = this.#readBody(header, this.#limits.nameMax + 1)
    const name = cString(body)
    if (this.#padding === 0 || name.length < body.length) return name
    const padding = this.#source.read(this.#padding)
    this.#padding = 0
    if (padding?.[0] !== 0) throw malformed('a GNU long name has no end')
    return name
  }

  #readBody(header: Uint8Array, sizeMax: number): Uint8Array {
    const size = parseNumeric(header, 124, 12, 'size')
    if (size < 0) throw malformed('negative size')
    if (size > sizeMax) throw tooLarge(`an extension header of ${size} bytes; at most ${sizeMax}`)
    this.#expectContent(size)
    const body = size <= PIECE_MAX ? this.#source.read(size) : this.#gather(size)
    if (body === undefined) throw malformed('the archive ends within an extension header')
    this.#contentLeft = 0
    return body
  }

  #gather(size: number): Uint8Array {
    const pieces: Uint8Array[] = []
    for (let left = size; left > 0; ) {
      const piece = Uint8Array.from(this.content(Math.min(left, PIECE_MAX)))
      pieces.push(piece)
      left -= piece.length
    }
    return Buffer.concat(pieces)
  }

  #readEntry(typeflag: string, header: Uint8Array, extensions: Extensions): TarEntry {
    const entry = parseHeader(typeflag, header)
    checkAgreement(extensions)
    if (extensions.longName !== undefined) entry.name = extensions.longName
    if (extensions.longLink !== undefined) entry.linkName = extensions.longLink
    if (extensions.pax !== undefined) applyPax(entry, extensions.pax)
    this.#lastName = entry.name
    // Before POSIX a directory was a file whose name ends with a slash.
    if (typeflag === '\0' && entry.name.endsWith('/')) entry.type = 'directory'
    if (entry.type === 'file') this.#readFileFacts(typeflag, header, entry, extensions.pax)
    else entry.size = entry.fileSize = 0
    this.#checkEntry(entry)
    return entry
  }

  #readFileFacts(typeflag: string, header: Uint8Array, entry: TarEntry, pax: PaxRecords | undefined): void {
    if (entry.size < 0) throw malformed('negative size')
    entry.fileSize = entry.size
    this.#expectContent(entry.size)
    if (typeflag === 'S') {
      // star has a type S too, with another layout.
      if (!isGnu(header)) throw malformed('a sparse entry that is not in GNU format')
      entry.fileSize = parseNumeric(header, 483, 12, 'real size')
      entry.sparse = readOldGnuSparse(header, this.#source, this.#limits)
    } else if (pax !== undefined) this.#readPaxSparse(entry, pax)
    if (entry.sparse !== undefined) checkSparse(entry.sparse, entry.size, entry.fileSize)
    this.#length += entry.fileSize
    if (this.#length > this.#limits.lengthMax) throw tooLarge(`files of more than ${this.#limits.lengthMax} bytes`)
  }

  #readPaxSparse(entry: TarEntry, pax: PaxRecords): void {
    const version = paxSparseVersion(pax)
    if (version === undefined) return
    const name = pax.get('GNU.sparse.name')
    if (name !== undefined && name.length > 0) entry.name = name.toString('latin1')
    const realSize = pax.get('GNU.sparse.size') ?? pax.get('GNU.sparse.realsize')
    if (realSize !== undefined) entry.fileSize = parsePaxNumber('GNU.sparse.realsize', realSize)
    if (version === 'in records') {
      entry.sparse = parseSparseMap(pax, this.#limits)
      return
    }
    const { pieces, length } = readSparseMap(this.#source, entry.size, this.#limits)
    entry.sparse = pieces
    entry.size -= length
    this.#contentLeft = entry.size
  }

  #checkEntry(entry: TarEntry): void {
    const { nameMax } = this.#limits
    if (entry.name.includes('\0')) throw malformed('a name holds a NUL')
    if (entry.name.length > nameMax || entry.linkName.length > nameMax)
      throw tooLarge(`a name longer than ${nameMax} bytes`)
    if (entry.linkName.includes('\0')) throw malformed('a link target holds a NUL')
    if (entry.uid < 0 || entry.gid < 0) throw malformed('negative owner')
    // 2^32 - 1 means "leave as it is" to chown(2).
    if (entry.uid >= 0xffff_ffff || entry.gid >= 0xffff_ffff) throw malformed('owner out of range')
  }
}

const empty = new Uint8Array(0)
const zeroBlock = Buffer.alloc(BLOCK)

function isZero(block: Uint8Array): boolean {
  return Buffer.compare(block, zeroBlock) === 0
}

function checkChecksum(block: Uint8Array): void {
  const wanted = parseNumeric(block, 148, 8, 'checksum')
  let unsigned = 8 * 0x20
  for (let at = 0; at < 148; at++) unsigned += block[at] as number
  for (let at = 156; at < BLOCK; at++) unsigned += block[at] as number
  if (unsigned === wanted) return
  // Some old writers summed signed characters.
  let highBytes = 0
  for (let at = 0; at < BLOCK; at++) if ((at < 148 || at >= 156) && (block[at] as number) >= 0x80) highBytes++
  if (unsigned - 256 * highBytes !== wanted) throw malformed('wrong header checksum')
}

const types: Readonly<Record<string, EntryType>> = {
  '0': 'file',
  '\0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
}

function parseHeader(typeflag: string, header: Uint8Array): TarEntry {
  const bytes = Buffer.from(header.buffer, header.byteOffset, BLOCK)
  const type = types[typeflag]
  const name = readName(bytes)
  if (type === undefined) throw malformed(`${showName(name)} is of unknown type ${showName(typeflag)}`)
  const isDevice = type === 'char' || type === 'block'
  return {
    type,
    name,
    linkName: type === 'link' || type === 'symlink' ? field(bytes, 157, 100) : '',
    mode: parseNumeric(bytes, 100, 8, 'mode') & 0o7777,
    uid: parseNumeric(bytes, 108, 8, 'uid'),
    gid: parseNumeric(bytes, 116, 8, 'gid'),
    size: parseNumeric(bytes, 124, 12, 'size'),
    fileSize: 0,
    mtimeSeconds: parseNumeric(bytes, 136, 12, 'mtime'),
    mtimeNanoseconds: 0,
    major: isDevice ? parseNumeric(bytes, 329, 8, 'devmajor') : 0,
    minor: isDevice ? parseNumeric(bytes, 337, 8, 'devminor') : 0,
    xattrs: undefined,
    sparse: undefined,
  }
}

/** The name with its prefix: POSIX ustar has 155 bytes of prefix, star (which ends its header with "tar\0") 131, GNU none. */
function readName(bytes: Buffer): string {
  const name = field(bytes, 0, 100)
  if (bytes[345] === 0) return name
  if (isGnu(bytes)) return readMistakenPrefix(bytes, name)
  if (bytes.toString('latin1', 257, 263) !== 'ustar\0') return name
  const isStar = bytes.toString('latin1', 508, 512) === 'tar\0'
  const prefix = field(bytes, 345, isStar ? 131 : 155)
  return prefix === '' ? name : `${prefix}/${name}`
}

/**
 * Go before 1.8, and so docker of that time, wrote a ustar prefix into headers of GNU format, where atime and ctime stand: what is no two
 * times but text is such a prefix. Go's reader does the same.
 */
function readMistakenPrefix(bytes: Buffer, name: string): string {
  try {
    parseNumeric(bytes, 345, 12, 'atime')
    if (bytes[357] !== 0) parseNumeric(bytes, 357, 12, 'ctime')
    return name
  } catch {
    const prefix = field(bytes, 345, 155)
    return /^[\x01-\x7f]+$/.test(prefix) ? `${prefix}/${name}` : name
  }
}

function isGnu(header: Uint8Array): boolean {
  return Buffer.from(header.buffer, header.byteOffset, BLOCK).toString('latin1', 257, 265) === 'ustar  \0'
}

function hasExtension({ pax, longName, longLink }: Extensions): boolean {
  return pax !== undefined || longName !== undefined || longLink !== undefined
}

/** Of a GNU long name and a PAX path the one counts for Go, the other for GNU tar: they must be the same. */
function checkAgreement({ pax, longName, longLink }: Extensions): void {
  if (pax === undefined) return
  for (const [key, long] of [['path', longName] as const, ['linkpath', longLink] as const]) {
    const value = pax.get(key)?.toString('latin1')
    if (long !== undefined && value !== undefined && value !== '' && value !== long)
      throw malformed(`a GNU and a PAX header give one entry a different ${key}`)
  }
}

function field(bytes: Buffer, offset: number, length: number): string {
  let end = offset
  while (end < offset + length && bytes[end] !== 0) end++
  return bytes.toString('latin1', offset, end)
}

function cString(body: Uint8Array): string {
  return field(Buffer.from(body.buffer, body.byteOffset, body.byteLength), 0, body.length)
}

/** An empty value means: as the header has it. */
function applyPax(entry: TarEntry, records: PaxRecords): void {
  for (const [key, value] of records) {
    if (value.length === 0 && !key.startsWith(XATTR_PREFIX)) continue
    if (key === 'path') entry.name = value.toString('latin1')
    else if (key === 'linkpath') entry.linkName = value.toString('latin1')
    else if (key === 'size') entry.size = parsePaxNumber(key, value)
    else if (key === 'uid') entry.uid = parsePaxNumber(key, value)
    else if (key === 'gid') entry.gid = parsePaxNumber(key, value)
    else if (key === 'mtime') {
      const time = parsePaxTime(key, value)
      entry.mtimeSeconds = time.seconds
      entry.mtimeNanoseconds = time.nanoseconds
    } else if (key.startsWith(XATTR_PREFIX)) {
      entry.xattrs ??= new Map()
      entry.xattrs.set(key.slice(XATTR_PREFIX.length), value)
    }
  }
}

/**
 * Docker and containerd ignore global headers, GNU tar applies them. One that could change where entries lie or end would make two
 * readers see two archives: it is refused. The rest (git's comment, for one) is ignored, as those ignore it.
 */
function checkGlobal(records: PaxRecords): void {
  for (const key of records.keys()) {
    if (isDecisive(key)) throw malformed(`a global PAX header sets ${showName(key)}, on which readers disagree`)
  }
}

function malformed(why: string): WindlassError {
  return new WindlassError('CORRUPT', `Cannot read layer tar: ${why}`)
}

function tooLarge(what: string): WindlassError {
  return new WindlassError('LIMIT_EXCEEDED', `Cannot read layer tar: ${what}`)
}
