import { WindlassError } from '../../errors.ts'
import type { Digest } from '../../oci/digest.ts'
import { formatReference, parseReference, type Reference, repositoryName } from '../../oci/reference.ts'
import type { StoreDatabase } from './database.ts'
import type { ImageRecord } from './types.ts'

/** Fewer hex digits than this are no image ID: words such as `add` would be. */
const prefixLengthMin = 4

/**
 * What a text means in the store: a name (a full reference with a tag), a repository with a digest, or image IDs. Several images under one ID differ in
 * their manifests only, as when one was pushed with another compression.
 */
export type Found =
  | { readonly by: 'name'; readonly reference: string; readonly image: ImageRecord }
  | { readonly by: 'digest'; readonly repository: string; readonly image: ImageRecord }
  | { readonly by: 'id'; readonly images: readonly [ImageRecord, ...ImageRecord[]] }

/**
 * Finds images as docker does: a name first, then an ID or the beginning of one, with or without `sha256:`.
 * @throws WindlassError NOT_FOUND; FAILED if the beginning fits several images; REFERENCE_INVALID for text that is neither name nor ID
 */
export function findInStore(database: StoreDatabase, root: string, text: string): Found {
  const idText = parseIdPrefix(text)
  const named =
    idText?.bare === false || text.length === 64 ? undefined : findNamed(database, text, idText !== undefined)
  const found = named ?? (idText && findById(database, idText.prefix, text))
  if (found !== undefined) return found
  throw new WindlassError('NOT_FOUND', `Cannot find image ${text}: there is none in store ${root}`, {
    hint: "see 'windlass images' for what is there, or pull it",
  })
}

function parseIdPrefix(text: string): { prefix: string; bare: boolean } | undefined {
  const match = /^(sha256:)?([0-9a-f]{1,64})$/.exec(text)
  const hex = match?.[2]
  return hex === undefined || hex.length < prefixLengthMin
    ? undefined
    : { prefix: `sha256:${hex}`, bare: match?.[1] === undefined }
}

function findNamed(database: StoreDatabase, text: string, mayBeId: boolean): Found | undefined {
  const reference = tryParse(text, mayBeId)
  if (reference === undefined) return undefined
  if (reference.digest !== undefined) return findByDigest(database, repositoryName(reference), reference.digest)
  const full = formatReference(reference)
  const name = database.findName(full)
  const image = name && database.findImage(name.image)
  return image && { by: 'name', reference: full, image }
}

function tryParse(text: string, mayBeId: boolean): Reference | undefined {
  try {
    return parseReference(text)
  } catch (error) {
    if (mayBeId) return undefined
    throw error
  }
}

function findByDigest(database: StoreDatabase, repository: string, digest: Digest): Found | undefined {
  const manifest = database.findRepoDigest(repository, digest)
  const image = manifest && database.findImage(manifest)
  return image && { by: 'digest', repository, image }
}

function findById(database: StoreDatabase, prefix: string, text: string): Found | undefined {
  const [first, ...others] = database.listImagesByPrefix(prefix)
  if (first === undefined) return undefined
  const ids = new Set([first, ...others].map(image => image.id))
  if (ids.size === 1) return { by: 'id', images: [first, ...others] }
  const list = [...ids].map(id => id.slice('sha256:'.length, 'sha256:'.length + 12)).join(', ')
  throw new WindlassError(
    'FAILED',
    `Cannot find image ${text}: it is the beginning of ${ids.size} image IDs (${list}); wanted more digits`,
  )
}
