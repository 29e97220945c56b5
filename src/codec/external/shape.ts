/** One stream of the probe, and what a decompressor has to make of it. */
export interface Shape {
  readonly name: string
  readonly compressed: Uint8Array
  /** Undefined where the stream is damaged, and the program has to say so by its status. */
  readonly content: Uint8Array | undefined
  /** Bytes per write; all at once if not given. */
  readonly pieceSize?: number
  /** The output is read in pauses of this length. */
  readonly readPauseMs?: number
  /** Nobody is bound to accept it: a refusal is no fault, wrong bytes and hanging are. */
  readonly isOptional?: true
}

/** A stream cut in two places, and one whose checksum, of `trailerSize` bytes before the end, is wrong. */
export function damaged(whole: Uint8Array, trailerSize: number): Shape[] {
  const wrong = Buffer.from(whole)
  const at = wrong.length - trailerSize
  wrong.writeUInt8(wrong.readUInt8(at) ^ 1, at)
  return [
    { name: 'cut in the middle', compressed: whole.subarray(0, whole.length >> 1), content: undefined },
    { name: 'cut in the checksum', compressed: whole.subarray(0, whole.length - 2), content: undefined },
    { name: 'wrong checksum', compressed: wrong, content: undefined },
  ]
}
