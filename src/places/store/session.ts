import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, statSync } from 'node:fs'
import { isWindlassError, WindlassError, wrapError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, digestAlgorithm } from '../../oci/digest.ts'
import { formatReference, parseReference, repositoryName } from '../../oci/reference.ts'
import type { ByteLock } from '../../sys/byte-locks.ts'
import type { Document } from '../place.ts'
import { findIntactBlob, openBlobIngest } from './blob-ingest.ts'
import { sweepDeadSessions } from './collect.ts'
import { requireWritable, type StoreContext } from './context.ts'
import type { NameRow } from './database.ts'
import { findIntactLayer, openLayerIngest } from './layer-ingest.ts'
import { removeTree } from './remove-tree.ts'
import type {
  BlobIngest,
  ImageRecord,
  LayerIdentity,
  LayerIngest,
  LayerRecord,
  LockWait,
  NewImage,
  OpenSession,
} from './types.ts'

/** Another process that puts the same document holds its lock for a write and two syncs. It is small: who waits longer makes it beside. */
const documentWaitMs = 10_000

/** How long a session that is done waits for the removal of what others left; the next session goes on with it. */
const sweepWaitMs = 1000

/** Starts a session: its lock first, then its row, then its directory, so that no sweep takes it for dead. */
export async function openStoreSession(context: StoreContext, purpose?: string): Promise<OpenSession> {
  requireWritable(context)
  const id = randomBytes(8).toString('hex')
  const lock = context.locks.try('session', id)
  if (lock === undefined) return openStoreSession(context, purpose) // 2⁻⁴⁸: another session's byte
  try {
    context.database.transaction(() => context.database.insertSession(id, purpose))
    // As the transaction before it: no stage is watched yet, but who holds up the main thread is.
    mkdirSync(context.layout.ingest(id), { mode: 0o700 })
    return new StoreSession(context, id, lock)
  } catch (error) {
    lock[Symbol.dispose]()
    throw wrapError(error, `Cannot start a session in store ${context.layout.root}`)
  }
}

class StoreSession implements OpenSession {
  readonly id: string
  readonly directory: string
  readonly #context: StoreContext
  readonly #lock: ByteLock
  readonly #ingests = new Set<AsyncDisposable>()
  readonly #ending = new AbortController()
  /** What dead sessions left can be large: it goes while this one works. What fails here, a collection reports. */
  readonly swept: Promise<void>

  constructor(context: StoreContext, id: string, lock: ByteLock) {
    this.#context = context
    this.id = id
    this.directory = context.layout.ingest(id)
    this.#lock = lock
    this.swept = sweepDeadSessions(context, this.#ending.signal)
    this.swept.catch(() => {})
  }

  keepOnExec(): void {
    this.#lock.keepOnExec()
  }

  findBlob(digest: Digest): { digest: Digest; size: number } | undefined {
    const size = this.#leasing('blob', digest, () => findIntactBlob(this.#context, digest))
    return size === undefined ? undefined : { digest, size }
  }

  bytesHere(digest: Digest): number {
    const partial = statSync(this.#context.layout.partial(digest), { throwIfNoEntry: false })
    return findIntactBlob(this.#context, digest) ?? partial?.size ?? 0
  }

  blobFile(digest: Digest): string {
    this.#leasing('blob', digest, () => {})
    return this.#context.layout.blob(digest)
  }

  findLayer(chainId: Digest): LayerRecord | undefined {
    return this.#leasing('layer', chainId, () => findIntactLayer(this.#context, chainId))
  }

  hasIntactBlob(layer: LayerRecord): boolean {
    return this.findBlob(layer.blobDigest) !== undefined
  }

  async setLayerBlob(chainId: Digest, blobDigest: Digest): Promise<void> {
    const { database } = this.#context
    const doing = `Cannot assign blob ${blobDigest} to layer ${chainId}`
    database.transaction(() => {
      if (findIntactBlob(this.#context, blobDigest) === undefined)
        throw new WindlassError('FAILED', `${doing}: the blob is not in the store`)
      if (!database.setLayerBlob(chainId, blobDigest))
        throw new WindlassError('FAILED', `${doing}: the layer is not in the store`)
    })
    await database.flush()
  }

  /** Looks and leases with nobody between: a collection sees the lease or has taken the thing already. */
  #leasing<T>(kind: 'blob' | 'layer', id: Digest, find: () => T): T {
    const { database } = this.#context
    return database.transaction(() => {
      database.lease(this.id, kind, id)
      return find()
    })
  }

  async openBlob(descriptor: Descriptor, signal: AbortSignal, wait: LockWait = {}): Promise<BlobIngest> {
    this.#leasing('blob', descriptor.digest, () => {})
    return this.#own(await openBlobIngest(this.#context, descriptor, { signal, wait, own: this.directory }))
  }

  async openLayer(layer: LayerIdentity, signal: AbortSignal, wait: LockWait = {}): Promise<LayerIngest> {
    this.#leasing('layer', layer.chainId, () => {})
    return this.#own(await openLayerIngest(this.#context, this.id, layer, { signal, wait }))
  }

  #own<T extends AsyncDisposable>(ingest: T): T {
    this.#ingests.add(ingest)
    return ingest
  }

  async putDocument({ descriptor, bytes }: Document): Promise<void> {
    const { digest, size } = descriptor
    const doing = `Cannot store document ${digest}`
    if (bytes.length !== size)
      throw new WindlassError('DIGEST_MISMATCH', `${doing}: ${bytes.length} bytes came; wanted ${size}`)
    const algorithm = digestAlgorithm(digest)
    const actual = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
    if (actual !== digest) throw new WindlassError('DIGEST_MISMATCH', `${doing}: its bytes have the digest ${actual}`)
    const wait = { beside: AbortSignal.timeout(documentWaitMs) }
    await using blob = await this.openBlob(descriptor, new AbortController().signal, wait)
    if (blob.complete && Buffer.concat(await Array.fromAsync(blob.read())).equals(bytes)) return
    await blob.restart()
    if (blob.complete) return
    await blob.write(bytes)
    await blob.commit()
  }

  async putImage(image: NewImage): Promise<ImageRecord> {
    const { database } = this.#context
    const name = planNames(image.reference)
    const record = database.transaction(() => {
      this.#checkComplete(image)
      database.insertImage(image, name)
      return database.findImage(image.manifest.digest)
    })
    if (record === undefined)
      throw new WindlassError('FAILED', `Cannot store image ${image.manifest.digest}: its row is gone`)
    await database.flush()
    return record
  }

  #checkComplete({ manifest, config, target, layers }: NewImage): void {
    const doing = `Cannot store image ${manifest.digest}`
    for (const document of [manifest, config, target]) {
      if (this.#context.database.findBlobSize(document.digest) !== undefined) continue
      throw new WindlassError('FAILED', `${doing}: its document ${document.digest} is not in the store`)
    }
    let below: Digest | undefined
    for (const { chainId } of layers) {
      const layer = this.#context.database.findLayer(chainId)
      if (layer === undefined) throw new WindlassError('FAILED', `${doing}: its layer ${chainId} is not in the store`)
      if (layer.parent !== below)
        throw new WindlassError('FAILED', `${doing}: its layer ${chainId} lies on another layer than ${below}`)
      below = chainId
    }
  }

  /** On a full disk the row stays: the session's byte will be free, and the next session deletes it. */
  #end(): void {
    const { database } = this.#context
    try {
      database.transaction(() => database.deleteSession(this.id))
    } catch (error) {
      if (!isWindlassError(error, 'NO_SPACE')) throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const ingest of this.#ingests) await ingest[Symbol.asyncDispose]()
      const timer = setTimeout(() => this.#ending.abort(), sweepWaitMs)
      await Promise.allSettled([this.swept])
      clearTimeout(timer)
      await removeTree(this.directory)
      this.#end()
    } finally {
      this.#lock[Symbol.dispose]()
    }
  }
}

/** A tag is recorded only where no digest was asked for: with both, docker makes no tag either. */
function planNames(text: string | undefined): NameRow {
  if (text === undefined) return { reference: undefined, repository: undefined }
  const reference = parseReference(text)
  const tagged = reference.digest === undefined ? formatReference(reference) : undefined
  return { reference: tagged, repository: repositoryName(reference) }
}
