import { isWindlassError } from '../../errors.ts'
import { type RetryOptions, retry } from '../../flow/retry.ts'
import { verified } from '../../flow/verify.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import type { Digest } from '../../oci/digest.ts'
import { type Manifest, manifestSizeMax, parseDocument } from '../../oci/manifest.ts'
import type { Referrer, Source } from '../../places/place.ts'
import { bundleSizeMax, type FoundSignature, payloadSizeMax } from './claim.ts'

const simpleSigningType = 'application/vnd.dev.cosign.simplesigning.v1+json'
const signatureKey = 'dev.cosignproject.cosign/signature'
const bundleType = /^application\/vnd\.dev\.sigstore\.bundle\b.*\+json\b/

/** For one image: each costs requests and a check, and a stranger says how many there are. */
const signaturesMax = 64
const referrersMax = 256

export interface FoundSignatures {
  readonly signatures: readonly FoundSignature[]
  /** What was not looked at, and why: whoever may write there could otherwise make all of them useless. */
  readonly skipped: readonly string[]
}

/**
 * The signatures of a document at a place: those under cosign's tag, and those among what refers to it, as many as are looked at. They are verified
 * to be what their digests name, and nothing else.
 * @throws what the place throws
 */
export async function findSignatures(source: Source, digest: Digest, retrying: RetryOptions): Promise<FoundSignatures> {
  const { signal } = retrying
  const referrers = (await retry(async () => await source.listReferrers?.(digest, signal), retrying)) ?? []
  const signatures: FoundSignature[] = []
  const skipped: string[] = []
  if (referrers.length > referrersMax) skipped.push(tooMany(source, 'documents that refer to it', referrersMax))
  let tried = 0
  for (const referrer of referrers.slice(0, referrersMax)) {
    const manifest = await orSkip(readManifest(source, referrer, retrying), referrer.descriptor, skipped)
    if (manifest === undefined) continue
    // What another document's tag or list leads to would be refused by what it says; this one need not be read.
    if (referrer.tag === undefined && manifest.subject?.digest !== digest) continue
    for (const layer of manifest.layers) {
      if (!isSignature(layer)) continue
      // One that is not there costs as much as one that is.
      if (++tried > signaturesMax)
        return { signatures, skipped: [...skipped, tooMany(source, 'signatures', signaturesMax)] }
      const signature = await orSkip(readSignature(source, layer, retrying), layer, skipped)
      if (signature !== undefined) signatures.push(signature)
    }
  }
  return { signatures, skipped }
}

/** What a damaged one would have said does not matter: it is none. */
async function orSkip<T>(
  reading: Promise<T | undefined>,
  { digest }: Descriptor,
  skipped: string[],
): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (!isWindlassError(error) || !['DIGEST_MISMATCH', 'CORRUPT'].includes(error.code)) throw error
    skipped.push(`${digest}: it is damaged: ${error.message}`)
    return undefined
  }
}

function tooMany(source: Source, what: string, countMax: number): string {
  return `${source.name} has more than ${countMax} ${what}: only the first ${countMax} are looked at`
}

/** Undefined for what is no manifest, or is gone: it is no signature. */
async function readManifest(source: Source, referrer: Referrer, retrying: RetryOptions): Promise<Manifest | undefined> {
  const { mediaType, digest, size } = referrer.descriptor
  const options = { sizeMax: manifestSizeMax, signal: retrying.signal }
  try {
    const { bytes } = await retry(() => source.readDocument({ mediaType, digest, size }, options), retrying)
    const document = parseDocument(bytes, { contentType: mediaType })
    return document.kind === 'manifest' ? document : undefined
  } catch (error) {
    if (isWindlassError(error) && ['NOT_FOUND', 'UNSUPPORTED', 'CORRUPT'].includes(error.code)) return undefined
    throw error
  }
}

function isSignature({ mediaType, annotations }: Descriptor): boolean {
  return mediaType === simpleSigningType ? annotations?.[signatureKey] !== undefined : bundleType.test(mediaType)
}

async function readSignature(
  source: Source,
  layer: Descriptor,
  retrying: RetryOptions,
): Promise<FoundSignature | undefined> {
  const { mediaType, digest, annotations } = layer
  const signature = annotations?.[signatureKey]
  if (mediaType === simpleSigningType) {
    if (signature === undefined) return undefined
    const payload = await readSmallBlob(source, layer, payloadSizeMax, retrying)
    return payload && { form: 'simple signing', digest, payload, signature }
  }
  const bytes = await readSmallBlob(source, layer, bundleSizeMax, retrying)
  return bytes && { form: 'bundle', digest, bytes }
}

/** Undefined if it is larger than a signature, or gone. */
async function readSmallBlob(
  source: Source,
  descriptor: Descriptor,
  sizeMax: number,
  retrying: RetryOptions,
): Promise<Buffer | undefined> {
  if (descriptor.size > sizeMax) return undefined
  try {
    return await retry(async () => {
      const { bytes } = await source.openBlob(descriptor, { offset: 0, signal: retrying.signal })
      const subject = `signature ${descriptor.digest}`
      return Buffer.concat(await Array.fromAsync(verified(bytes, { ...descriptor, subject })))
    }, retrying)
  } catch (error) {
    if (isWindlassError(error) && ['NOT_FOUND', 'INCOMPLETE'].includes(error.code)) return undefined
    throw error
  }
}
