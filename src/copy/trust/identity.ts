import { isWindlassError } from '../../errors.ts'
import { parseReference, type Reference, repositoryName } from '../../oci/reference.ts'

/** What the name in a signature must be (containers-policy.json(5), "signedIdentity"), and `matchDigest`, for which its digest is enough. */
export type SignedIdentity =
  | { readonly type: 'matchExact' | 'matchRepoDigestOrExact' | 'matchRepository' | 'matchDigest' }
  | { readonly type: 'exactReference'; readonly dockerReference: string }
  | { readonly type: 'exactRepository'; readonly dockerRepository: string }
  | { readonly type: 'remapIdentity'; readonly prefix: string; readonly signedPrefix: string }

/**
 * Whether a signature that names `signed` is one for `reference`.
 * @returns undefined if it is, or why not
 */
export function checkIdentity(
  rule: SignedIdentity,
  reference: Reference | undefined,
  signed: string | undefined,
): string | undefined {
  if (rule.type === 'matchDigest') return undefined
  if (signed === undefined) return `it names no repository, as the bundles of cosign do; ${rule.type} wants one`
  const actual = tryParse(signed)
  if (actual === undefined) return `it names ${JSON.stringify(signed)}, which is no reference`
  const wanted = wantedOf(rule, reference)
  if (wanted === undefined) return `the image has no name that ${rule.type} could compare`
  return matches(wanted, actual) ? undefined : `it is for ${signed}; ${rule.type} wants ${formatWanted(wanted)}`
}

/** The repository, and where more is asked for, tag or digest. */
interface Wanted {
  readonly reference: Reference
  readonly byRepository: boolean
}

function wantedOf(rule: SignedIdentity, reference: Reference | undefined): Wanted | undefined {
  switch (rule.type) {
    case 'exactReference':
      return wanted(tryParse(rule.dockerReference), false)
    case 'exactRepository':
      return wanted(tryParse(rule.dockerRepository), true)
    case 'matchRepository':
      return wanted(reference, true)
    case 'remapIdentity':
      return reference && wanted(remap(rule, reference), reference.digest !== undefined)
    case 'matchExact':
      return wanted(reference?.tag === undefined ? undefined : reference, false)
    default:
      return reference && wanted(reference, reference.digest !== undefined)
  }
}

function wanted(reference: Reference | undefined, byRepository: boolean): Wanted | undefined {
  return reference && { reference, byRepository }
}

/** A whole host, or whole parts of a path, are exchanged for others. */
function remap({ prefix, signedPrefix }: { prefix: string; signedPrefix: string }, reference: Reference) {
  const name = repositoryName(reference)
  if (name !== prefix && !name.startsWith(`${prefix}/`)) return reference
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`
  return tryParse(`${signedPrefix}${name.slice(prefix.length)}${tag}`)
}

function matches({ reference, byRepository }: Wanted, actual: Reference & { isBare: boolean }): boolean {
  if (repositoryName(reference) !== repositoryName(actual)) return false
  return byRepository || (!actual.isBare && reference.tag === actual.tag)
}

function formatWanted({ reference, byRepository }: Wanted): string {
  return byRepository ? repositoryName(reference) : `${repositoryName(reference)}:${reference.tag}`
}

/** A name without a tag means no tag here, not latest. */
function tryParse(text: string): (Reference & { isBare: boolean }) | undefined {
  try {
    const isBare = !/:[\w][\w.-]*$/.test(text.slice(text.lastIndexOf('/') + 1).replace(/@.*/, ''))
    return { ...parseReference(text), isBare }
  } catch (error) {
    if (isWindlassError(error)) return undefined
    throw error
  }
}
