/** What nothing needs any more, and how it goes: rows first, then a rename out of sight, then the slow removal. */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, readlinkSync, renameSync, unlinkSync } from 'node:fs'
import { mkdir, readdir, rename, stat, unlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { wrapError } from '../../errors.ts'
import { isDigest } from '../../oci/digest.ts'
import { readMountsEverywhere } from '../../sys/mounts.ts'
import type { StoreContext } from './context.ts'
import { listImageMounts, removeStaleMounts } from './image-mounts.ts'
import { parsePartialName } from './layout.ts'
import { removeTree } from './remove-tree.ts'
import type { GcResult } from './types.ts'

/**
 * Removes what sessions of processes that are gone have left. A session is dead if its byte is free.
 * Rejects with the first thing that could not be removed, after all the others.
 */
export async function sweepDeadSessions(context: StoreContext, signal: AbortSignal): Promise<void> {
  const { layout, database, locks } = context
  const failures: unknown[] = []
  for (const id of new Set([...database.listSessions(), ...(await readdir(layout.ingests))])) {
    if (signal.aborted) return
    using lock = locks.try('session', id)
    if (lock !== undefined) await removeSession(context, id, signal).catch(error => failures.push(error))
  }
  if (failures.length > 0) throw failures[0]
}

/** The row goes first: whatever cannot be removed must not keep the session's leases alive. */
async function removeSession(context: StoreContext, id: string, signal: AbortSignal): Promise<void> {
  const { layout, database } = context
  const cacheIds = database.listUnfinishedCacheIds(id)
  database.transaction(() => database.deleteSession(id))
  for (const cacheId of cacheIds) await withdrawLayer(context, cacheId, layout.ingest(id))
  await removeTree(layout.ingest(id), signal)
}

/** Moves a layer back that was renamed into place and has got no row: its process died, or could not write it. Its name is random: nobody else takes it up again. */
export async function withdrawLayer({ layout }: StoreContext, cacheId: string, trash: string): Promise<void> {
  const directory = layout.layer(cacheId)
  const link = readIfThere(join(directory, 'link'))
  if (link !== undefined && /^[A-Z2-7]{26}$/.test(link)) removeIfThere(layout.link(link))
  if (!existsSync(directory)) return
  await mkdir(trash, { recursive: true })
  await rename(directory, join(trash, cacheId))
}

/**
 * Moves everything in `overlay2/` and `blobs/` that has no row and no session about to make one to `trash`. Under the write lock of the database,
 * since whoever publishes leases the name before the file gets it.
 */
export function sweepOrphans(context: StoreContext, trash: string): void {
  try {
    context.database.transaction(() => {
      for (const path of listOrphans(context))
        renameSync(path, join(trash, `${randomBytes(6).toString('hex')}-${basename(path).slice(0, 64)}`))
      for (const link of listStrayLinks(context)) unlinkSync(link)
    })
  } catch (error) {
    throw wrapError(error, `Cannot clear out store ${context.layout.root}`)
  }
}

/** Paths in `overlay2/` and `blobs/` that nothing in the database stands for. */
export function listOrphans({ layout, database }: StoreContext): string[] {
  const layers = readdirSync(layout.overlay).filter(name => name !== 'l')
  const blobs = ['sha256', 'sha512'].flatMap(algorithm =>
    readdirSync(join(layout.blobs, algorithm)).map(hex => ({
      path: join(layout.blobs, algorithm, hex),
      digest: `${algorithm}:${hex}`,
    })),
  )
  const knownLayers = database.listKnownCacheIds()
  const knownBlobs = database.listKnownBlobs()
  return [
    ...layers.filter(name => !knownLayers.has(name)).map(name => layout.layer(name)),
    ...blobs.filter(({ digest }) => !isDigest(digest) || !knownBlobs.has(digest)).map(({ path }) => path),
  ]
}

/** Symlinks in `overlay2/l/` that lead to no layer. */
export function listStrayLinks({ layout, database }: StoreContext): string[] {
  const links = readdirSync(layout.links).map(name => layout.link(name))
  const known = database.listKnownCacheIds()
  return links.filter(path => {
    const match = /^\.\.\/([0-9a-f]{64})\/diff$/.exec(readLinkIfThere(path) ?? '')
    return match?.[1] === undefined || !known.has(match[1])
  })
}

/** Removes partials that nobody is writing and that were last written at least `idleMs` ago. */
async function removePartials(context: StoreContext, idleMs: number): Promise<{ count: number; bytes: number }> {
  const { layout, locks } = context
  let count = 0
  let bytes = 0
  for (const name of await readdir(layout.partials)) {
    const path = join(layout.partials, name)
    using lock = locks.try('blob', parsePartialName(name) ?? name)
    const facts = lock && (await stat(path).catch(() => undefined))
    if (facts === undefined || (idleMs > 0 && Date.now() - facts.mtimeMs < idleMs)) continue
    await unlink(path)
    count += 1
    bytes += facts.size
  }
  return { count, bytes }
}

function readIfThere(path: string): string | undefined {
  return ifThere(() => readFileSync(path, 'utf8'))
}

function readLinkIfThere(path: string): string | undefined {
  return ifThere(() => readlinkSync(path))
}

function removeIfThere(path: string): void {
  ifThere(() => unlinkSync(path))
}

function ifThere<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'EINVAL') return undefined
    throw error
  }
}

/** Options of a collection. */
export interface GcOptions {
  /** Partials that were last written less than this ago stay, since the next pull resumes them; 0 keeps only those in use. Default: one day. */
  readonly partialIdleMs?: number
  /** Also removes images that have no tag any more and were not pulled by digest alone. */
  readonly dangling?: boolean
}

const partialIdleMs = 24 * 60 * 60 * 1000

/**
 * Frees all that no image and no living session needs; what is moved out of the way goes with the caller's session.
 * Fails on what dead sessions left and cannot be removed, after everything else.
 */
export async function collect(
  context: StoreContext,
  session: { readonly directory: string; readonly swept: Promise<void> },
  options: GcOptions,
): Promise<GcResult> {
  const { database } = context
  const [swept] = await Promise.allSettled([session.swept])
  const { blobs, layers } = database.transaction(() => {
    if (options.dangling === true) deleteDangling(context)
    const layers = database.deleteUnneededLayers() // before the blobs, which layers need
    return { blobs: database.deleteUnneededBlobs(), layers }
  })
  await database.flush()
  sweepOrphans(context, session.directory)
  const partials = await removePartials(context, options.partialIdleMs ?? partialIdleMs)
  await removeStaleMounts(context)
  if (swept.status === 'rejected') throw swept.reason
  const bytes = [...blobs, ...layers].reduce((sum, row) => sum + row.size, partials.bytes)
  return { blobs: blobs.length, layers: layers.length, partials: partials.count, bytesFreed: bytes }
}

/** What is mounted stays, in whatever namespace. */
function deleteDangling(context: StoreContext): void {
  const { database } = context
  const dangling = database.listImages().filter(image => image.names.length === 0 && image.repoDigests.length === 0)
  if (dangling.length === 0) return
  const mounted = new Set(listImageMounts(context, readMountsEverywhere()).map(({ imageId }) => imageId))
  for (const image of dangling) if (!mounted.has(image.id)) database.deleteImage(image.digest)
}
