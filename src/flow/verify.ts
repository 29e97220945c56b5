import { createHash } from 'node:crypto'
import { WindlassError } from '../errors.ts'
import { type Digest, digestAlgorithm } from '../oci/digest.ts'

/** What a stream of bytes must turn out to be. */
export interface Expected {
  readonly digest: Digest
  /** In bytes; absent where only the digest is known, as for a diffId. */
  readonly size?: number
  /** How messages name it: "layer", "diffId of layer sha256:…". */
  readonly subject: string
}

/**
 * Passes a stream through and checks it: a byte too many ends it at once, and the end of it is only reached if size and digest are right.
 * @throws WindlassError DIGEST_MISMATCH
 */
export async function* verified(
  source: AsyncIterable<Uint8Array>,
  expected: Expected,
): AsyncGenerator<Uint8Array, void, void> {
  const hash = createHash(digestAlgorithm(expected.digest))
  const { size, subject } = expected
  let bytes = 0
  for await (const chunk of source) {
    bytes += chunk.length
    if (size !== undefined && bytes > size)
      throw mismatch(`Cannot verify ${subject}: more than the ${size} bytes it should have`)
    hash.update(chunk)
    yield chunk
  }
  if (size !== undefined && bytes < size)
    throw mismatch(`Cannot verify ${subject}: ${bytes} bytes; it should have ${size}`)
  const actual = `${digestAlgorithm(expected.digest)}:${hash.digest('hex')}`
  if (actual !== expected.digest)
    throw mismatch(`Cannot verify ${subject}: its bytes are ${actual}; wanted ${expected.digest}`)
}

/** What a stream hashes to, in hex. @param algorithm as `digestAlgorithm` gives it. @throws the signal's reason */
export async function hashStream(
  source: AsyncIterable<Uint8Array>,
  algorithm: string,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash(algorithm)
  for await (const chunk of source) {
    signal.throwIfAborted()
    hash.update(chunk)
  }
  return hash.digest('hex')
}

function mismatch(message: string): WindlassError {
  return new WindlassError('DIGEST_MISMATCH', message)
}
