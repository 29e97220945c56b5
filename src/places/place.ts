import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { Reference } from '../oci/reference.ts'

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
  /** True if reading something twice costs no network. */
  readonly isLocal?: boolean
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
  /**
   * What refers to a document: its signatures, attestations, bills of materials, as the place lists them and as cosign's tags name them. What it says
   * of them is to be checked. Absent in a place that knows none.
   */
  listReferrers?(digest: Digest, signal: AbortSignal): Promise<readonly Referrer[]>
  /** False if a blob that a document names was left out, since whoever reads it should have it. Absent where nothing is left out. */
  hasBlob?(descriptor: Descriptor): Promise<boolean>
}

/** A document that refers to another. */
export interface Referrer {
  readonly descriptor: Descriptor
  /** By which it is found, rather than by what it says itself. */
  readonly tag?: string
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

/**
 * A place that images are written to, opened for one repository, archive or store. Blobs come first, then the documents from the leaves upwards: whoever
 * finds a document finds all that it names. Everything but `commit` may be repeated, and what is there already is left as it is.
 */
export interface Sink extends AsyncDisposable {
  /** How messages name it: the registry's host, or a path. */
  readonly name: string
  /** True if it takes one platform's manifest only, and no index. */
  readonly onePlatform: boolean
  /** True if documents that refer to others have a place here. */
  readonly keepsReferrers?: boolean
  /** True if a blob that broke off cannot be begun again: what is written is written. */
  readonly isOnePass: boolean
  /** True if the blob is there already: it need not be read at the source. */
  hasBlob(descriptor: Descriptor, signal: AbortSignal): Promise<boolean>
  /**
   * Brings a blob; when it resolves, a document may name it. The sink verifies what it keeps, or has it verified by its host.
   * @throws WindlassError of the source, and of this place
   */
  putBlob(descriptor: Descriptor, blob: BlobReader, signal: AbortSignal): Promise<void>
  /** Takes note of a layer that documents name, and that is not put, since whoever reads them has it. Absent where there is nothing to note. */
  leaveOut?(descriptor: Descriptor, blob: BlobReader, signal: AbortSignal): Promise<void>
  /**
   * Brings a document whose parts are there. With a tag, the tag names it from then on (at once, or at `commit`).
   */
  putDocument(document: Document, placement: Placement, signal: AbortSignal): Promise<void>
  /** Makes what was put durable and visible, if that is not so already. Dispose without commit leaves nothing half-done behind. */
  commit(signal: AbortSignal): Promise<void>
}

/** What a document is to be in a sink. */
export interface Placement {
  /** Absent for a document that is known by its digest only. */
  readonly tag?: string | undefined
  /** The image's full name, where a place can hold images of several repositories. */
  readonly full?: Reference | undefined
  /** True for a document that others name: it is no image by itself. */
  readonly isPart?: boolean
}

/** A blob that a sink takes, when it is ready for it. */
export interface BlobReader {
  /** True if reading it twice costs no network. */
  readonly isLocal: boolean
  /** The bytes from `offset` on, for the first or the n-th time. From 0 they are verified: their end is reached only if they are right. */
  open(offset: number): AsyncIterable<Uint8Array>
  /** A repository of the same host that has the blob: it can be had from there without a byte on the wire. */
  readonly mountFrom?: string | undefined
}
