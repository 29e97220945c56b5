import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isWindlassError, WindlassError, wrapError } from '../../errors.ts'
import { type Digest, digestAlgorithm } from '../../oci/digest.ts'
import { formatReference, parseReference } from '../../oci/reference.ts'
import { FilesystemSyncs } from '../../sys/disk.ts'
import { readMountsEverywhere } from '../../sys/mounts.ts'
import { findIntactBlob, readPieces } from './blob-ingest.ts'
import { collect, type GcOptions, sweepOrphans } from './collect.ts'
import { type CommitStep, requireWritable, type StoreContext } from './context.ts'
import { StoreDatabase } from './database.ts'
import { findInStore } from './find-image.ts'
import { listImageMounts, mountLeased, selectMounts, umountImage } from './image-mounts.ts'
import { readStoreInfo } from './info.ts'
import { isReadOnly, type Layout, openLayout } from './layout.ts'
import { lockStoreOpening, StoreLocks } from './locks.ts'
import { applyRemoval, planRemoval } from './remove-image.ts'
import { dropReserve, isNearlyFull, keepReserve, makeReserve } from './reserve.ts'
import { openStoreSession } from './session.ts'
import type { GcResult, ImageRecord, MountRecord, RemoveResult, Session, StoreInfo, VerifyFinding } from './types.ts'
import { type VerifyOptions, verifyStore } from './verify.ts'

export type { GcOptions } from './collect.ts'
export type { CommitStep } from './context.ts'
export type * from './types.ts'

/** Manifests and configs are far smaller; a layer must not be read into memory by mistake. */
const documentSizeMax = 16 * 1024 * 1024

export interface OpenOptions {
  /** Make the store if there is none. Default true. */
  readonly create?: boolean
  readonly signal?: AbortSignal
  /** For tests: called between two steps of a commit. */
  readonly onStep?: (step: CommitStep) => void
}

/**
 * Images on this host, in a directory that several processes share: documents and compressed layers by digest, unpacked layers as docker's overlay2 driver
 * lays them out, and a database that says what is there. Only what is verified and on the disk is ever visible.
 */
export class Store implements AsyncDisposable {
  readonly root: string
  readonly #context: StoreContext
  #isReserveGivenUp: boolean

  private constructor(context: StoreContext, isReserveGivenUp: boolean) {
    this.#context = context
    this.#isReserveGivenUp = isReserveGivenUp
    this.root = context.layout.root
  }

  /**
   * Opens the store under `root`; the caller disposes it. On a read-only filesystem, only what looks at it works. On a full filesystem, the room that the store has kept back for this serves until then.
   * @throws WindlassError NOT_FOUND if there is none and `create` is false; UNSUPPORTED if a newer windlass made it; FAILED if the directory holds other
   * files; PERMISSION; NO_SPACE if the filesystem is full and nothing was kept back
   */
  static async open(root: string, options: OpenOptions = {}): Promise<Store> {
    const layout = openLayout(root, options.create ?? true)
    if (isReadOnly(layout)) return new Store(openToRead(layout, options), false)
    using _lock = await lockStoreOpening(layout.locks, options.signal)
    const { database, isReserveGivenUp } = openDatabase(layout)
    if (!isReserveGivenUp) keepReserve(layout)
    const locks = new StoreLocks(layout.locks, database.salt)
    const disk = new FilesystemSyncs(layout.root)
    return new Store({ layout, database, locks, disk, isReadOnly: false, onStep: options.onStep }, isReserveGivenUp)
  }

  /** All images, the newest first. */
  listImages(): ImageRecord[] {
    return this.#context.database.listImages()
  }

  /**
   * An image by a name in any docker spelling, `name@digest`, an image ID, or the beginning of one (at least 4 digits).
   * @throws WindlassError NOT_FOUND; FAILED if it means several images; REFERENCE_INVALID
   */
  findImage(text: string): ImageRecord {
    const found = findInStore(this.#context.database, this.root, text)
    return found.by === 'id' ? found.images[0] : found.image
  }

  /**
   * A document: a manifest, an index or a config. Its digest is checked again.
   * @throws WindlassError NOT_FOUND, DIGEST_MISMATCH, LIMIT_EXCEEDED above 16 MiB
   */
  async readBlob(digest: Digest): Promise<Buffer> {
    const doing = `Cannot read blob ${digest}`
    const size = this.#checkBlob(digest, doing)
    if (size > documentSizeMax)
      throw new WindlassError(
        'LIMIT_EXCEEDED',
        `${doing}: it has ${size} bytes; a document has at most ${documentSizeMax}`,
      )
    const bytes = this.#readWhole(digest, doing)
    const algorithm = digestAlgorithm(digest)
    const actual = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
    if (actual !== digest)
      throw new WindlassError('DIGEST_MISMATCH', `${doing}: the file in the store has the digest ${actual}`)
    return bytes
  }

  /** It is small; and no stage is watched while documents are read, but who holds up the main thread is. */
  #readWhole(digest: Digest, doing: string): Buffer {
    try {
      return readFileSync(this.#context.layout.blob(digest))
    } catch (error) {
      throw wrapError(error, doing)
    }
  }

  /**
   * The bytes of a blob, in pieces of 1 MiB. They are not verified again: the reader hashes them if it hands them on.
   * @throws WindlassError NOT_FOUND at once if it is not in the store
   */
  openBlobFile(digest: Digest): AsyncIterable<Uint8Array> {
    const size = this.#checkBlob(digest, `Cannot read blob ${digest}`)
    return readPieces(this.#context.layout.blob(digest), { end: size })
  }

  #checkBlob(digest: Digest, doing: string): number {
    const size = findIntactBlob(this.#context, digest)
    if (size !== undefined) return size
    throw new WindlassError('NOT_FOUND', `${doing}: it is not in store ${this.root}`, {
      hint: "pull the image again; see 'windlass verify'",
    })
  }

  /**
   * Starts a lease under which images are put. Dispose it before the store.
   * @param purpose what others are told who wait for it: `pull debian:12`
   */
  openSession(purpose?: string): Promise<Session> {
    return openStoreSession(this.#context, purpose)
  }

  /**
   * Starts a lease for the programs that this process starts or is replaced by: what is mounted under it is in use until the last of them has ended. For
   * mounts that others cannot see, in a user namespace.
   * @returns what `mount` is given
   */
  async openLease(): Promise<string> {
    const session = await openStoreSession(this.#context)
    session.keepOnExec()
    return session.id
  }

  /**
   * Gives an image a further name; a name that another image has goes over to this one.
   * @throws WindlassError REFERENCE_INVALID, also for a reference with a digest; NOT_FOUND if the image is gone
   */
  tag(image: ImageRecord, text: string): void {
    const { database } = this.#context
    const reference = parseReference(text)
    if (reference.digest !== undefined) {
      throw new WindlassError(
        'REFERENCE_INVALID',
        `Cannot tag image as ${text}: it has a digest; wanted a name with a tag`,
      )
    }
    requireWritable(this.#context)
    database.transaction(() => {
      if (database.findImage(image.digest) === undefined) {
        throw new WindlassError('NOT_FOUND', `Cannot tag image ${image.id}: it is no longer in store ${this.root}`)
      }
      database.setName(formatReference(reference), image.digest, image.digest)
    })
    database.flushNow()
  }

  /**
   * Takes a name away, and the image with its last name: its layers and blobs go as far as no other image and no running pull needs them.
   * By ID, all names go; several only with `force`.
   * @throws WindlassError NOT_FOUND; FAILED if the ID has several names, or the image is mounted; `force` unmounts it
   */
  async removeImage(text: string, options: { force?: boolean } = {}): Promise<RemoveResult> {
    const { database } = this.#context
    const force = options.force === true
    const plan = () => planRemoval(findInStore(database, this.root, text), text, force)
    requireWritable(this.#context)
    if (force) await this.#umountAll(plan().images)
    this.#makeRoomToWork()
    await using session = await openStoreSession(this.#context, `rmi ${text}`)
    const result = database.transaction(() => {
      const removal = plan()
      this.#checkUnmounted(removal.images)
      return applyRemoval(database, removal)
    })
    await database.flush()
    if (result.deleted.length > 0) sweepOrphans(this.#context, session.directory)
    return result
  }

  /** Also a removal writes before it frees. */
  #makeRoomToWork(): void {
    const { layout } = this.#context
    if (isNearlyFull(layout.root) && dropReserve(layout)) this.#isReserveGivenUp = true
  }

  async #umountAll(images: readonly ImageRecord[]): Promise<void> {
    for (const mount of listImageMounts(this.#context))
      if (isMountOf(mount, images)) await umountImage(this.#context, mount)
  }

  /** The layers under a mount must stay. Inside the transaction that takes the image away: who mounts looks for the image after that. */
  #checkUnmounted(images: readonly ImageRecord[]): void {
    if (images.length === 0) return
    const mounts = listImageMounts(this.#context, readMountsEverywhere())
    const mounted = mounts.find(mount => isMountOf(mount, images))
    if (mounted === undefined) return
    throw new WindlassError('FAILED', `Cannot remove image ${mounted.imageId}: it is mounted on ${mounted.target}`, {
      hint: 'unmount it first',
    })
  }

  /** Frees everything that no image and no living session needs. Pulls may run beside it. */
  async collectGarbage(options: GcOptions = {}): Promise<GcResult> {
    requireWritable(this.#context)
    this.#makeRoomToWork()
    await using session = await openStoreSession(this.#context, 'gc')
    return await collect(this.#context, session, options)
  }

  /** The disk, the counts and the host, for `info`. */
  async info(): Promise<StoreInfo> {
    try {
      return await readStoreInfo(this.#context)
    } catch (error) {
      throw wrapError(error, `Cannot look at store ${this.root}`)
    }
  }

  /** Yields what is wrong; nothing is changed, unless damaged blobs are to be taken out. Pulls may run beside it. */
  verify(options: VerifyOptions): AsyncIterable<VerifyFinding> {
    if (options.repair === true) requireWritable(this.#context)
    return verifyStore(this.#context, options)
  }

  /**
   * Mounts an image, read-only unless asked otherwise, on `target` or in a directory of the store. What is written into a writable mount lasts as long as
   * the mount. Set-user-ID programs and devices have no effect on a target of the caller's.
   * @throws WindlassError NOT_FOUND if the image has been removed; PERMISSION without the right to mount; LIMIT_EXCEEDED for more layers than fit into the mount options (about 135)
   */
  async mount(
    image: ImageRecord,
    target?: string,
    { readOnly = true, lease }: { readOnly?: boolean; lease?: string | undefined } = {},
  ): Promise<MountRecord> {
    await using session = await openStoreSession(this.#context, 'mount')
    return await mountLeased(this.#context, session, { image, target, readOnly, lease })
  }

  /**
   * Unmounts what is on the path `text`, or else every mount of the image that it means.
   * @throws WindlassError NOT_FOUND if nothing is mounted there; FAILED if it is in use
   */
  async umount(text: string): Promise<void> {
    const mounts = selectMounts(this.#context, text, () => this.#findIds(text))
    if (mounts.length === 0)
      throw new WindlassError('NOT_FOUND', `Cannot unmount ${text}: no image of store ${this.root} is mounted there`)
    for (const mount of mounts) await umountImage(this.#context, mount)
  }

  #findIds(text: string): Digest[] {
    try {
      return [this.findImage(text).id]
    } catch (error) {
      if (isWindlassError(error, 'NOT_FOUND') || isWindlassError(error, 'REFERENCE_INVALID')) return []
      throw error
    }
  }

  /** The images of this store that are mounted in this mount namespace. */
  listMounts(): MountRecord[] {
    return listImageMounts(this.#context).map(({ target, imageId, readOnly }) => ({ target, imageId, readOnly }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#context.disk[Symbol.dispose]()
    this.#context.database[Symbol.dispose]()
    if (this.#isReserveGivenUp) makeReserve(this.#context.layout)
  }
}

function openToRead(layout: Layout, { onStep }: OpenOptions): StoreContext {
  const database = new StoreDatabase(layout, 'read')
  const locks = new StoreLocks(layout.locks, database.salt)
  return { layout, database, locks, disk: new FilesystemSyncs(layout.root), isReadOnly: true, onStep }
}

function isMountOf({ imageId }: MountRecord, images: readonly ImageRecord[]): boolean {
  return images.some(({ id }) => id === imageId)
}

/** On a full filesystem the WAL and its index, which are made at every opening, have no room but the reserve. */
function openDatabase(layout: Layout): { database: StoreDatabase; isReserveGivenUp: boolean } {
  try {
    return { database: new StoreDatabase(layout), isReserveGivenUp: false }
  } catch (error) {
    if (!isWindlassError(error, 'NO_SPACE') || !dropReserve(layout)) throw error
    return { database: new StoreDatabase(layout), isReserveGivenUp: true }
  }
}
