import { beginWriting, ftruncate, seekForward, writeAll } from '../sys/libc.ts'
import type { SparsePiece, TarEntry } from '../tar/entry.ts'
import type { TarReader } from '../tar/reader.ts'

/** Bytes per write: beyond 1 MiB a write gains nothing, and the ring would be held too long. */
const WRITE_MAX = 1024 * 1024
/** Zeros are looked for in pieces of this size. Smaller holes save little and cost a system call each. */
const HOLE_SIZE = 32 * 1024
/** Left alone, the kernel begins to write after half a minute, and the disk has nothing to do until the sync at the end. For smaller files the call costs more than it brings. */
const beginWritingMin = 1024 * 1024
const zeros = Buffer.alloc(HOLE_SIZE)

/** Writes the content of a file entry into `fd`, which is empty and stands at 0. Runs of zeros become holes. Returns its length. */
export function writeContent(fd: number, entry: TarEntry, reader: TarReader): number {
  if (entry.sparse !== undefined) writeSparse(fd, entry.sparse, entry.fileSize, reader)
  else if (entry.size < HOLE_SIZE) writePlain(fd, entry.size, reader)
  else if (writeWithHoles(fd, entry.size, reader)) ftruncate(fd, entry.fileSize)
  if (entry.size >= beginWritingMin) beginWriting(fd, 0, 0)
  return entry.fileSize
}

function writePlain(fd: number, size: number, reader: TarReader): void {
  for (let left = size; left > 0; ) {
    const piece = reader.content(WRITE_MAX)
    writeAll(fd, piece)
    left -= piece.length
  }
}

function writeSparse(fd: number, pieces: readonly SparsePiece[], fileSize: number, reader: TarReader): void {
  let position = 0
  for (const piece of pieces) {
    seekForward(fd, piece.offset - position)
    for (let left = piece.length; left > 0; ) {
      const data = reader.content(Math.min(left, WRITE_MAX))
      writeAll(fd, data)
      left -= data.length
    }
    position = piece.offset + piece.length
  }
  ftruncate(fd, fileSize)
}

/** Returns true if the file ends with a hole, so that its length must still be set. */
function writeWithHoles(fd: number, size: number, reader: TarReader): boolean {
  let hole = 0
  for (let left = size; left > 0; ) {
    const piece = reader.content(WRITE_MAX)
    left -= piece.length
    hole = writePiece(fd, piece, hole)
  }
  return hole > 0
}

/** Writes the stretches of data of a piece after a hole of `hole` bytes; returns the length of the hole that it ends with. */
function writePiece(fd: number, piece: Uint8Array, hole: number): number {
  let pending = hole
  let dataStart = 0
  for (let at = 0; at < piece.length; at += HOLE_SIZE) {
    const end = Math.min(at + HOLE_SIZE, piece.length)
    if (!isHole(piece, at, end)) continue
    if (dataStart < at) {
      pending = writeAfterHole(fd, piece.subarray(dataStart, at), pending)
    }
    pending += end - at
    dataStart = end
  }
  return dataStart < piece.length ? writeAfterHole(fd, piece.subarray(dataStart), pending) : pending
}

function writeAfterHole(fd: number, data: Uint8Array, hole: number): number {
  if (hole > 0) seekForward(fd, hole)
  writeAll(fd, data)
  return 0
}

function isHole(piece: Uint8Array, start: number, end: number): boolean {
  if (piece[start] !== 0 || piece[end - 1] !== 0 || end - start < 4096) return false
  return Buffer.compare(piece.subarray(start, end), zeros.subarray(0, end - start)) === 0
}
