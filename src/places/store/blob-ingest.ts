import { createHash, randomBytes } from 'node:crypto'
import { constants, statSync } from 'node:fs'
import { copyFile, type FileHandle, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isWindlassError, WindlassError, wrapError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, digestAlgorithm } from '../../oci/digest.ts'
import type { ByteLock } from '../../sys/byte-locks.ts'
import { syncDirectory } from '../../sys/disk.ts'
import { beginWritingAsync } from '../../sys/libc.ts'
import type { StoreContext } from './context.ts'
import { waitForTurn } from './lock-wait.ts'
import type { BlobIngest, LockWait } from './types.ts'

/** One write or read of a file: large enough that the system call costs nothing beside the copy. */
const pieceSize = 1024 * 1024
/** The disk begins with so many bytes while the next ones come: what is synced at the end is little then. */
const stretchSize = 8 * 1024 * 1024

/** The size of a committed blob, or undefined if there is no row, or no file of that size behind it. */
export function findIntactBlob(context: StoreContext, digest: Digest): number | undefined {
  const size = context.database.findBlobSize(digest)
  if (size === undefined) return undefined
  return statSync(context.layout.blob(digest), { throwIfNoEntry: false })?.size === size ? size : undefined
}

/** A file from `start` to `end`, in pieces that are buffers of their own. */
export async function* readPieces(
  path: string,
  { start = 0, end = Infinity, signal }: { start?: number; end?: number; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<Uint8Array, void, void> {
  await using handle = await open(path, 'r')
  for (let at = start; at < end; ) {
    signal?.throwIfAborted()
    const piece = Buffer.allocUnsafeSlow(Math.min(pieceSize, end - at))
    const { bytesRead } = await handle.read(piece, 0, piece.length, at)
    if (bytesRead === 0) return
    at += bytesRead
    yield piece.subarray(0, bytesRead)
  }
}

/** The digest that the bytes of a file have, by the algorithm of the one that they should have. */
export async function readDigest(path: string, wanted: Digest, signal?: AbortSignal): Promise<string> {
  const algorithm = digestAlgorithm(wanted)
  const hash = createHash(algorithm)
  for await (const piece of readPieces(path, { signal })) hash.update(piece)
  return `${algorithm}:${hash.digest('hex')}`
}

/**
 * Opens a blob; the caller has leased it. One that is complete is not locked; any other is opened as a partial under its lock.
 * @throws WindlassError DIGEST_MISMATCH if the store has the blob and its size is not the descriptor's
 */
export async function openBlobIngest(context: StoreContext, descriptor: Descriptor, turn: Turn): Promise<BlobIngest> {
  const complete = isComplete(context, descriptor)
  const partial = complete ? undefined : await lockPartial(context, descriptor, turn)
  return new StoreBlobIngest(context, descriptor, turn, partial)
}

/** How the turn to write a blob is waited for. */
interface Turn {
  readonly signal: AbortSignal
  readonly wait: LockWait
  /** A directory of the caller's, for what is made beside the holder of the lock. */
  readonly own: string
}

function isComplete(context: StoreContext, { digest, size }: Descriptor): boolean {
  const actual = findIntactBlob(context, digest)
  if (actual === undefined || actual === size) return actual !== undefined
  throw new WindlassError(
    'DIGEST_MISMATCH',
    `Cannot use descriptor of ${digest}: it says ${size} bytes; the blob has ${actual}`,
  )
}

/** A file of `partial/` that only its holder writes, or one of the session's own. */
interface Partial {
  readonly lock: ByteLock | undefined
  readonly path: string
  readonly handle: FileHandle
  readonly size: number
}

/** Waits for the blob's lock; nothing is opened if whoever held it has completed the blob. */
async function lockPartial(context: StoreContext, descriptor: Descriptor, turn: Turn): Promise<Partial | undefined> {
  const isMade = (): boolean => isComplete(context, descriptor)
  const lock = await waitForTurn(context, 'blob', descriptor.digest, { ...turn, isMade })
  try {
    if (!isMade()) return await openPartial(context, descriptor, lock, turn)
    lock?.[Symbol.dispose]()
    return undefined
  } catch (error) {
    lock?.[Symbol.dispose]()
    throw wrapError(error, `Cannot open blob ${descriptor.digest} for writing`)
  }
}

/** A partial that is larger than the blob can be of no use. */
async function openPartial(
  context: StoreContext,
  descriptor: Descriptor,
  lock: ByteLock | undefined,
  { own }: Turn,
): Promise<Partial> {
  const shared = context.layout.partial(descriptor.digest)
  const path = lock === undefined ? await copyPartial(shared, own) : shared
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
  try {
    const { size } = await handle.stat()
    if (size <= descriptor.size) return { lock, path, handle, size }
    await handle.truncate(0)
    return { lock, path, handle, size: 0 }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** What the holder of the lock has got is a beginning; its bytes are verified as those of any partial are. */
async function copyPartial(shared: string, own: string): Promise<string> {
  const path = join(own, `partial-${randomBytes(6).toString('hex')}`)
  try {
    await copyFile(shared, path, constants.COPYFILE_FICLONE)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  return path
}

/** Complete while it has no partial. */
class StoreBlobIngest implements BlobIngest {
  readonly #context: StoreContext
  readonly #descriptor: Descriptor
  readonly #turn: Turn
  #partial: Partial | undefined
  #buffer: Buffer | undefined
  #buffered = 0
  #written: number
  /** So far the disk has begun to write. */
  #begun: number
  #beginning: Promise<void> = Promise.resolve()
  #closed = false
  /** Ends when what was asked for before has ended, well or not. */
  #turnBefore: Promise<unknown> = Promise.resolve()

  constructor(context: StoreContext, descriptor: Descriptor, turn: Turn, partial: Partial | undefined) {
    this.#context = context
    this.#descriptor = descriptor
    this.#turn = turn
    this.#partial = partial
    this.#begun = this.#written = partial === undefined ? descriptor.size : partial.size
  }

  get complete(): boolean {
    return this.#partial === undefined
  }

  get size(): number {
    return this.#written + this.#buffered
  }

  async *read(): AsyncGenerator<Uint8Array> {
    const end = await this.#inTurn(async () => {
      await this.#flush()
      return this.#written
    })
    const { layout } = this.#context
    const { digest } = this.#descriptor
    yield* readPieces(this.#partial?.path ?? layout.blob(digest), { end })
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#inTurn(() => this.#write(chunk))
  }

  restart(): Promise<void> {
    return this.#inTurn(() => this.#restart())
  }

  commit(): Promise<void> {
    return this.#inTurn(() => this.#commit())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#inTurn(() => this.#dispose())
  }

  /** Who gives up on a write does not wait for it, and it may still be under way when the next thing is asked for. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turnBefore.then(work)
    this.#turnBefore = done.catch(() => {})
    return done
  }

  async #write(chunk: Uint8Array): Promise<void> {
    this.#requirePartial('write')
    const { digest, size } = this.#descriptor
    if (this.size + chunk.length > size) {
      throw new WindlassError(
        'LIMIT_EXCEEDED',
        `Cannot write blob ${digest}: more bytes came than the ${size} of its descriptor`,
      )
    }
    if (this.#buffered + chunk.length > pieceSize) await this.#flush()
    if (chunk.length >= pieceSize) return this.#append(chunk)
    this.#buffer ??= Buffer.allocUnsafeSlow(pieceSize)
    this.#buffer.set(chunk, this.#buffered)
    this.#buffered += chunk.length
  }

  /** A complete blob that proves wrong goes back to being an empty partial: its row stays, and has no file until the next commit. */
  async #restart(): Promise<void> {
    try {
      this.#partial ??= await this.#reopen()
      if (this.complete) return
      this.#buffered = 0
      this.#begun = this.#written = 0
      await this.#requirePartial('restart').handle.truncate(0)
    } catch (error) {
      throw wrapError(error, `Cannot restart blob ${this.#descriptor.digest}`)
    }
  }

  /** Another process may have found the same damage, and made the blob anew while this one waited for the lock. */
  async #reopen(): Promise<Partial | undefined> {
    const { layout } = this.#context
    const { digest } = this.#descriptor
    // What is complete is what is in doubt: it does not end the wait.
    const lock = await waitForTurn(this.#context, 'blob', digest, { ...this.#turn, isMade: () => false })
    try {
      if (isComplete(this.#context, this.#descriptor) && (await this.#isRight())) {
        lock?.[Symbol.dispose]()
        return undefined
      }
      await rm(layout.blob(digest), { force: true })
      return await openPartial(this.#context, this.#descriptor, lock, this.#turn)
    } catch (error) {
      lock?.[Symbol.dispose]()
      throw error
    }
  }

  async #isRight(): Promise<boolean> {
    const { digest } = this.#descriptor
    return (await readDigest(this.#context.layout.blob(digest), digest, this.#turn.signal)) === digest
  }

  async #commit(): Promise<void> {
    if (this.complete) return
    const partial = this.#requirePartial('commit')
    const { digest, size } = this.#descriptor
    const doing = `Cannot commit blob ${digest}`
    await this.#flush()
    if (this.#written !== size) {
      throw new WindlassError('DIGEST_MISMATCH', `${doing}: ${this.#written} bytes are here; wanted ${size}`)
    }
    try {
      await this.#publish(partial)
    } catch (error) {
      throw wrapError(error, doing)
    }
    this.#partial = undefined
    await this.#close(partial)
  }

  /** The file's data, then its name, then its row: whatever the power takes, a row has its bytes. */
  async #publish({ handle, path }: Partial): Promise<void> {
    const { layout, database, onStep } = this.#context
    const { digest, size } = this.#descriptor
    await handle.sync().catch(error => {
      // The kernel tells it once: whoever goes on with this file would be told that all is well.
      this.#written = 0
      throw error
    })
    await rename(path, layout.blob(digest))
    onStep?.('blob-renamed')
    await syncDirectory(layout.blobDirectory(digest))
    database.transaction(() => database.insertBlob(digest, size))
    await database.flush()
  }

  async #flush(): Promise<void> {
    if (this.#buffer === undefined || this.#buffered === 0) return
    const filled = this.#buffer.subarray(0, this.#buffered)
    this.#buffered = 0
    await this.#append(filled)
  }

  async #append(data: Uint8Array): Promise<void> {
    const { handle } = this.#requirePartial('write')
    try {
      for (let done = 0; done < data.length; ) {
        const { bytesWritten } = await handle.write(data, done, data.length - done, this.#written)
        done += bytesWritten
        this.#written += bytesWritten
      }
    } catch (error) {
      throw wrapError(error, `Cannot write blob ${this.#descriptor.digest}`)
    }
    if (this.#written - this.#begun < stretchSize) return
    await this.#beginning
    this.#beginning = beginWritingAsync(handle.fd, this.#begun, this.#written - this.#begun)
    this.#begun = this.#written
  }

  /** Not while the kernel is still told of it: its number may be another file's then. */
  async #close({ handle, lock }: Partial): Promise<void> {
    try {
      await this.#beginning
      await handle.close()
    } finally {
      lock?.[Symbol.dispose]()
    }
  }

  #requirePartial(what: string): Partial {
    if (this.#partial !== undefined && !this.#closed) return this.#partial
    const state = this.#closed ? 'closed' : 'complete'
    throw new WindlassError('FAILED', `Cannot ${what} blob ${this.#descriptor.digest}: it is ${state}`)
  }

  async #dispose(): Promise<void> {
    const partial = this.#partial
    if (this.#closed || partial === undefined) return
    try {
      await this.#keepPartial(partial)
    } finally {
      this.#closed = true
      await this.#close(partial)
    }
  }

  /** A full disk must not hide the error that led here; what is in the file is of use all the same. */
  async #keepPartial({ path }: Partial): Promise<void> {
    try {
      await this.#flush()
    } catch (error) {
      if (!isWindlassError(error, 'NO_SPACE')) throw error
    }
    if (this.#written === 0) await rm(path, { force: true })
  }
}
