import type { ErrorCode } from '../src/errors.ts'

/** What each code means to the user who meets it. */
export const errorMeanings: Readonly<Record<ErrorCode, string>> = {
  USAGE: 'The command line is wrong: an unknown option, a missing operand, a value that is not taken.',
  REFERENCE_INVALID: 'The name of an image does not follow the grammar of references.',
  FAILED: 'Something failed that has no code of its own; the message and its causes say what.',
  UNSUPPORTED: 'The image, or the host, needs something that windlass does not do.',
  NOT_FOUND: 'There is no such image, tag, blob or mount.',
  PLATFORM_MISSING: 'The image exists, but not for the platform that was asked for.',
  DENIED: 'The registry refused access: no credentials, wrong ones, or no right to this repository.',
  NETWORK:
    'The connection could not be made or broke, or the registry answered with a server error, more often than retries allow.',
  TLS: 'No secure connection: the certificate is not trusted, has expired, or is for another host.',
  RATE_LIMITED: 'The registry allows no more requests for now.',
  PROTOCOL:
    'The other side answered, but not as the registry protocol demands: is it a registry, or a proxy’s login page?',
  STALLED: 'A stage had input and room, and did not move within its time.',
  POLICY_REFUSED:
    'The policy file does not let this image in: it is not signed as its rule demands, or the rule refuses all. Nothing of it was fetched.',
  SIGNATURE_INVALID: 'The image has no signature by this key, or none that is of this image.',
  INCOMPLETE: 'An archive names layers that it has not, as after save --since, and the store has them neither.',
  CORRUPT: 'Data is damaged or contradicts itself: an archive, a document, the store.',
  DIGEST_MISMATCH: 'The bytes that came are not those that the digest names. Nothing of them was kept.',
  LIMIT_EXCEEDED: 'The image is larger, deeper or stranger than the limits against hostile images allow.',
  NO_SPACE: 'The filesystem of the store is full, or a quota is.',
  PERMISSION: 'The operating system refused: not root, a read-only filesystem, or a security module.',
  ENGINE_UNREACHABLE: 'The container engine does not answer on its socket.',
  CANCELLED: 'A signal stopped the run. What was downloaded is kept, and the next run uses it.',
}
