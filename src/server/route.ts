import { type Digest, isDigest } from '../oci/digest.ts'

/** What a request's path asks for. Names, tags and digests in it are checked: they may become paths. */
export type Route =
  | { readonly kind: 'base' }
  | { readonly kind: 'tags'; readonly name: string }
  | { readonly kind: 'manifest'; readonly name: string; readonly reference: ManifestReference }
  | { readonly kind: 'blob'; readonly name: string; readonly digest: Digest }
  | { readonly kind: 'uploads'; readonly name: string }
  | { readonly kind: 'upload'; readonly name: string; readonly id: string }
  | { readonly kind: 'invalid'; readonly what: 'name' | 'reference' | 'digest' | 'path' }

export type ManifestReference = { readonly digest: Digest } | { readonly tag: string }

/** OCI distribution-spec, "Pulling manifests": the grammar of names. No component can be `..` or start with `_`. */
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const namePattern = new RegExp(`^${component}(?:/${component})*$`)
/** Clients leave that much room for the name in a reference; a longer one could also exceed a path. */
const nameLengthMax = 255
const tagPattern = /^\w[\w.-]{0,127}$/
const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Reads the path of a URL under `/v2/`. */
export function parseRoute(path: string): Route {
  if (path === '/v2/' || path === '/v2') return { kind: 'base' }
  const match = /^\/v2\/(.+?)\/(?:(tags)\/list|(manifests)\/([^/]+)|(blobs)\/([^/]+)|blobs\/(uploads)\/([^/]*))$/.exec(
    path,
  )
  if (match === null) return { kind: 'invalid', what: 'path' }
  const [, name = '', tags, manifests, reference = '', blobs, digest = '', , id = ''] = match
  if (name.length > nameLengthMax || !namePattern.test(name)) return { kind: 'invalid', what: 'name' }
  if (tags !== undefined) return { kind: 'tags', name }
  if (manifests !== undefined) return parseManifestRoute(name, reference)
  if (blobs !== undefined) return parseBlobRoute(name, digest)
  if (id === '') return { kind: 'uploads', name }
  return idPattern.test(id) ? { kind: 'upload', name, id } : { kind: 'invalid', what: 'path' }
}

function parseManifestRoute(name: string, reference: string): Route {
  if (isDigest(reference)) return { kind: 'manifest', name, reference: { digest: reference } }
  if (tagPattern.test(reference)) return { kind: 'manifest', name, reference: { tag: reference } }
  return { kind: 'invalid', what: 'reference' }
}

function parseBlobRoute(name: string, digest: string): Route {
  // Clients may leave out the slash after `uploads`.
  if (digest === 'uploads') return { kind: 'uploads', name }
  return isDigest(digest) ? { kind: 'blob', name, digest } : { kind: 'invalid', what: 'digest' }
}

/**
 * A Range header over `size` bytes (RFC 9110, section 14.1.2) as start and end, the first byte left out; `unsatisfiable` if it lies
 * outside; undefined, which means everything, for what may be ignored: other units, several ranges, nonsense.
 */
export function parseRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '')
  if (match === null) return undefined
  const [, first = '', last = ''] = match
  if (first === '' && last === '') return undefined
  if (first === '')
    return last === '0' || size === 0 ? 'unsatisfiable' : { start: Math.max(0, size - Number(last)), end: size }
  if (last !== '' && Number(last) < Number(first)) return undefined
  if (Number(first) >= size) return 'unsatisfiable'
  return { start: Number(first), end: last === '' ? size : Math.min(size, Number(last) + 1) }
}
