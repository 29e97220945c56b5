declare module 'unbzip2-stream/lib/bzip2.js' {
  /** Reads n bits, or skips to the next whole byte if n is null. */
  type ReadBits = (n: number | null) => number
  const bzip2: {
    /** Reads a stream header; returns its block size in units of 100 000 bytes. Throws on anything else. */
    header(bits: ReadBits): number
    /**
     * Reads one block and gives its bytes to `put`; returns the CRC of the stream so far. At the end of the stream it
     * checks that CRC and returns null. `blocks` has one element per byte of the block size.
     */
    decompress(
      bits: ReadBits,
      put: (byte: number) => void,
      blocks: Int32Array,
      blockSize: number,
      streamCrc: number,
    ): number | null
  }
  export default bzip2
}
