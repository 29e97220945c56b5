import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { WindlassError, wrapError } from '../../errors.ts'
import { type Digest, digestHex, isDigest } from '../../oci/digest.ts'
import { cPath, lgetxattr, MS, SystemError, UMOUNT_NOFOLLOW, umount } from '../../sys/libc.ts'
import {
  isUnder,
  listSafeOverlayOptions,
  type MountPoint,
  mountDataMax,
  mountFrom,
  opaqueXattr,
  readMounts,
  readMountsEverywhere,
} from '../../sys/mounts.ts'
import { isInUserNamespace } from '../../sys/user-namespace.ts'
import type { StoreContext } from './context.ts'
import { removeTree } from './remove-tree.ts'
import type { ImageRecord, LayerRecord, MountRecord, OpenSession } from './types.ts'

/** A mount of this store, with the directory under `mounts/` that belongs to it. */
export interface ImageMount extends MountRecord {
  readonly id: string
}

/** The mounts of this store's images, as the kernel has them: the source of each names store, image and mount. */
export function listImageMounts(context: StoreContext, points: readonly MountPoint[] = readMounts()): ImageMount[] {
  const prefix = formatSource(context)
  return points.flatMap(({ source, target, options }) => {
    if (!source.startsWith(prefix)) return []
    const [hex, id] = source.slice(prefix.length).split(':')
    const imageId = `sha256:${hex}`
    if (id === undefined || !isDigest(imageId)) return []
    return [{ id, target, imageId, readOnly: options.includes('ro') }]
  })
}

/** The beginning of the source of this store's mounts. */
function formatSource({ database }: StoreContext): string {
  return `windlass:${createHash('sha256').update(database.salt).digest('hex').slice(0, 12)}:`
}

/** What is to be mounted, and how. */
export interface MountRequest {
  readonly image: ImageRecord
  readonly target: string | undefined
  readonly readOnly: boolean
  /** The session of a program that outlives the mount: what is mounted under it is in use also where nobody sees it. */
  readonly lease: string | undefined
}

/**
 * Mounts an image, whose layers the session keeps until the mount is there. Who removes the image sees the mount from then on, and removes nothing; an
 * image that was removed before is unmounted again. The mount's directory is named after the session: a collection leaves it alone while that lives.
 * @throws WindlassError NOT_FOUND if the image or a layer of it is no longer in the store
 */
export async function mountLeased(
  context: StoreContext,
  session: OpenSession,
  request: MountRequest,
): Promise<MountRecord> {
  const { image } = request
  const doing = `Cannot mount image ${image.id}`
  for (const { chainId } of image.layers) {
    if (session.findLayer(chainId) === undefined)
      throw new WindlassError('NOT_FOUND', `${doing}: its layer ${chainId} is not in store ${context.layout.root}`, {
        hint: 'pull the image again',
      })
  }
  context.onStep?.('image-leased')
  if (request.lease !== undefined) leaseLayers(context, request.lease, image)
  const record = await mountImage(context, session.id, request)
  if (context.database.transaction(() => context.database.findImage(image.digest)) !== undefined) return record
  await umountImage(context, { ...record, id: session.id })
  throw new WindlassError('NOT_FOUND', `${doing}: it is no longer in store ${context.layout.root}`)
}

/** A lease of another store, or one whose program has ended, is none. */
function leaseLayers({ database }: StoreContext, lease: string, { layers }: ImageRecord): void {
  database.transaction(() => {
    if (!database.listSessions().includes(lease)) return
    for (const { chainId } of layers) database.lease(lease, 'layer', chainId)
  })
}

/**
 * Mounts an image. Without a target, it goes to a directory of the store, which only root can enter; a target of the caller's may be open to all, so
 * set-user-ID programs and device nodes of the image have no effect there.
 */
async function mountImage(context: StoreContext, id: string, request: MountRequest): Promise<MountRecord> {
  const { image, target, readOnly, lease } = request
  const doing = `Cannot mount image ${image.id}`
  const directory = context.layout.mount(id)
  const names = readOnly ? ['merged'] : ['merged', 'upper', 'work']
  try {
    for (const path of [directory, ...names.map(name => join(directory, name))])
      makeExactly(path, path === directory ? 0o700 : 0o755)
    if (lease !== undefined) writeFileSync(join(directory, leaseName), lease)
    const place = target === undefined ? join(directory, 'merged') : makeTarget(context, target)
    const source = `${formatSource(context)}${digestHex(image.id)}:${id}`
    const flags = (readOnly ? MS.RDONLY : 0) | (target === undefined ? 0 : MS.NOSUID | MS.NODEV)
    const filesystem = planFilesystem(image, id, readOnly)
    await mountFrom({ directory: context.layout.overlay, source, target: place, flags, ...filesystem })
    return { target: place, imageId: image.id, readOnly }
  } catch (error) {
    await removeTree(directory)
    if (isInUserNamespace && error instanceof SystemError && error.code === 'EPERM') {
      const state = 'this kernel mounts overlays for root of the host alone; wanted that, or Linux 5.11'
      throw new WindlassError('UNSUPPORTED', `${doing}: ${state}`, {
        cause: error,
        hint: "unpack it into a directory with 'windlass unpack'",
      })
    }
    throw wrapError(error, doing)
  }
}

/** The file of a mount's directory that says under whose lease it was made. */
const leaseName = 'lease'

/** True if the mount was made under the lease of a program that lives. */
function isLeased({ layout, locks }: StoreContext, id: string): boolean {
  const lease = readIfThere(join(layout.mount(id), leaseName))
  if (lease === undefined) return false
  using lock = locks.try('session', lease)
  return lock === undefined
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

function makeExactly(path: string, mode: number): void {
  mkdirSync(path)
  chmodSync(path, mode)
}

function makeTarget({ layout }: StoreContext, target: string): string {
  mkdirSync(target, { recursive: true })
  const real = realpathSync(target)
  if (isUnder(real, layout.root) || isUnder(layout.root, real)) {
    throw new WindlassError(
      'FAILED',
      `Cannot mount on ${real}: it would hide the store; wanted a directory outside ${layout.root}`,
    )
  }
  return real
}

/**
 * Always overlay, also for one layer: a bind mount would show whiteouts of the lowest layer as device nodes. Without an upper directory overlay wants two lower
 * ones, hence the empty one. Nothing to lay over each other: an empty tmpfs.
 */
function planFilesystem(image: ImageRecord, id: string, readOnly: boolean): { type: string; data: string } {
  const lower = listVisible(image).map(layer => `l/${layer.link}`)
  if (lower.length === 0 && readOnly) return { type: 'tmpfs', data: 'size=4k,mode=755' }
  if (lower.length < (readOnly ? 2 : 1)) lower.push('../empty')
  const upper = readOnly ? [] : [`upperdir=../mounts/${id}/upper`, `workdir=../mounts/${id}/work`]
  const data = [...listSafeOverlayOptions(), `lowerdir=${lower.join(':')}`, ...upper].join(',')
  if (data.length <= mountDataMax) return { type: 'overlay', data }
  throw new WindlassError(
    'LIMIT_EXCEEDED',
    `Cannot mount image ${image.id}: its ${lower.length} layers need ${data.length} bytes of mount options; the kernel takes ${mountDataMax}`,
    { hint: "unpack it into a directory with 'windlass unpack'" },
  )
}

/**
 * The layers, topmost first, down to the first one whose root is opaque: overlayfs heeds the mark on every directory but the root of a layer (a
 * `.wh..wh..opq` in the image's root directory).
 */
function listVisible(image: ImageRecord): readonly LayerRecord[] {
  const layers = image.layers.toReversed()
  const last = layers.findIndex(layer => isOpaque(layer.diffDirectory))
  return last < 0 ? layers : layers.slice(0, last + 1)
}

function isOpaque(directory: string): boolean {
  return lgetxattr(cPath(directory), cPath(opaqueXattr))?.toString() === 'y'
}

/** Unmounts one mount and removes what belongs to it, its writable layer included. */
export async function umountImage(context: StoreContext, mount: ImageMount): Promise<void> {
  const doing = `Cannot unmount ${mount.target}`
  try {
    umount(mount.target, UMOUNT_NOFOLLOW)
  } catch (error) {
    if (error instanceof SystemError && error.code === 'EBUSY') {
      throw new WindlassError('FAILED', `${doing}: it is in use`, {
        cause: error,
        hint: 'end what works in it; fuser -vm shows it',
      })
    }
    throw wrapError(error, doing)
  }
  const still = listImageMounts(context, readMountsEverywhere()).some(({ id }) => id === mount.id)
  if (!still) await removeTree(context.layout.mount(mount.id))
}

/**
 * The mounts that a text means: the one on this path, or all of an image.
 * @param findImages what the text means as an image; asked only if nothing is mounted on the path
 */
export function selectMounts(context: StoreContext, text: string, findImages: () => readonly Digest[]): ImageMount[] {
  const mounts = listImageMounts(context)
  const path = resolve(text)
  const onPath = mounts.filter(({ target }) => target === path || target === realPathIfThere(path)).slice(-1)
  if (onPath.length > 0) return onPath
  const ids = findImages()
  return mounts.filter(({ imageId }) => imageId !== undefined && ids.includes(imageId))
}

function realPathIfThere(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch {
    return undefined
  }
}

/** Removes the directories of mounts that are no more, as after a reboot. */
export async function removeStaleMounts(context: StoreContext): Promise<void> {
  for (const name of listStale(context, readdirSync(context.layout.mounts))) {
    using lock = context.locks.try('session', name)
    // whoever held the lock a moment ago may have mounted it meanwhile
    if (lock !== undefined && listStale(context, [name]).length > 0) await removeTree(context.layout.mount(name))
  }
}

function listStale(context: StoreContext, names: readonly string[]): string[] {
  if (names.length === 0) return []
  const points = readMountsEverywhere()
  const live = new Set(listImageMounts(context, points).map(({ id }) => id))
  const isUsed = (path: string) => points.some(({ target }) => isUnder(target, path))
  return names.filter(name => !live.has(name) && !isUsed(context.layout.mount(name)) && !isLeased(context, name))
}
