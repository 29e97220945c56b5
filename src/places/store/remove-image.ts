import { WindlassError } from '../../errors.ts'
import type { Digest } from '../../oci/digest.ts'
import { parseReference, repositoryName } from '../../oci/reference.ts'
import type { StoreDatabase } from './database.ts'
import type { Found } from './find-image.ts'
import type { ImageRecord } from './types.ts'

/** What taking an image away means: which names go, and which images go with their last name. */
export interface Removal {
  readonly names: readonly string[]
  /** Repository and manifest of repository digests. */
  readonly repoDigests: readonly { readonly repository: string; readonly image: ImageRecord }[]
  readonly images: readonly ImageRecord[]
}

/**
 * Decides as `docker rmi` does. A name is taken away; the image goes with its last tag. Its repository digests do not keep it: they go with the last tag
 * of their repository. By ID, the image goes with all its names, which must be one at most unless forced.
 * @throws WindlassError FAILED if an ID has several names and `force` is not set
 */
export function planRemoval(found: Found, text: string, force: boolean): Removal {
  if (found.by === 'id') return planRemovalById(found.images, text, force)
  const { image } = found
  const goneName = found.by === 'name' ? found.reference : undefined
  const names = image.names.filter(name => name !== goneName)
  if (found.by === 'digest' && names.length > 0) {
    return { names: [], repoDigests: [{ repository: found.repository, image }], images: [] }
  }
  if (names.length === 0) return { names: image.names, repoDigests: listRepositories(image), images: [image] }
  const kept = new Set(names.map(name => repositoryName(parseReference(name))))
  return {
    names: goneName === undefined ? [] : [goneName],
    repoDigests: listRepositories(image).filter(
      ({ repository }) => goneName !== undefined && !kept.has(repository) && isOf(goneName, repository),
    ),
    images: [],
  }
}

function planRemovalById(images: readonly ImageRecord[], text: string, force: boolean): Removal {
  const names = images.flatMap(image => image.names)
  if (names.length > 1 && !force) {
    throw new WindlassError(
      'FAILED',
      `Cannot remove image ${text}: it has ${names.length} names (${names.join(', ')}); wanted one at most`,
      {
        hint: 'remove it by its names, or with --force',
      },
    )
  }
  return { names, repoDigests: images.flatMap(listRepositories), images }
}

function isOf(name: string, repository: string): boolean {
  return repositoryName(parseReference(name)) === repository
}

function listRepositories(image: ImageRecord): { repository: string; image: ImageRecord }[] {
  const repositories = new Set(image.repoDigests.map(text => text.slice(0, text.lastIndexOf('@'))))
  return [...repositories].map(repository => ({ repository, image }))
}

/** Carries a removal out, inside the caller's transaction, and frees the rows of what only these images needed. */
export function applyRemoval(
  database: StoreDatabase,
  removal: Removal,
): { untagged: string[]; deleted: Digest[]; bytesFreed: number } {
  const untagged = [...removal.names]
  for (const name of removal.names) database.deleteName(name)
  for (const { repository, image } of removal.repoDigests) {
    untagged.push(...image.repoDigests.filter(text => text.startsWith(`${repository}@`)))
    database.deleteRepoDigests(repository, image.digest)
  }
  const blobs = removal.images.flatMap(image => database.listImageBlobs(image.digest))
  const layers = removal.images.flatMap(image => image.layers.map(layer => layer.chainId))
  for (const image of removal.images) database.deleteImage(image.digest)
  const freedLayers = database.deleteUnneededLayers(layers)
  const freedBlobs = database.deleteUnneededBlobs([...blobs, ...freedLayers.map(layer => layer.blob)])
  const ids = new Set(removal.images.map(image => image.id))
  return {
    untagged,
    deleted: [...ids, ...freedLayers.map(layer => layer.id)],
    bytesFreed: [...freedBlobs, ...freedLayers].reduce((sum, row) => sum + row.size, 0),
  }
}
