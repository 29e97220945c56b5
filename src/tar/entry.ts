/** What kind of thing an entry makes. */
export type EntryType = 'file' | 'link' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo'

/** A piece of data of a sparse file: `length` bytes at `offset`; all else is a hole. In order, without overlap. */
export interface SparsePiece {
  readonly offset: number
  readonly length: number
}

/** One entry of a tar, after PAX and GNU extensions. Names are byte strings: one character (0 to 255) per byte. */
export interface TarEntry {
  type: EntryType
  name: string
  /** Target of a link or symlink; empty for other types. */
  linkName: string
  /** The twelve permission bits. */
  mode: number
  uid: number
  gid: number
  /** Bytes of content that follow in the archive; 0 for all types but `file`. */
  size: number
  /** Length of the file once it is written: `size`, or more for a sparse file. */
  fileSize: number
  /** Seconds since the epoch, may be negative; nanoseconds 0 to 999 999 999. */
  mtimeSeconds: number
  mtimeNanoseconds: number
  major: number
  minor: number
  /** Extended attributes by name (a byte string); values are bytes. */
  xattrs: Map<string, Buffer> | undefined
  sparse: SparsePiece[] | undefined
}

/** A name for a message: as text, quoted, short, in one line, and without what a terminal would obey. */
export function showName(name: string): string {
  const short = name.length > 200 ? `${name.slice(0, 200)}…` : name
  const text = Buffer.from(short, 'latin1').toString()
  return JSON.stringify(text).replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?')
}

/** Bounds on what an archive may hold. Each can be raised by whoever trusts its source. */
export interface TarLimits {
  /** Entries of one archive: 4 million is thirty times the largest layer seen. */
  readonly entriesMax: number
  /** Bytes of a name: PATH_MAX of Linux. */
  readonly nameMax: number
  /** Bytes of one PAX header: Go's reader, and so every image that docker can pull, keeps to 1 MiB. */
  readonly paxMax: number
  /** Pieces of a sparse file: each costs memory here. */
  readonly sparsePiecesMax: number
  /** Sum of the lengths of all files. Those of sparse files cost the archive nothing, but every sum that they enter must stay exact. */
  readonly lengthMax: number
  /** Directories that no entry describes: one name of 4 KiB makes two thousand of them, each with a block on the disk. No layer seen has a tenth of it. */
  readonly impliedMax: number
  /** Sum of the lengths of their names: each part of each is looked for in all layers below. No layer seen has a tenth of it. */
  readonly impliedBytesMax: number
  /**
   * Directories and symlinks that the names lead through, counted for entries that are slow to make: some 4 µs each. Names of images seen have ten at
   * most, so that even four million entries stay below it.
   */
  readonly walkStepsMax: number
}

export const defaultTarLimits: TarLimits = {
  entriesMax: 4_000_000,
  nameMax: 4096,
  paxMax: 1024 * 1024,
  sparsePiecesMax: 1_000_000,
  lengthMax: 2 ** 43,
  impliedMax: 500_000,
  impliedBytesMax: 32 * 1024 * 1024,
  walkStepsMax: 50_000_000,
}

/** Where the bytes of an archive come from. A view is valid until the next call. */
export interface ByteSource {
  /** Exactly `length` bytes, or undefined if the stream ends before. `length` is at most 1 MiB. */
  read(length: number): Uint8Array | undefined
  /** At least one and at most `lengthMax` bytes; empty at the end of the stream. */
  chunk(lengthMax: number): Uint8Array
}
