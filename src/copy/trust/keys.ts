import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { WindlassError } from '../../errors.ts'

/** A key that signatures are checked with, and what messages call it. */
export interface PublicKey {
  readonly name: string
  readonly key: KeyObject
}

/** Shorter RSA keys can be broken. */
const rsaBitsMin = 2048

/**
 * Reads a public key in PEM, as `cosign generate-key-pair` writes it: ECDSA, Ed25519 or RSA.
 * @param name of the file, or of what holds it
 * @throws WindlassError USAGE
 */
export function parsePublicKey(pem: string | Buffer, name: string): PublicKey {
  const refuse = (state: string, cause?: unknown): WindlassError =>
    new WindlassError('USAGE', `Cannot use key ${name}: ${state}; wanted a public key in PEM: ECDSA, Ed25519 or RSA`, {
      cause,
      hint: "'cosign public-key --key KEY' writes one",
    })
  // Node would make the public key of it: whoever has it on every host has signed for everybody.
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem.toString())) throw refuse('it is a private key')
  const key = parse(pem, refuse)
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type !== 'ec' && type !== 'ed25519' && type !== 'rsa') throw refuse(`it is of the type ${type}`)
  if (type === 'rsa' && (details?.modulusLength ?? 0) < rsaBitsMin)
    throw refuse(`it has ${details?.modulusLength} bits; RSA needs ${rsaBitsMin}`)
  return { name, key }
}

function parse(pem: string | Buffer, refuse: (state: string, cause: unknown) => WindlassError): KeyObject {
  try {
    return createPublicKey(pem)
  } catch (error) {
    throw refuse('it cannot be read', error)
  }
}

/** The SHA-256 of a key, for people and reports. */
export function fingerprintOf({ key }: PublicKey): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')
}
