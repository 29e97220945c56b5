/** Signatures as cosign's specification has them, made in code and put where cosign puts them. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Descriptor } from '../../src/oci/descriptor.ts'
import { mediaTypes } from '../../src/oci/media-types.ts'
import { descriptorOf, pushBlob, pushManifest } from '../servers/push.ts'

export interface Signer {
  /** The public key in PEM. */
  readonly file: string
  readonly key: KeyObject
}

export type KeyKind = 'ecdsa' | 'ed25519' | 'rsa'

export async function makeSigner(directory: string, kind: KeyKind = 'ecdsa'): Promise<Signer> {
  const { publicKey, privateKey } = generate(kind)
  const file = join(directory, `${kind}-${Math.random().toString(36).slice(2)}.pub`)
  await writeFile(file, publicKey.export({ type: 'spki', format: 'pem' }))
  return { file, key: privateKey }
}

function generate(kind: KeyKind) {
  if (kind === 'ecdsa') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return kind === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ed25519')
}

function signWith({ key }: Signer, bytes: Buffer): string {
  return sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', bytes, key).toString('base64')
}

export interface Place {
  readonly url: string
  readonly path: string
}

export interface Signing {
  readonly signer: Signer
  /** What it says that it signs. */
  readonly digest: string
  readonly identity: string
  /** Where it is put: under the tag of this digest; that of what it signs if absent. */
  readonly under?: string
  readonly type?: string
  /** Bytes of white space in the payload, which mean nothing. */
  readonly padding?: number
}

/** A signature over a payload, under cosign's tag (cosign, SIGNATURE_SPEC). */
export async function pushSignature(place: Place, signings: readonly Signing[]): Promise<void> {
  const layers = []
  for (const { signer, digest, identity, padding = 0, type = 'cosign container image signature' } of signings) {
    const image = { 'docker-manifest-digest': digest }
    const critical = { identity: { 'docker-reference': identity }, image, type }
    const payload = Buffer.from(JSON.stringify({ critical, optional: null }) + ' '.repeat(padding))
    const blob = await pushBlob(place.url, place.path, payload)
    const annotations = { 'dev.cosignproject.cosign/signature': signWith(signer, payload) }
    layers.push({ ...blob, mediaType: 'application/vnd.dev.cosign.simplesigning.v1+json', annotations })
  }
  const config = await pushBlob(
    place.url,
    place.path,
    '{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}',
  )
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { ...config, mediaType: mediaTypes.ociConfig },
    layers,
  }
  const under = signings[0]?.under ?? signings[0]?.digest ?? ''
  const reference = `${under.replace(':', '-')}.sig`
  await pushManifest(place.url, { path: place.path, reference, mediaType: mediaTypes.ociManifest }, manifest)
}

export interface BundleSigning {
  readonly signer: Signer
  /** What it signs, and hangs on, unless `subject` is something else. */
  readonly image: Descriptor
  readonly subject?: Descriptor
  readonly predicate?: string
  readonly statementType?: string
  /** In DER: what vouches for it instead of a key that is known. */
  readonly certificate?: Buffer
}

/** A bundle with a statement, in a manifest that refers to the image, listed under the referrers' tag (cosign 3 at a registry without the API). */
export async function pushBundle(place: Place, signing: BundleSigning): Promise<Descriptor> {
  const { signer, image, subject = image, predicate = 'https://sigstore.dev/cosign/sign/v1' } = signing
  const { statementType = 'https://in-toto.io/Statement/v1', certificate } = signing
  const statement = {
    _type: statementType,
    subject: [{ digest: { sha256: image.digest.replace('sha256:', '') } }],
    predicateType: predicate,
    predicate: {},
  }
  const payload = Buffer.from(JSON.stringify(statement))
  const payloadType = 'application/vnd.in-toto+json'
  const encoded = Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} ${payload}`)
  const type = 'application/vnd.dev.sigstore.bundle.v0.3+json'
  const bundle = {
    mediaType: type,
    verificationMaterial: certificate
      ? { certificate: { rawBytes: certificate.toString('base64') } }
      : { publicKey: { hint: 'any' } },
    dsseEnvelope: {
      payload: payload.toString('base64'),
      payloadType,
      signatures: [{ sig: signWith(signer, encoded) }],
    },
  }
  const layer = await pushBlob(place.url, place.path, JSON.stringify(bundle))
  const config = await pushBlob(place.url, place.path, '{}')
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    artifactType: type,
    config: { ...config, mediaType: mediaTypes.ociEmpty },
    layers: [{ ...layer, mediaType: type }],
    subject,
  }
  const text = JSON.stringify(manifest)
  const { path } = place
  const descriptor = descriptorOf(text, mediaTypes.ociManifest)
  await pushManifest(place.url, { path, reference: descriptor.digest, mediaType: mediaTypes.ociManifest }, text)
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [{ ...descriptor, artifactType: type }] }
  const reference = subject.digest.replace(':', '-')
  await pushManifest(place.url, { path, reference, mediaType: mediaTypes.ociIndex }, index)
  return descriptor
}
