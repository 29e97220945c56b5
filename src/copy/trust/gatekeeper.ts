import type { RetryOptions } from '../../flow/retry.ts'
import type { Digest } from '../../oci/digest.ts'
import { formatFamiliar, type Reference } from '../../oci/reference.ts'
import type { Document, Source } from '../../places/place.ts'
import type { PolicySubject } from './policy.ts'

/** An image whose documents are here, verified; nothing else of it is. */
export interface ImageToCheck {
  readonly name: string
  /** What it is asked for under, for the names in signatures. */
  readonly reference: Reference | undefined
  /** From what the name will mean down to the manifest. The first must be signed: its signature is one of all below it, which it names by digest. */
  readonly documents: readonly [Document, ...Document[]]
  /** Where signatures are looked for. */
  readonly sources: readonly Source[]
}

/** Decides what may come in: asked with the documents of an image, before the first of its layers is fetched. */
export interface Gatekeeper {
  /**
   * @returns what to tell of the decision, if it was for a signature
   * @throws WindlassError POLICY_REFUSED, naming the rule; what looking for signatures throws
   */
  check(image: ImageToCheck, subject: PolicySubject, retrying: RetryOptions): Promise<string | undefined>
}

/** The name of an image, and what it leads to. */
export function nameWithDigest({ digest: _, ...bare }: Reference, digest: Digest | undefined): string {
  return `${formatFamiliar(bare)}@${digest}`
}
