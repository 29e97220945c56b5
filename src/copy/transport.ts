import { isWindlassError, WindlassError } from '../errors.ts'
import { quote } from '../oci/quote.ts'
import { parseReference, type Reference } from '../oci/reference.ts'

/** A place and what is meant in it, in skopeo's words (containers-transports(5)), and our `store:`. */
export type Transport =
  | { readonly kind: 'docker'; readonly reference: Reference }
  | { readonly kind: 'store'; readonly text: string }
  /** An engine of this host; of docker and podman, an ID will do. */
  | { readonly kind: 'docker-daemon' | 'containers-storage'; readonly text: string }
  | { readonly kind: 'containerd'; readonly reference: Reference }
  /** An OCI layout, or a tar of one; `name` is what its index calls the image. */
  | { readonly kind: 'oci'; readonly path: string; readonly name: string | undefined }
  | { readonly kind: 'oci-archive'; readonly path: string; readonly name: string | undefined }
  | { readonly kind: 'docker-archive'; readonly path: string; readonly reference: Reference | undefined }

const words =
  'docker://REF, store:REF, oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:REF], docker-daemon:REF, containerd:REF or containers-storage:REF'

/**
 * Reads what `copy` takes for SRC and DEST.
 * @throws WindlassError USAGE, REFERENCE_INVALID
 */
export function parseTransport(text: string): Transport {
  const at = text.indexOf(':')
  const kind = text.slice(0, Math.max(at, 0))
  const rest = text.slice(at + 1)
  const refuse = (state: string): WindlassError =>
    new WindlassError('USAGE', `Cannot use place ${quote(text)}: ${state}; wanted ${words}`)
  if (kind === 'docker') {
    if (!rest.startsWith('//')) throw refuse("after docker: there is no '//'")
    return { kind, reference: parseReference(rest.slice(2)) }
  }
  if (kind === 'store') return { kind, text: rest }
  if (kind === 'containerd') return { kind, reference: parseReference(rest) }
  if (kind === 'docker-daemon' || kind === 'containers-storage') {
    if (rest === '' || rest.startsWith('-') || rest.startsWith('[')) throw refuse('it names no image')
    return { kind, text: rest }
  }
  if (kind !== 'oci' && kind !== 'oci-archive' && kind !== 'docker-archive') throw refuse('it names no known place')
  const [path, name] = cut(rest)
  if (path === '') throw refuse('the path is missing')
  if (kind !== 'docker-archive') return { kind, path, name }
  return { kind, path, reference: name === undefined ? undefined : parseReference(name) }
}

/** The full name that an image has in a place, or gets there; undefined where it has none. */
export function nameIn(place: Transport): Reference | undefined {
  if ('reference' in place) return place.reference
  const text = 'text' in place ? place.text : place.name
  // The name in a layout may be a bare tag, which names no repository.
  if (text === undefined || ('name' in place && !/[:/]/.test(text))) return undefined
  try {
    return parseReference(text)
  } catch (error) {
    if (isWindlassError(error)) return undefined
    throw error
  }
}

const placeWord = /^(docker|store|containerd|docker-daemon|containers-storage|oci|oci-archive|docker-archive):/

/** An image to be read: in a place, or, without a place's word, of the store. @throws WindlassError USAGE, REFERENCE_INVALID */
export function parseImage(text: string): Transport {
  return placeWord.test(text) ? parseTransport(text) : { kind: 'store', text }
}

function cut(text: string): [path: string, name: string | undefined] {
  const at = text.indexOf(':')
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}
