import { WindlassError } from '../errors.ts'
import type { ByteSource, SparsePiece, TarLimits } from './entry.ts'
import { parseNumeric } from './numeric.ts'
import type { PaxRecords } from './pax.ts'

/**
 * Sparse files as GNU tar writes them (GNU tar manual, "Storing Sparse Files"): the old GNU format (type S) has its map in the header
 * and in extension blocks; PAX 0.0 and 0.1 have it in records, PAX 1.0 in front of the content.
 */

const BLOCK = 512

/** The map of an old GNU sparse entry: four pieces in the header, 21 in each extension block. */
export function readOldGnuSparse(header: Uint8Array, source: ByteSource, limits: TarLimits): SparsePiece[] {
  const pieces: SparsePiece[] = []
  addOldGnuPieces(pieces, header, 386, 4)
  let extended = header[482] !== 0
  while (extended) {
    const block = source.read(BLOCK)
    if (block === undefined) throw malformed('the archive ends within it')
    addOldGnuPieces(pieces, block, 0, 21)
    if (pieces.length > limits.sparsePiecesMax) throw tooMany(limits)
    extended = block[504] !== 0
  }
  return pieces
}

function addOldGnuPieces(pieces: SparsePiece[], block: Uint8Array, start: number, count: number): void {
  for (let at = start; at < start + count * 24; at += 24) {
    if (block[at] === 0) return
    pieces.push({
      offset: parseNumeric(block, at, 12, 'sparse offset'),
      length: parseNumeric(block, at + 12, 12, 'sparse size'),
    })
  }
}

/** Where a PAX sparse file has its map: in its records (0.0 and 0.1) or in front of its content (1.0); undefined for a plain file. */
export function paxSparseVersion(records: PaxRecords): 'in records' | 'in content' | undefined {
  const major = records.get('GNU.sparse.major')?.toString('latin1') ?? ''
  const minor = records.get('GNU.sparse.minor')?.toString('latin1') ?? ''
  if (major === '' && minor === '') return records.has('GNU.sparse.map') ? 'in records' : undefined
  if (major === '1' && minor === '0') return 'in content'
  if (major === '0' && (minor === '0' || minor === '1')) return 'in records'
  throw malformed('its format version is unknown')
}

/** The map of PAX formats 0.0 and 0.1: "offset,length,offset,length…". */
export function parseSparseMap(records: PaxRecords, limits: TarLimits): SparsePiece[] {
  const text = records.get('GNU.sparse.map')?.toString('latin1') ?? ''
  const numbers = text === '' ? [] : text.split(',')
  if (numbers.length / 2 > limits.sparsePiecesMax) throw tooMany(limits)
  if (numbers.length % 2 !== 0) throw malformed('an offset has no length')
  const pieces: SparsePiece[] = []
  for (let at = 0; at < numbers.length; at += 2) {
    pieces.push({ offset: parseCount(numbers[at]), length: parseCount(numbers[at + 1]) })
  }
  return pieces
}

/** The map of PAX format 1.0: decimal lines in front of the content, padded to a block. Returns the bytes it took. */
export function readSparseMap(
  source: ByteSource,
  size: number,
  limits: TarLimits,
): { pieces: SparsePiece[]; length: number } {
  const lines = readLines(source, size)
  const count = parseCount(lines.next())
  if (count > limits.sparsePiecesMax) throw tooMany(limits)
  const pieces: SparsePiece[] = []
  for (let n = 0; n < count; n++) pieces.push({ offset: parseCount(lines.next()), length: parseCount(lines.next()) })
  return { pieces, length: lines.bytesRead() }
}

function readLines(source: ByteSource, size: number): { next(): string; bytesRead(): number } {
  let block = Buffer.alloc(0)
  let at = 0
  let bytes = 0
  const nextByte = (): number => {
    if (at === block.length) {
      const read = bytes + BLOCK <= size ? source.read(BLOCK) : undefined
      if (read === undefined) throw malformed('the archive ends within it')
      block = Buffer.from(read)
      bytes += BLOCK
      at = 0
    }
    return block[at++] as number
  }
  const next = (): string => {
    let text = ''
    for (let byte = nextByte(); byte !== 0x0a; byte = nextByte()) {
      text += String.fromCharCode(byte)
      if (text.length > 20) throw malformed('a line is too long')
    }
    return text
  }
  return { next, bytesRead: () => bytes }
}

/**
 * Checks that the pieces are in order, do not overlap, stay within the file, and hold exactly the bytes of the content.
 * @throws WindlassError CORRUPT
 */
export function checkSparse(pieces: readonly SparsePiece[], size: number, fileSize: number): void {
  let end = 0
  let total = 0
  for (const piece of pieces) {
    if (piece.offset < end || piece.length < 0) throw malformed('its pieces overlap or go backwards')
    end = piece.offset + piece.length
    total += piece.length
    if (end > fileSize) throw malformed('a piece ends behind the end of the file')
  }
  if (total !== size) throw malformed('its pieces do not add up to its content')
}

function parseCount(text: string | undefined): number {
  if (text === undefined || !/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw malformed('a number is wrong')
  return Number(text)
}

function tooMany(limits: TarLimits): WindlassError {
  return new WindlassError('LIMIT_EXCEEDED', `Cannot read sparse file: more than ${limits.sparsePiecesMax} pieces`)
}

function malformed(why: string): WindlassError {
  return new WindlassError('CORRUPT', `Cannot read map of sparse file: ${why}`)
}
