import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'

/** A manifest, an index or a config as it came: the exact bytes that its digest names, verified. */
export interface Document {
  readonly descriptor: Descriptor
  readonly bytes: Uint8Array
}

/** What is asked for in a repository. With both, the digest decides, as in docker. */
export interface Target {
  readonly tag?: string | undefined
  readonly digest?: Digest | undefined
}

/**
 * A place that images are read from, opened for one repository. Every byte that comes from it is a stranger's: documents are
 * checked for size and digest here, blob streams by whoever consumes them.
 */
export interface Source extends AsyncDisposable {
  /** How messages name it: the registry's host, or a path. */
  readonly name: string
  /**
   * The top document of a tag or digest.
   * @throws WindlassError NOT_FOUND, DENIED, NETWORK, TLS, RATE_LIMITED, PROTOCOL, DIGEST_MISMATCH, LIMIT_EXCEEDED
   */
  resolve(target: Target, signal: AbortSignal): Promise<Document>
  /** A document by its descriptor: at most `sizeMax` bytes, size and digest verified. */
  readDocument(descriptor: Descriptor, options: { sizeMax: number; signal: AbortSignal }): Promise<Document>
  /**
   * One attempt to stream a blob from byte `offset` to its end. It is not verified, and may end early or throw NETWORK when the
   * connection breaks; the caller asks again from where it stands. A source that cannot start at `offset` starts at 0 and
   * says so in the `offset` of what it returns.
   */
  openBlob(descriptor: Descriptor, options: BlobRequest): Promise<BlobStream>
}

/** The part of a blob that is asked for. */
export interface BlobRequest {
  readonly offset: number
  /** The first byte that is not wanted; the blob's size if absent. Only a source that serves ranges is asked for less. */
  readonly end?: number
  readonly signal: AbortSignal
}

export interface BlobStream {
  /** The position in the blob of the first byte of `bytes`. */
  readonly offset: number
  readonly bytes: AsyncIterable<Uint8Array>
  /** True if the source said, or showed, that it can start anywhere. */
  readonly servesRanges?: boolean
}
