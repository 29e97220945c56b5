/** Decodes a layer from end to end before anything is done with it: is it whole, is it the one, and where in it is its engine? */
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { decompress } from '../../codec/decompress.ts'
import { EntryWalk, type PlacedEntry } from './entry-walk.ts'
import type { LayerFile } from './layer-files.ts'
import type { OpenFile } from './subject.ts'

export interface Question {
  /** What waits in the decompressor's stdin. */
  readonly input: Buffer
  /** What waits in the stdin of other decompressors of the same engine, whose files are open in the same process. */
  readonly others: readonly Buffer[]
  readonly files: readonly OpenFile[]
  /** Of what lies beyond it, only what the engine has open is told. */
  readonly positionMax: number
}

/** A file that the engine writes and that is in the layer: so far it has come. */
export interface EnginePosition {
  readonly file: OpenFile
  /** Bytes of the decoded stream. */
  readonly position: number
  /** It has all of the file: padding, and headers of what follows, may have come as well. */
  readonly isAtEnd: boolean
}

export interface Examined {
  readonly layer: LayerFile
  readonly digest: string
  /** Of the decoded stream. */
  readonly diffId: string
  /** Length of the decoded stream. */
  readonly total: number
  /** CRC-32 of the decoded stream, which the end of a gzip member has. */
  readonly checksum: number
  /** Where the waiting input stands in the layer; undefined if it does not, or none waits. */
  readonly inputAt: number | undefined
  /** How many of the others may work on this layer, too. */
  readonly others: number
  /** How many of them have bytes of this layer waiting, and so many that it is no chance. */
  readonly rivals: number
  /** The last compressed bytes: as many as wait, and `keptEnd` before them; all of a layer that has no more. */
  readonly end: Buffer
  readonly enginePositions: readonly EnginePosition[]
  /** Where the content of a file lies, which an engine that is there has open: start and end of each. */
  readonly contents: readonly (readonly [start: number, end: number])[]
}

/** So many compressed bytes stand in no other stream by chance. The last of them are the checksum and the length of all that was compressed. */
export const tellingEnd = 64
/** So much a decompressor may have in its buffers: pigz has two of 32 KiB. */
const keptEnd = 65_536

/** @throws WindlassError CORRUPT and its like if it cannot be decoded */
export async function examine(layer: LayerFile, question: Question, signal: AbortSignal): Promise<Examined> {
  const hash = createHash('sha256')
  const finder = new Finder(question.input)
  const endLength = question.input.length + keptEnd
  const others = question.others.map(input => new Finder(input))
  const enginePositions: EnginePosition[] = []
  const contents: [number, number][] = []
  const walk = new EntryWalk(placed => {
    const { entry, dataStart } = placed
    if (entry.type !== 'file') return
    if (entry.size > 0 && dataStart <= question.positionMax) contents.push([dataStart, dataStart + entry.size])
    enginePositions.push(...positionsIn(placed, question.files))
  })
  const diffHash = createHash('sha256')
  let total = 0
  let checksum = 0
  let end: Buffer = Buffer.alloc(0)
  const watched = passing(layer.read(), chunk => {
    hash.update(chunk)
    end = Buffer.concat([end, chunk.subarray(-endLength)]).subarray(-endLength)
    for (const one of [finder, ...others]) one.push(chunk)
  })
  for await (const chunk of decompress(watched, { signal, recycle: true })) {
    walk.push(chunk)
    diffHash.update(chunk)
    checksum = crc32(chunk, checksum)
    total += chunk.length
  }
  const digest = `sha256:${hash.digest('hex')}`
  const diffId = `sha256:${diffHash.digest('hex')}`
  const lengths = question.others.map(({ length }) => length)
  const mayBeHere = others.filter((other, at) => lengths[at] === 0 || other.foundAt !== undefined)
  const rivals = others.filter((other, at) => (lengths[at] ?? 0) >= tellingEnd && other.foundAt !== undefined)
  const found = { inputAt: finder.foundAt, others: mayBeHere.length, rivals: rivals.length, end }
  return { layer, digest, diffId, total, checksum, ...found, enginePositions, contents }
}

async function* passing(source: AsyncIterable<Uint8Array>, tell: (chunk: Uint8Array) => void) {
  for await (const chunk of source) {
    tell(chunk)
    yield chunk
  }
}

/** A file of the engine has the name of an entry behind whatever root it is unpacked to. Holes make its length say nothing. */
function positionsIn({ entry, dataStart }: PlacedEntry, files: readonly OpenFile[]): EnginePosition[] {
  if (entry.sparse !== undefined) return []
  const name = `/${Buffer.from(entry.name, 'latin1')
    .toString()
    .split('/')
    .filter(part => part !== '' && part !== '.')
    .join('/')}`
  return files
    .filter(({ path, position }) => path.endsWith(name) && position <= entry.size)
    .map(file => ({ file, position: dataStart + file.position, isAtEnd: file.position === entry.size }))
}

/** Finds bytes in a stream: by their first kilobytes, and then all of them. */
class Finder {
  foundAt: number | undefined
  readonly #wanted: Buffer
  #position = 0
  #tail: Buffer = Buffer.alloc(0)

  constructor(wanted: Buffer) {
    this.#wanted = wanted
  }

  push(chunk: Uint8Array): void {
    if (this.#wanted.length === 0 || this.foundAt !== undefined) return
    const bytes = Buffer.concat([this.#tail, chunk])
    const at = bytes.indexOf(this.#wanted)
    if (at >= 0) this.foundAt = this.#position - this.#tail.length + at
    this.#position += chunk.length
    this.#tail = bytes.subarray(Math.max(0, bytes.length - this.#wanted.length + 1))
  }
}

export class PrefixDiffers extends Error {}

/** What the engine has unpacked last: these bytes must stand in the layer right before the position. */
export interface Before {
  readonly length: number
  /** Fewer bytes than asked for only if there are no more. */
  read(at: number, length: number): Uint8Array
}

export interface Rest {
  readonly position: number
  readonly before: Before
  readonly signal: AbortSignal
}

/**
 * The decoded stream from a position on.
 * @throws PrefixDiffers before anything is given, if something else stands before it
 */
export async function* decodeFrom(layer: LayerFile, { position, before, signal }: Rest): AsyncGenerator<Uint8Array> {
  const from = position - before.length
  let at = 0
  for await (const chunk of decompress(layer.read(), { signal })) {
    const begin = Math.max(at, from)
    const end = Math.min(at + chunk.length, position)
    if (
      begin < end &&
      Buffer.compare(chunk.subarray(begin - at, end - at), before.read(begin - from, end - begin)) !== 0
    )
      throw new PrefixDiffers()
    const skipped = Math.max(0, position - at)
    at += chunk.length
    if (skipped < chunk.length) yield chunk.subarray(skipped)
  }
}
