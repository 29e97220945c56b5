import { WindlassError } from '../errors.ts'

declare const digestBrand: unique symbol

/** `algorithm:hex` of the OCI image-spec, checked: safe to use in a path or a URL. Only `parseDigest` makes one. */
export type Digest = string & { readonly [digestBrand]: true }

const hexLengths: Readonly<Record<string, number>> = { sha256: 64, sha512: 128 }

/**
 * Checks a digest string (OCI image-spec, descriptor.md, "Digests"): sha256 or sha512 with lower-case hex of the exact length.
 * @throws WindlassError CORRUPT for any other text
 */
export function parseDigest(text: unknown): Digest {
  if (typeof text === 'string' && isDigest(text)) return text
  throw new WindlassError(
    'CORRUPT',
    `Cannot use digest ${JSON.stringify(text)?.slice(0, 160)}: not sha256: or sha512: with lower-case hex`,
  )
}

/** True if the text is a digest that windlass can verify. */
export function isDigest(text: string): text is Digest {
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(text)
  return match !== null && match[2]?.length === hexLengths[match[1] ?? '']
}

/** The name of the hash, as `node:crypto` knows it: `sha256` or `sha512`. */
export function digestAlgorithm(digest: Digest): string {
  return digest.slice(0, digest.indexOf(':'))
}

/** The hex part of the digest. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1)
}
