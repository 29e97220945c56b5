import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, open, readlink, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { WindlassError, wrapError } from '../../errors.ts'
import type { Digest } from '../../oci/digest.ts'
import type { ByteLock } from '../../sys/byte-locks.ts'
import { type FilesystemSync, syncDirectory } from '../../sys/disk.ts'
import { withdrawLayer } from './collect.ts'
import type { StoreContext } from './context.ts'
import { waitForTurn } from './lock-wait.ts'
import { removeTree } from './remove-tree.ts'
import type { LayerIdentity, LayerIngest, LayerRecord, LockWait } from './types.ts'

/** The committed layer, or undefined if there is no row, or no directory behind it. */
export function findIntactLayer(context: StoreContext, chainId: Digest): LayerRecord | undefined {
  const layer = context.database.findLayer(chainId)
  return layer !== undefined && existsSync(layer.diffDirectory) ? layer : undefined
}

/** The short name of a layer as docker makes it: 26 characters of RFC 4648 base32, from 128 random bits. */
function makeLink(): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  return Array.from(randomBytes(26), byte => alphabet[byte & 31]).join('')
}

/** What the file `lower` of a layer holds: the short names of all layers below it, the nearest first. Empty for the lowest. */
export function formatLower(below: readonly LayerRecord[]): string {
  return below.map(layer => `l/${layer.link}`).join(':')
}

/** Opens a directory for a layer under the layer's lock, or beside its holder; the caller has leased the layer. */
export async function openLayerIngest(
  context: StoreContext,
  session: string,
  layer: LayerIdentity,
  { signal, wait }: { readonly signal: AbortSignal; readonly wait: LockWait },
): Promise<LayerIngest> {
  const isMade = (): boolean => findIntactLayer(context, layer.chainId) !== undefined
  const lock = await waitForTurn(context, 'layer', layer.chainId, { signal, isMade, wait })
  try {
    const existing = findIntactLayer(context, layer.chainId)
    if (existing !== undefined) lock?.[Symbol.dispose]()
    return existing === undefined
      ? await makeIngest(context, session, layer, lock)
      : new ExistingLayer(context, existing)
  } catch (error) {
    lock?.[Symbol.dispose]()
    throw wrapError(error, `Cannot open layer ${layer.chainId} for unpacking`)
  }
}

/** A layer whose directory was lost is made again under its old names, since the `lower` files of its children hold them. */
async function makeIngest(
  context: StoreContext,
  session: string,
  layer: LayerIdentity,
  lock: ByteLock | undefined,
): Promise<LayerIngest> {
  const lost = context.database.findLayer(layer.chainId)
  const cacheId = lost?.cacheId ?? randomBytes(32).toString('hex')
  const link = lost?.link ?? makeLink()
  context.database.transaction(() => context.database.lease(session, 'cache', cacheId))
  const directory = join(context.layout.ingest(session), cacheId)
  await makeExactly(directory, 0o710)
  await makeExactly(join(directory, 'diff'), 0o755)
  await writeFile(join(directory, 'link'), link, { mode: 0o644 })
  await chmod(join(directory, 'link'), 0o644)
  if (layer.parent !== undefined) await makeExactly(join(directory, 'work'), 0o700)
  return new FreshLayer(context, layer, lock, { cacheId, link, directory })
}

async function makeExactly(path: string, mode: number): Promise<void> {
  await mkdir(path)
  await chmod(path, mode)
}

class ExistingLayer implements LayerIngest {
  readonly existing: LayerRecord
  readonly #context: StoreContext

  constructor(context: StoreContext, existing: LayerRecord) {
    this.#context = context
    this.existing = existing
  }

  get diffDirectory(): string {
    return this.existing.diffDirectory
  }

  get lowerDirectories(): string[] {
    const chain = this.#context.database.listChain(this.existing.chainId)
    return chain.slice(1).map(layer => layer.diffDirectory)
  }

  async sync(): Promise<void> {}

  async commit(): Promise<LayerRecord> {
    return this.existing
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

class FreshLayer implements LayerIngest {
  readonly existing = undefined
  readonly diffDirectory: string
  readonly #context: StoreContext
  readonly #layer: LayerIdentity
  /** Absent beside another one that makes it. */
  readonly #lock: ByteLock | undefined
  readonly #names: { readonly cacheId: string; readonly link: string; readonly directory: string }
  /** Taken before anything is written. */
  readonly #disk: FilesystemSync
  #synced = false
  #done = false

  constructor(
    context: StoreContext,
    layer: LayerIdentity,
    lock: ByteLock | undefined,
    names: { readonly cacheId: string; readonly link: string; readonly directory: string },
  ) {
    this.#context = context
    this.#layer = layer
    this.#lock = lock
    this.#names = names
    this.#disk = context.disk.current()
    this.diffDirectory = join(names.directory, 'diff')
  }

  get lowerDirectories(): string[] {
    return this.#listBelow().map(layer => layer.diffDirectory)
  }

  #listBelow(): LayerRecord[] {
    return this.#layer.parent === undefined ? [] : this.#context.database.listChain(this.#layer.parent)
  }

  async sync(): Promise<void> {
    try {
      await this.#disk.sync()
      this.#synced = true
    } catch (error) {
      throw wrapError(error, `Cannot sync layer ${this.#layer.chainId}`)
    }
  }

  async commit(facts: { readonly size: number; readonly blobDigest: Digest }): Promise<LayerRecord> {
    const { chainId, parent } = this.#layer
    const doing = `Cannot commit layer ${chainId}`
    if (this.#done) throw new WindlassError('FAILED', `${doing}: it is closed`)
    const below = this.#listBelow()
    if (parent !== undefined && below.length === 0) {
      throw new WindlassError('FAILED', `${doing}: the layer below, ${parent}, is not committed`)
    }
    // Somebody else may have made it beside this one, if it was stopped for long: its own goes.
    const made = findIntactLayer(this.#context, chainId)
    if (made !== undefined) return made
    if (!this.#synced) await this.sync()
    try {
      const record = await this.#publish(below, facts)
      this.#done = true
      this.#lock?.[Symbol.dispose]()
      return record
    } catch (error) {
      throw wrapError(error, doing)
    }
  }

  /** The content is on the disk already; here its names follow, then its row: whatever the power takes, a row has its directory. */
  async #publish(below: readonly LayerRecord[], facts: { size: number; blobDigest: Digest }): Promise<LayerRecord> {
    const { layout, database, onStep } = this.#context
    const { cacheId, link, directory } = this.#names
    if (below.length > 0) await writeDurably(join(directory, 'lower'), formatLower(below), 0o644)
    await makeSymlink(`../${cacheId}/diff`, layout.link(link))
    if (existsSync(layout.layer(cacheId))) await rename(layout.layer(cacheId), `${directory}.lost`)
    await rename(directory, layout.layer(cacheId))
    onStep?.('layer-renamed')
    const nearest = below[0]
    // docker mounts a layer that has children read-only by this mark
    if (nearest !== undefined) await writeFile(join(layout.layer(nearest.cacheId), 'committed'), '', { mode: 0o600 })
    await Promise.all([syncDirectory(layout.overlay), syncDirectory(layout.links)])
    const row = { ...this.#layer, ...facts, cacheId, link }
    const record = database.transaction(() => database.insertLayer(row))
    await database.flush()
    return record
  }

  /** A commit may have failed between the names and the row. A row from before, of a layer that was lost, keeps what it has. */
  async #withdraw(): Promise<void> {
    const { layout, database } = this.#context
    const { cacheId, link, directory } = this.#names
    if (database.findLayer(this.#layer.chainId)?.cacheId === cacheId) return
    await rm(layout.link(link), { force: true })
    await withdrawLayer(this.#context, cacheId, directory)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#done) return
    this.#done = true
    try {
      await this.#withdraw()
      await removeTree(this.#names.directory)
    } finally {
      this.#lock?.[Symbol.dispose]()
    }
  }
}

async function writeDurably(path: string, text: string, mode: number): Promise<void> {
  await using handle = await open(path, 'w', mode)
  await handle.chmod(mode)
  await handle.writeFile(text)
  await handle.sync()
  await syncDirectory(dirname(path))
}

/** A layer that is made again finds its symlink in place. */
async function makeSymlink(target: string, path: string): Promise<void> {
  try {
    await symlink(target, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    if ((await readlink(path)) === target) return
    await unlink(path)
    await symlink(target, path)
  }
}
