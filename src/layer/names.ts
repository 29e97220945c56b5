import { WindlassError } from '../errors.ts'
import { showName } from '../tar/entry.ts'

/**
 * Names within a layer are byte strings (one character per byte), relative to the layer's root, clean: no leading slash, no empty,
 * `.` or `..` component. The root itself is ''.
 */

const unclean = /(?:^|\/)\.{0,2}(?:\/|$)/

/** Cleans the name of a tar entry lexically, as Go's path.Clean does; `..` at the root stays at the root. */
export function cleanName(name: string): string {
  let start = 0
  if (name.startsWith('./')) start = 2
  while (name[start] === '/') start++
  let end = name.length
  while (end > start && name[end - 1] === '/') end--
  const plain = name.slice(start, end)
  if (plain === '' || plain === '.') return ''
  return unclean.test(plain) ? cleanComponents(plain) : plain
}

function cleanComponents(name: string): string {
  const clean: string[] = []
  for (const component of name.split('/')) {
    if (component === '..') clean.pop()
    else if (component !== '' && component !== '.') clean.push(component)
  }
  return clean.join('/')
}

/** The directory that a clean name stands in: '' for the root. */
export function parentName(name: string): string {
  const slash = name.lastIndexOf('/')
  return slash < 0 ? '' : name.slice(0, slash)
}

/** The last component of a clean name. */
export function baseName(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1)
}

/** True for the name itself, and for all that stands below it. Everything is below the root. */
export function isAtOrUnder(name: string, directory: string): boolean {
  return directory === '' || name === directory || name.startsWith(`${directory}/`)
}

/** What the name of an entry means to a union of layers (OCI image-spec, layer.md, "Whiteouts"). */
export type Whiteout =
  | { readonly kind: 'none' }
  /** The entry hides `hidden` (a sibling) of the layers below. */
  | { readonly kind: 'whiteout'; readonly hidden: string }
  /** The entry hides everything that the layers below have in its directory. */
  | { readonly kind: 'opaque' }
  /** aufs' own bookkeeping: nothing of the image. */
  | { readonly kind: 'metadata' }

/** Where aufs keeps files that have several names. No entry can make anything else of this name. */
export const aufsLinks = '.wh..wh.plnk'

const none: Whiteout = { kind: 'none' }

/** @throws WindlassError CORRUPT for a whiteout that names nothing, `.` or `..` */
export function parseWhiteout(name: string): Whiteout {
  if (!name.includes('.wh.')) return none
  if (/(?:^|\/)\.wh\.\.wh\./.test(name))
    return /^(?!.*\.wh\.\.wh\..*\/).*\.wh\.\.wh\.\.opq$/s.test(name) ? { kind: 'opaque' } : { kind: 'metadata' }
  const base = baseName(name)
  if (!base.startsWith('.wh.')) return none
  const hidden = base.slice(4)
  if (hidden === '' || hidden === '.' || hidden === '..') {
    throw new WindlassError('CORRUPT', `Cannot apply whiteout ${showName(name)}: it names no file`)
  }
  return { kind: 'whiteout', hidden }
}
