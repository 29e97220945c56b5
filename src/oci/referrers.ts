import { type Digest, digestAlgorithm, digestHex } from './digest.ts'

/** Distribution-spec, "Referrers Tag Schema": the index of what refers to a digest, where a registry has no API for it. Parts are cut to fit a tag. */
export function referrersTag(digest: Digest): string {
  return `${digestAlgorithm(digest).slice(0, 32)}-${digestHex(digest).slice(0, 64)}`
}

/** What cosign puts behind it for signatures, attestations and bills of materials. */
const cosignSuffixes = ['sig', 'att', 'sbom'] as const

/** The tags by which cosign finds what belongs to a digest. */
export function cosignTags(digest: Digest): string[] {
  return cosignSuffixes.map(suffix => `${digestAlgorithm(digest)}-${digestHex(digest)}.${suffix}`)
}

/** True for a tag that names no image, but what refers to one. */
export function isReferrersTag(tag: string): boolean {
  return /^sha(256|512)-[0-9a-f]{64,128}(\.(sig|att|sbom))?$/.test(tag)
}
