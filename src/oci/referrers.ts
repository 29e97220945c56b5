import type { Descriptor } from './descriptor.ts'
import { type Digest, digestAlgorithm, digestHex } from './digest.ts'

/** Distribution-spec, "Referrers Tag Schema": the index of what refers to a digest, where a registry has no API for it. Parts are cut to fit a tag. */
export function referrersTag(digest: Digest): string {
  return `${digestAlgorithm(digest).slice(0, 32)}-${digestHex(digest).slice(0, 64)}`
}

/** What cosign puts behind it for signatures, attestations and bills of materials. */
const cosignSuffixes = ['sig', 'att', 'sbom'] as const

/** The tags by which cosign finds what belongs to a digest. */
export function cosignTags(digest: Digest): string[] {
  return cosignSuffixes.map(suffix => cosignTag(digest, suffix))
}

function cosignTag(digest: Digest, suffix: string): string {
  return `${digestAlgorithm(digest)}-${digestHex(digest)}.${suffix}`
}

const cosignKind = 'dev.cosignproject.cosign/'
const kindSuffixes: ReadonlyMap<string, string> = new Map([
  [`${cosignKind}sigs`, 'sig'],
  [`${cosignKind}atts`, 'att'],
  [`${cosignKind}sboms`, 'sbom'],
])

/** The layouts that `cosign save` writes hold one image, and what belongs to it by an annotation `kind`. */
export function isCosignPart({ annotations }: Descriptor): boolean {
  return kindSuffixes.has(annotations?.['kind'] ?? '')
}

/** The image of such a layout; undefined if it is of another kind, or has several. */
export function cosignImage(entries: readonly Descriptor[]): Digest | undefined {
  const isImage = (entry: Descriptor) =>
    /^dev\.cosignproject\.cosign\/image(Index)?$/.test(entry.annotations?.['kind'] ?? '')
  const images = entries.filter(isImage)
  return images.length === 1 ? images[0]?.digest : undefined
}

/** The tag that such a part of an image has at a registry; undefined if it is none. */
export function cosignPartTag(part: Descriptor, image: Digest): string | undefined {
  const suffix = kindSuffixes.get(part.annotations?.['kind'] ?? '')
  return suffix === undefined ? undefined : cosignTag(image, suffix)
}

/** True for a tag that names no image, but what refers to one. */
export function isReferrersTag(tag: string): boolean {
  return /^sha(256|512)-[0-9a-f]{64,128}(\.(sig|att|sbom))?$/.test(tag)
}
