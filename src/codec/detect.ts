/** The compressions of layers and archives that windlass reads. */
export type Compression = 'gzip' | 'zstd' | 'xz' | 'bzip2' | 'none'

/** How many bytes `detectCompression` wants to see: the longest magic number, that of xz. */
export const magicLength = 6

const magics: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b, 0x08]], // RFC 1952, 2.3.1: ID1, ID2, and deflate as the only method there is
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]], // RFC 8878, 3.1.1
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', [0x42, 0x5a, 0x68]],
]

/**
 * Tells the compression from the first bytes of a stream; media types lie, magic numbers decide, as in docker.
 * @param head the first `magicLength` bytes, or fewer if the stream is shorter
 */
export function detectCompression(head: Uint8Array): Compression {
  if (isSkippableFrame(head)) return 'zstd'
  for (const [compression, magic] of magics) {
    if (magic.every((byte, at) => head[at] === byte)) return compression
  }
  return 'none'
}

/** RFC 8878, 3.1.2: magic 0x184D2A50 to 5F, little-endian. eStargz and zstd:chunked streams may begin with one. */
function isSkippableFrame(head: Uint8Array): boolean {
  const [first = 0, second, third, fourth] = head
  return (first & 0xf0) === 0x50 && second === 0x2a && third === 0x4d && fourth === 0x18
}
