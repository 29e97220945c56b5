import { readFile } from 'node:fs/promises'
import { WindlassError, wrapError } from '../../errors.ts'
import type { RetryOptions } from '../../flow/retry.ts'
import type { Reference } from '../../oci/reference.ts'
import { type Claim, noClaim, readClaim } from './claim.ts'
import { findSignatures } from './find-signatures.ts'
import type { Gatekeeper, ImageToCheck } from './gatekeeper.ts'
import { checkIdentity, type SignedIdentity } from './identity.ts'
import { type PublicKey, parsePublicKey } from './keys.ts'
import { findRule, type KeySource, type Policy, type PolicyRule, type Requirement } from './policy.ts'

/** A signature that counts. */
export interface CheckedSignature extends Claim {
  readonly form: string
  /** Of the blob that holds it. */
  readonly signature: string
}

export interface SignatureRule {
  readonly keys: readonly PublicKey[]
  readonly identity: SignedIdentity
  /** A signature that names no repository at all counts, too. */
  readonly mayBeNameless?: boolean
}

export interface CheckOptions extends RetryOptions {
  /** Told of signatures that were not looked at, where others counted: they are damaged, or too many. */
  readonly onSkipped?: (message: string) => void
}

/**
 * The signatures that fit a rule of the first document of an image, which is what its name will mean; at least one.
 * @throws WindlassError SIGNATURE_INVALID, saying of each why it does not count; what a place throws, if none was found
 */
export async function checkSignatures(
  image: ImageToCheck,
  { keys, identity, mayBeNameless = false }: SignatureRule,
  { onSkipped, ...retrying }: CheckOptions,
): Promise<CheckedSignature[]> {
  const good: CheckedSignature[] = []
  const reasons: string[] = []
  const skipped: string[] = []
  let failure: unknown
  const [{ descriptor, bytes }] = image.documents
  for (const source of image.sources) {
    const found = await findSignatures(source, descriptor.digest, retrying).catch(error => {
      failure = error
      return { signatures: [], skipped: [] }
    })
    skipped.push(...found.skipped)
    for (const signature of found.signatures) {
      const claim = await readClaim(signature, { digest: descriptor.digest, bytes }, keys)
      if (typeof claim === 'string') {
        reasons.push(`${signature.digest}: ${claim}`)
        continue
      }
      const isNameless = mayBeNameless && claim.identity === undefined
      const state = isNameless ? undefined : checkIdentity(identity, image.reference, claim.identity)
      if (state !== undefined) reasons.push(`${signature.digest}: ${state}`)
      else good.push({ ...claim, form: signature.form, signature: signature.digest })
    }
  }
  if (good.length > 0) {
    for (const message of new Set(skipped)) onSkipped?.(message)
    return good
  }
  retrying.signal.throwIfAborted()
  // Who cannot be asked may have the signature: that is no answer.
  if (failure !== undefined) throw failure
  throw noClaim(image.name, [...new Set([...skipped, ...reasons])])
}

/** A gatekeeper that goes by a policy. Its keys are read when a rule wants them. */
export function openGatekeeper(policy: Policy): Gatekeeper {
  return {
    check: async (asked, { transport, reference: name }, retrying) => {
      const reference = withoutForeignDigest(name, asked)
      const image = { ...asked, reference }
      const rule = findRule(policy, { transport, reference })
      let told: string | undefined
      for (const requirement of rule.requirements)
        told = (await checkRequirement({ policy, rule, image, retrying }, requirement)) ?? told
      return told
    },
  }
}

/** An archive may call its image by a digest that is another image's: neither rule nor signature is found by that. */
function withoutForeignDigest(reference: Reference | undefined, { documents }: ImageToCheck): Reference | undefined {
  if (reference?.digest === undefined) return reference
  const { digest, ...bare } = reference
  return documents.some(({ descriptor }) => descriptor.digest === digest) ? reference : bare
}

interface Question {
  readonly policy: Policy
  readonly rule: PolicyRule
  readonly image: ImageToCheck
  readonly retrying: RetryOptions
}

/** All that a rule lists must hold. */
async function checkRequirement(question: Question, requirement: Requirement): Promise<string | undefined> {
  const { image, retrying, policy, rule } = question
  if (requirement.type === 'insecureAcceptAnything') return undefined
  if (requirement.type === 'reject') throw refuse(question, 'it refuses all images', `allow it in ${policy.path}`)
  if (requirement.type === 'unsupported') {
    const hint = `windlass checks signatures by public keys (sigstoreSigned with keyPath or keyData): change the rule in ${policy.path}`
    throw refuse(question, `${requirement.state}, which windlass cannot check`, hint)
  }
  const keys = []
  for (const key of requirement.keys) keys.push(await readKey(key, question))
  try {
    const skipped: string[] = []
    const asking = { ...retrying, onSkipped: (message: string) => void skipped.push(message) }
    const [signature] = await checkSignatures(image, { keys, identity: requirement.identity }, asking)
    const beside = skipped.length === 0 ? '' : `; left out: ${skipped.slice(0, 5).join('; ')}`
    return `${image.name} is signed by ${signature?.key.name}, as ${policy.path} demands (${rule.scope})${beside}`
  } catch (error) {
    if (!(error instanceof WindlassError) || error.code !== 'SIGNATURE_INVALID') throw error
    const state = error.message.replace(/^Cannot verify .*?: (?=it has|none of)/, '')
    const hint = image.sources.some(({ listReferrers }) => listReferrers !== undefined)
      ? `sign ${image.documents[0].descriptor.digest} with that key, or copy its signatures along (copy --referrers); the rule stands in ${policy.path}`
      : `this place holds no signatures; use a registry or an OCI archive, or allow it in ${policy.path}`
    throw refuse(question, state, hint, error)
  }
}

function refuse({ policy, rule, image }: Question, state: string, hint: string, cause?: unknown): WindlassError {
  const message = `Cannot let in ${image.name}: the rule ${JSON.stringify(rule.scope)} of ${policy.path}: ${state}`
  const signatures = cause instanceof WindlassError ? cause.facts['signatures'] : undefined
  const facts = { policy: policy.path, rule: rule.scope, ...(signatures !== undefined && { signatures }) }
  return new WindlassError('POLICY_REFUSED', message, { hint, cause, facts })
}

/** A policy with a key that is no key is as useless as one that cannot be read. */
async function readKey(source: KeySource, question: Question): Promise<PublicKey> {
  try {
    if ('pem' in source) return parsePublicKey(source.pem, `of the rule ${JSON.stringify(question.rule.scope)}`)
    return await readPublicKey(source.path)
  } catch (error) {
    throw refuse(question, (error as Error).message, `mend the key; the rule stands in ${question.policy.path}`, error)
  }
}

/** @throws WindlassError USAGE, FAILED, PERMISSION */
export async function readPublicKey(path: string): Promise<PublicKey> {
  const pem = await readFile(path).catch(error => Promise.reject(wrapError(error, `Cannot use key ${path}`)))
  return parsePublicKey(pem, path)
}
