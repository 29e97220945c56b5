/** The thread that reads a layer's tar into a tree in memory. It touches no file but the one that it is given to write content to. */
import { createHash } from 'node:crypto'
import { ftruncateSync, writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { WindlassError, wrapError } from '../errors.ts'
import { RingAborted, RingReader } from '../flow/ring.ts'
import { showName, type TarEntry } from '../tar/entry.ts'
import { TarReader } from '../tar/reader.ts'
import { flattenTree, LayerTree, type NodeFacts } from './layer-tree.ts'
import { isAtOrUnder } from './names.ts'
import type { Spool, TreeAnswer, TreeOrder } from './read-tree.ts'

const pieceMax = 1024 * 1024
/** Sparse files up to here are hashed with their holes, as the same file without holes is; the holes of larger ones could cost hours. */
const denseMax = 4 * 1024 ** 3
const zeros = Buffer.alloc(pieceMax)

function run(order: TreeOrder): TreeAnswer {
  const reader = new TarReader(new RingReader(order.ring), order.limits)
  const tree = new LayerTree(order.limits)
  const contents = new Contents(order, reader)
  for (let entry = reader.next(); entry !== undefined; entry = reader.next()) {
    const current = entry
    tree.add(current, name => contents.read(current, name))
  }
  reader.drain()
  contents.finish()
  return { kind: 'tree', nodes: flattenTree(tree.root), spoolEnd: contents.position }
}

/** Takes the contents of files as they come by: into a hash, into the spool, or nowhere. */
class Contents {
  readonly #order: TreeOrder
  readonly #reader: TarReader
  position: number

  constructor(order: TreeOrder, reader: TarReader) {
    this.#order = order
    this.#reader = reader
    this.position = order.spool?.position ?? 0
  }

  read(entry: TarEntry, name: string): Pick<NodeFacts, 'hash' | 'spooledAt'> {
    const { hashes, spool } = this.#order
    const isSpooled = spool !== undefined && isWanted(name, spool)
    if (!hashes && !isSpooled) return { hash: undefined, spooledAt: undefined }
    const start = this.position
    const hash = hashes ? new ContentHash(entry) : undefined
    for (const { offset, length } of entry.sparse ?? [{ offset: 0, length: entry.size }]) {
      hash?.skipTo(offset)
      for (let at = 0; at < length; ) {
        const piece = this.#reader.content(Math.min(pieceMax, length - at))
        if (isSpooled) this.#write(spool.fd, piece, start + offset + at, entry)
        hash?.add(piece)
        at += piece.length
      }
    }
    if (isSpooled) this.position = start + entry.fileSize
    return { hash: hash?.end(entry.fileSize), spooledAt: isSpooled ? start : undefined }
  }

  /** A file may end with a hole. */
  finish(): void {
    const { spool } = this.#order
    if (spool !== undefined) ftruncateSync(spool.fd, this.position)
  }

  #write(fd: number, piece: Uint8Array, position: number, entry: TarEntry): void {
    try {
      for (let at = 0; at < piece.length; ) at += writeSync(fd, piece, at, piece.length - at, position + at)
    } catch (error) {
      throw wrapError(error, `Cannot keep the content of ${showName(entry.name)}`)
    }
  }
}

function isWanted(name: string, { under, names }: Spool): boolean {
  return names?.has(name) === true || (under !== undefined && isAtOrUnder(name, under))
}

class ContentHash {
  readonly #hash = createHash('sha256')
  readonly #isDense: boolean
  #at = 0

  constructor({ sparse, fileSize }: TarEntry) {
    this.#isDense = sparse === undefined || fileSize <= denseMax
  }

  skipTo(offset: number): void {
    if (!this.#isDense) this.#hash.update(`${offset}:`)
    for (; this.#isDense && this.#at < offset; this.#at += Math.min(zeros.length, offset - this.#at))
      this.#hash.update(zeros.subarray(0, Math.min(zeros.length, offset - this.#at)))
  }

  add(piece: Uint8Array): void {
    this.#hash.update(piece)
    this.#at += piece.length
  }

  end(fileSize: number): string {
    this.skipTo(fileSize)
    return this.#hash.digest('hex')
  }
}

function answerTo(error: unknown): TreeAnswer {
  if (error instanceof RingAborted) return { kind: 'aborted' }
  const { code, message } = error instanceof WindlassError ? error : wrapError(error, 'Cannot read layer')
  return { kind: 'error', code, message }
}

try {
  parentPort?.postMessage(run(workerData as TreeOrder))
} catch (error) {
  parentPort?.postMessage(answerTo(error))
}
