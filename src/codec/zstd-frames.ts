const frameMagic = 0xfd2fb528
const skippableMagic = 0x184d2a5

/** What is read next, and how many bytes it has. `lost` is where no frame begins: the decoder says what is wrong. */
type Part = 'magic' | 'skippableSize' | 'descriptor' | 'blockHeader' | 'lost'
const partLengths = {
  magic: 4,
  skippableSize: 4,
  descriptor: 1,
  blockHeader: 3,
  lost: Number.POSITIVE_INFINITY,
} as const

/**
 * Follows the frames of a zstd stream (RFC 8878, 3.1) without decompressing them, to know whether the stream ends
 * where a frame ends. Node's decoder tells a cut frame from a whole one, except where one to three bytes of the next
 * are there.
 */
export class ZstdFrames {
  #part: Part = 'magic'
  #skip = 0
  #value = 0
  #read = 0
  #hasChecksum = false

  /** True where a frame may begin, or nothing but zeros came since the last one ended. */
  get isBetweenFrames(): boolean {
    return this.#part === 'lost' || (this.#part === 'magic' && this.#skip === 0 && this.#value === 0)
  }

  push(data: Uint8Array): void {
    for (let at = 0; at < data.length && this.#part !== 'lost'; ) {
      const skipped = Math.min(this.#skip, data.length - at)
      this.#skip -= skipped
      at += skipped
      if (at === data.length) return
      this.#value += (data[at++] ?? 0) * 2 ** (8 * this.#read++) // little-endian
      if (this.#read === partLengths[this.#part]) this.#finishPart()
    }
  }

  #finishPart(): void {
    const value = this.#value
    this.#value = 0
    this.#read = 0
    if (this.#part === 'magic') this.#part = partAfterMagic(value)
    else if (this.#part === 'descriptor') this.#startFrame(value)
    else if (this.#part === 'blockHeader') this.#startBlock(value)
    else {
      this.#skip = value
      this.#part = 'magic'
    }
  }

  #startFrame(descriptor: number): void {
    const isSingleSegment = (descriptor & 0x20) !== 0
    const dictionaryIdSize = [0, 1, 2, 4][descriptor & 3] ?? 0
    const contentSizeSize = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0
    this.#hasChecksum = (descriptor & 4) !== 0
    this.#skip = (isSingleSegment ? 0 : 1) + dictionaryIdSize + contentSizeSize
    this.#part = 'blockHeader'
  }

  #startBlock(header: number): void {
    const isLast = (header & 1) !== 0
    const isRunLength = ((header >> 1) & 3) === 1
    this.#skip = isRunLength ? 1 : header >> 3
    if (!isLast) return
    if (this.#hasChecksum) this.#skip += 4
    this.#part = 'magic'
  }
}

function partAfterMagic(magic: number): Part {
  if (magic === frameMagic) return 'descriptor'
  if (Math.floor(magic / 16) === skippableMagic) return 'skippableSize'
  return magic === 0 ? 'magic' : 'lost'
}
