import type { Descriptor, Platform } from '../../oci/descriptor.ts'
import type { Digest } from '../../oci/digest.ts'
import type { Document } from '../place.ts'

/** A layer of the store: committed, durable, and named by its chain ID (OCI image-spec, config.md, "Layer ChainID"). */
export interface LayerRecord {
  readonly chainId: Digest
  readonly diffId: Digest
  /** Chain ID of the layer below. */
  readonly parent: Digest | undefined
  /** Name of its directory under `overlay2/`: 64 random hex digits. */
  readonly cacheId: string
  /** Its short name: `overlay2/l/<link>` points to the diff directory. */
  readonly link: string
  /** Bytes of the unpacked regular files. */
  readonly size: number
  /** The compressed blob that it was unpacked from. */
  readonly blobDigest: Digest
  /** ISO 8601. */
  readonly createdAt: string
  /** Absolute path of its content, whiteouts in overlay form. */
  readonly diffDirectory: string
}

/** One image for one platform. */
export interface ImageRecord {
  /** Digest of the config: docker's image ID. */
  readonly id: Digest
  /** Digest of the manifest. */
  readonly digest: Digest
  /** Of the manifest. */
  readonly mediaType: string
  readonly platform: Platform
  /** As the config says it, if it does. */
  readonly created: string | undefined
  /** Unpacked bytes of all layers. */
  readonly size: number
  /** Bytes of the compressed layers, as the manifest says them. */
  readonly sizeCompressed: number
  /** Full references with a tag, sorted: `docker.io/library/debian:12`. */
  readonly names: readonly string[]
  /** `docker.io/library/debian@sha256:…`, sorted. */
  readonly repoDigests: readonly string[]
  /** Lowest first. */
  readonly layers: readonly LayerRecord[]
  readonly config: { readonly digest: Digest; readonly size: number }
  /** When it was first put into this store, ISO 8601. */
  readonly storedAt: string
}

/** What `putImage` records. All documents and layers must be in the store before. */
export interface NewImage {
  /**
   * The name it was asked for under, in any docker spelling. A tag points to this image from then on; with a digest, no tag is made
   * and only the repository digest is recorded, as in docker. Without a reference it has no name.
   */
  readonly reference?: string
  /** The document which the reference named: an index or the manifest itself. */
  readonly target: Descriptor
  readonly manifest: Descriptor
  readonly config: Descriptor
  readonly platform: Platform
  readonly created?: string | undefined
  /** Lowest first; the descriptors are those of the manifest. */
  readonly layers: readonly { readonly chainId: Digest; readonly descriptor: Descriptor }[]
}

/** The identity of a layer to be unpacked. */
export interface LayerIdentity {
  readonly chainId: Digest
  readonly diffId: Digest
  /** Chain ID of the layer below; absent for the lowest. */
  readonly parent?: Digest | undefined
}

/** A process that makes something in this store. */
export interface LockHolder {
  readonly pid: number
  /** What its session is for: `pull debian:12`; undefined if it did not say. */
  readonly purpose: string | undefined
}

/** What to do while another one makes the same thing. */
export interface LockWait {
  /** Told once, as soon as it has to wait. `find` looks who makes it: undefined if that cannot be seen from here. It costs milliseconds. */
  readonly onHeld?: (find: () => LockHolder | undefined) => void
  /** When it fires, the thing is made beside its holder, who does not go on. Whoever is done first publishes it. */
  readonly beside?: AbortSignal
}

/**
 * The lease of one pull. While it lives, nothing that it found or made is collected, by this process or another.
 * It ends with dispose or with the death of the process.
 */
export interface Session extends AsyncDisposable {
  /** A committed blob, leased from now on. */
  findBlob(digest: Digest): { readonly digest: Digest; readonly size: number } | undefined
  /** Bytes of a blob that need not be fetched: all of a committed one, or what an earlier run left. Nothing is leased. */
  bytesHere(digest: Digest): number
  /** The file of a committed blob, for a program that reads it by itself; it stays while the session lives. */
  blobFile(digest: Digest): string
  /** A committed layer, leased from now on together with the layers below it. */
  findLayer(chainId: Digest): LayerRecord | undefined
  /**
   * True if the blob that the layer was unpacked from is committed, and its file has the right size; it is leased from now on. The bytes are not read.
   */
  hasIntactBlob(layer: LayerRecord): boolean
  /**
   * Says which blob a layer goes with from now on: after its own was lost, the one of another image with the same content. Durable when it resolves.
   * The caller has verified that the blob holds the layer's diffId.
   * @throws WindlassError FAILED if the layer or the blob is not in the store
   */
  setLayerBlob(chainId: Digest, blobDigest: Digest): Promise<void>
  /** Opens a blob for writing, exclusively across processes; waits while somebody else writes it. */
  openBlob(descriptor: Descriptor, signal: AbortSignal, wait?: LockWait): Promise<BlobIngest>
  /** Opens a layer for unpacking, exclusively across processes; waits while somebody else unpacks it. */
  openLayer(layer: LayerIdentity, signal: AbortSignal, wait?: LockWait): Promise<LayerIngest>
  /** Stores a manifest, index or config: size and digest checked, durable when it returns. */
  putDocument(document: Document): Promise<void>
  /**
   * Publishes an image in one transaction: after a crash it is there with all it needs, or not at all.
   * @throws WindlassError FAILED if a layer or document of it is not in the store
   */
  putImage(image: NewImage): Promise<ImageRecord>
}

/** A blob on its way in. Dispose without commit keeps what is here as a partial, for the next run to resume. */
export interface BlobIngest extends AsyncDisposable {
  /** True if it is committed already: `read` gives it, nothing is to be written. */
  readonly complete: boolean
  /** Bytes here now, those of an earlier run included: unverified until committed. */
  readonly size: number
  /** The bytes from 0 to `size`, in pieces of 1 MiB. Each piece is a buffer of its own. */
  read(): AsyncIterable<Uint8Array>
  /**
   * Appends. Gathers about 1 MiB before it goes to the file; the chunk may be reused once the promise is resolved.
   * @throws WindlassError NO_SPACE, PERMISSION, and LIMIT_EXCEEDED past the descriptor's size
   */
  write(chunk: Uint8Array): Promise<void>
  /**
   * Throws away what is here, also what was complete: it was wrong. Nothing is complete afterwards, unless what is complete has the right digest:
   * another process has made it anew meanwhile.
   */
  restart(): Promise<void>
  /** Makes it durable and visible. The caller has verified size and digest; the size is checked again. */
  commit(): Promise<void>
}

/** A layer on its way in. Dispose without commit removes its directory. */
export interface LayerIngest extends AsyncDisposable {
  /** Set if somebody else committed it while this call waited: nothing to do. */
  readonly existing: LayerRecord | undefined
  /** Fresh, empty, mode 0755, on the filesystem of the store. */
  readonly diffDirectory: string
  /** Diff directories of the layers below that are committed by now, nearest first. */
  readonly lowerDirectories: readonly string[]
  /** Resolves when all that is written is on the disk. Calls that overlap share one syncfs. */
  sync(): Promise<void>
  /** Publishes it. Its parent must be committed. */
  commit(facts: { readonly size: number; readonly blobDigest: Digest }): Promise<LayerRecord>
}

/** What `removeImage` did: references that are gone, and digests of images and layers that are gone. */
export interface RemoveResult {
  readonly untagged: readonly string[]
  readonly deleted: readonly Digest[]
  readonly bytesFreed: number
}

/** What a collection freed. */
export interface GcResult {
  readonly blobs: number
  readonly layers: number
  readonly partials: number
  readonly bytesFreed: number
}

/** One thing that is wrong in the store. `subject` is a digest, a reference or a path relative to the root. */
export interface VerifyFinding {
  readonly kind:
    | 'blob-missing'
    | 'blob-size'
    | 'blob-digest'
    | 'layer-missing'
    | 'layer-link'
    | 'layer-lower'
    | 'layer-blob'
    | 'image-incomplete'
    | 'name-dangling'
    | 'unreadable'
    | 'orphan'
    | 'database'
  readonly subject: string
  readonly problem: string
  /** True if a repair has taken the damaged blob out of the store, so that a pull fetches it again. */
  readonly repaired?: boolean
}

/** One mounted image. */
export interface MountRecord {
  readonly target: string
  /** Image ID. */
  readonly imageId: Digest | undefined
  readonly readOnly: boolean
}

/** What `info` shows. */
export interface StoreInfo {
  readonly root: string
  readonly driver: 'overlay2'
  readonly backingFilesystem: string
  readonly supportsDType: boolean
  readonly supportsTrustedXattr: boolean
  readonly images: number
  readonly layers: number
  readonly blobs: number
  readonly partials: number
  readonly mounts: number
  /** Bytes by kind, as the database knows them. */
  readonly bytesLayers: number
  readonly bytesBlobs: number
  readonly bytesPartials: number
  readonly filesystemBytes: number
  readonly filesystemBytesFree: number
  readonly kernel: string
  readonly operatingSystem: string
  readonly architecture: string
  readonly cores: number
  readonly memoryBytes: number
}

/** A session with what the store itself needs of it. */
export interface OpenSession extends Session {
  readonly id: string
  /** Its own directory under `ingest/`, removed with all in it when the session ends. */
  readonly directory: string
  /** Makes it last until the last program has ended that this process starts or is replaced by. */
  keepOnExec(): void
  /** Ends when what dead sessions left is gone; rejects with the first thing that could not be removed. */
  readonly swept: Promise<void>
}
