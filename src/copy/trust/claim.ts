import { verify } from 'node:crypto'
import { isWindlassError, WindlassError } from '../../errors.ts'
import { type Digest, digestAlgorithm, digestHex, isDigest } from '../../oci/digest.ts'
import { type JsonObject, parseJsonObject, readList, readObject, readString } from '../../oci/json.ts'
import type { PublicKey } from './keys.ts'

/** A signature as it was found: nothing of it is checked. */
export type FoundSignature = {
  /** The digest of the blob that holds it, for messages. */
  readonly digest: Digest
} & (
  | { readonly form: 'simple signing'; readonly payload: Uint8Array; readonly signature: string }
  | { readonly form: 'bundle'; readonly bytes: Uint8Array }
)

/** What a signature says, once it is known to be by a key that is trusted. */
export interface Claim {
  readonly digest: Digest
  /** `host/repo[:tag]`, as the signer wrote it; the bundles of cosign name no repository. */
  readonly identity: string | undefined
  readonly key: PublicKey
}

export const payloadSizeMax = 64 * 1024
export const bundleSizeMax = 1024 * 1024

/** What cosign writes into a payload, and into a statement that is a signature and no attestation: who signed a list of parts has not signed the image. */
const simpleSigningType = 'cosign container image signature'
const statementTypes: ReadonlySet<string> = new Set([
  'https://in-toto.io/Statement/v1',
  'https://in-toto.io/Statement/v0.1',
])
const signPredicate = 'https://sigstore.dev/cosign/sign/v1'
const statementMediaType = 'application/vnd.in-toto+json'

/**
 * Checks a signature with each key, and then reads what it says; never the other way round.
 * @param document the bytes that `digest` names: what a bundle without a statement signs
 * @returns the claim if it is of this digest, or why it does not count
 */
export async function readClaim(
  found: FoundSignature,
  wanted: { readonly digest: Digest; readonly bytes: Uint8Array },
  keys: readonly PublicKey[],
): Promise<Claim | string> {
  try {
    const claim = found.form === 'bundle' ? await readBundle(found, wanted, keys) : readSimple(found, keys)
    if (typeof claim === 'string' || claim.digest === wanted.digest) return claim
    return `it is of another image, ${claim.digest}`
  } catch (error) {
    if (isWindlassError(error)) return error.message
    throw error
  }
}

/** cosign's signature specification: ECDSA and RSA (PKCS#1 v1.5) over SHA-256, Ed25519 over the bytes, in base64. */
function readSimple(
  { payload, signature }: Extract<FoundSignature, { form: 'simple signing' }>,
  keys: readonly PublicKey[],
): Claim | string {
  const key = keys.find(key => isBy(key, payload, Buffer.from(signature, 'base64')))
  if (key === undefined) return notByKey(keys)
  const subject = 'the payload of a signature'
  const critical = readObject(parseJsonObject(payload, subject, payloadSizeMax), 'critical', subject) ?? {}
  const type = readString(critical, 'type', subject)
  const digest = readString(readObject(critical, 'image', subject) ?? {}, 'docker-manifest-digest', subject)
  const identity = readString(readObject(critical, 'identity', subject) ?? {}, 'docker-reference', subject)
  if (type !== simpleSigningType) return `it is no signature of an image: its type is ${JSON.stringify(type)}`
  if (digest === undefined || !isDigest(digest)) return 'it names no digest'
  return { digest, identity, key }
}

function isBy({ key }: PublicKey, data: Uint8Array, signature: Uint8Array): boolean {
  const algorithm = key.asymmetricKeyType === 'ed25519' ? null : 'sha256'
  try {
    return verify(algorithm, data, key, signature)
  } catch {
    return false
  }
}

function notByKey(keys: readonly PublicKey[]): string {
  return `it is not by ${keys.map(({ name }) => name).join(', nor by ')}`
}

/** The bundle of sigstore, as a newer cosign writes it. What a log or a clock says in it is not looked at: the key alone vouches. */
async function readBundle(
  { bytes }: Extract<FoundSignature, { form: 'bundle' }>,
  wanted: { readonly digest: Digest; readonly bytes: Uint8Array },
  keys: readonly PublicKey[],
): Promise<Claim | string> {
  const key = await findSigner(parseJsonObject(bytes, 'a bundle', bundleSizeMax), wanted.bytes, keys)
  if (typeof key === 'string') return key
  const { signer, statement } = key
  if (statement === undefined) return { digest: wanted.digest, identity: undefined, key: signer }
  return readStatement(statement, wanted.digest, signer)
}

/** The key that a bundle is signed by, and the statement that it signs; without one, it signs the document itself. */
async function findSigner(
  json: JsonObject,
  document: Uint8Array,
  keys: readonly PublicKey[],
): Promise<{ signer: PublicKey; statement: Uint8Array | undefined } | string> {
  // They take a while to load, and few need them.
  const [{ bundleFromJSON }, { toSignedEntity, toTrustMaterial, Verifier }, { TrustedRoot }] = await Promise.all([
    import('@sigstore/bundle'),
    import('@sigstore/verify'),
    import('@sigstore/protobuf-specs'),
  ])
  let bundle: ReturnType<typeof bundleFromJSON>
  try {
    bundle = bundleFromJSON(json)
  } catch (error) {
    return `it is no bundle: ${(error as Error).message.split('\n')[0]}`
  }
  const { content } = bundle
  if (content.$case === 'dsseEnvelope' && content.dsseEnvelope.payloadType !== statementMediaType)
    return `it signs ${JSON.stringify(content.dsseEnvelope.payloadType)}, which is no statement of an image`
  const material = { ...bundle.verificationMaterial, tlogEntries: [], timestampVerificationData: undefined }
  if (material.content.$case !== 'publicKey') return 'it is by a certificate, and not by a key'
  const signed = { ...bundle, verificationMaterial: material } as typeof bundle
  const thresholds = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 }
  for (const signer of keys) {
    const finder = () => ({ publicKey: signer.key, validFor: () => true })
    try {
      const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON({}), finder), thresholds)
      verifier.verify(toSignedEntity(signed, Buffer.from(document)))
      return { signer, statement: content.$case === 'dsseEnvelope' ? content.dsseEnvelope.payload : undefined }
    } catch {
      // By another key, or by none.
    }
  }
  return notByKey(keys)
}

/** in-toto, "Statement": what it is about, by digest. */
function readStatement(bytes: Uint8Array, wanted: Digest, key: PublicKey): Claim | string {
  const subject = 'the statement of a bundle'
  const statement = parseJsonObject(bytes, subject, bundleSizeMax)
  const type = readString(statement, '_type', subject)
  const predicate = readString(statement, 'predicateType', subject)
  if (type === undefined || !statementTypes.has(type)) return `its statement is of the type ${JSON.stringify(type)}`
  if (predicate !== signPredicate) return `it is no signature but an attestation, ${JSON.stringify(predicate)}`
  const digests = (readList(statement, 'subject', subject, subjectsMax) ?? []).map((value, at) => {
    const entry = readObject({ value }, 'value', `${subject}.subject[${at}]`) ?? {}
    return readString(readObject(entry, 'digest', subject) ?? {}, digestAlgorithm(wanted), subject)
  })
  if (digests.includes(digestHex(wanted))) return { digest: wanted, identity: undefined, key }
  const other = digests.find(hex => hex !== undefined && isDigest(`${digestAlgorithm(wanted)}:${hex}`))
  return other === undefined ? 'it names no digest' : `it is of another image, ${digestAlgorithm(wanted)}:${other}`
}

const subjectsMax = 100

/** The error where no signature counts: what each of them lacks. */
export function noClaim(name: string, reasons: readonly string[]): WindlassError {
  const shown = reasons.slice(0, 5)
  const more = reasons.length > shown.length ? `; and ${reasons.length - shown.length} more` : ''
  const state =
    reasons.length === 0 ? 'it has no signature' : `none of its signatures counts: ${shown.join('; ')}${more}`
  return new WindlassError('SIGNATURE_INVALID', `Cannot verify ${name}: ${state}`, {
    facts: { signatures: reasons.length },
  })
}
