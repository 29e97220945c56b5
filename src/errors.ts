/**
 * Every way windlass can fail, in one table: the process exit status, whether the same request may succeed when it is
 * repeated, and what the user can do. `docs/errors.md` lists the same codes; a test holds the two together.
 */
export const errorTable = {
  USAGE: { exit: 125, retryable: false, hint: 'run the command with --help' },
  REFERENCE_INVALID: { exit: 125, retryable: false, hint: 'a reference looks like host:port/path/name:tag@sha256:…' },
  FAILED: { exit: 1, retryable: false, hint: undefined },
  UNSUPPORTED: { exit: 1, retryable: false, hint: undefined },
  NOT_FOUND: { exit: 2, retryable: false, hint: 'check the name and the tag, and that the registry has it' },
  PLATFORM_MISSING: { exit: 2, retryable: false, hint: 'choose one of the listed platforms with --platform' },
  DENIED: { exit: 3, retryable: false, hint: "log in with 'docker login', or check the credentials for this host" },
  NETWORK: { exit: 4, retryable: true, hint: undefined },
  TLS: {
    exit: 4,
    retryable: false,
    hint: 'check the certificate and the clock; --tls-ca FILE trusts its authority, --insecure-registry HOST does without',
  },
  RATE_LIMITED: { exit: 4, retryable: true, hint: 'wait, or log in for a higher limit' },
  PROTOCOL: { exit: 4, retryable: false, hint: 'the other side does not speak the registry protocol as specified' },
  STALLED: { exit: 5, retryable: true, hint: undefined },
  POLICY_REFUSED: {
    exit: 3,
    retryable: false,
    hint: 'have the image signed as the policy demands, or change the policy',
  },
  SIGNATURE_INVALID: {
    exit: 6,
    retryable: false,
    hint: 'check that the key is the one that the image was signed with, and that the signature was copied along with it',
  },
  INCOMPLETE: {
    exit: 6,
    retryable: false,
    hint: "load the archive first that this one was saved since, or save it again without '--since'",
  },
  CORRUPT: { exit: 6, retryable: false, hint: undefined },
  DIGEST_MISMATCH: {
    exit: 6,
    retryable: false,
    hint: 'the bytes are not what the digest promises: something altered them',
  },
  LIMIT_EXCEEDED: { exit: 6, retryable: false, hint: undefined },
  NO_SPACE: {
    exit: 7,
    retryable: false,
    hint: 'free space or inodes on the filesystem of the store, or choose another with --root',
  },
  PERMISSION: { exit: 7, retryable: false, hint: undefined },
  ENGINE_UNREACHABLE: { exit: 8, retryable: true, hint: undefined },
  CANCELLED: { exit: 130, retryable: false, hint: undefined },
} as const satisfies Record<string, { exit: number; retryable: boolean; hint: string | undefined }>

/** For an engine whose disk is full, not the store's. */
export const engineSpaceHint = 'free space where the engine keeps its images'

/** For a file that the user has named: the store has no part in it. */
const fileSpaceHint = 'free space or inodes on the filesystem of that file, or name a file elsewhere'

export type ErrorCode = keyof typeof errorTable

export interface ErrorDetails {
  /** What led to this error. */
  cause?: unknown
  /** Overrides the hint of the table: what to do about this very case. */
  hint?: string
  /** Facts for reports and JSON output. Never secrets, never query strings. */
  facts?: Record<string, string | number | boolean>
}

/**
 * The only error class of windlass. The message says "Cannot do-what to-what: state now; wanted", in one line.
 */
export class WindlassError extends Error {
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly facts: Readonly<Record<string, string | number | boolean>>

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'WindlassError'
    this.code = code
    this.hint = details.hint ?? errorTable[code].hint
    this.facts = details.facts ?? {}
  }

  get exitStatus(): number {
    return errorTable[this.code].exit
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable
  }
}

/** True for a WindlassError, of the given code if one is given. */
export function isWindlassError(error: unknown, code?: ErrorCode): error is WindlassError {
  return error instanceof WindlassError && (code === undefined || error.code === code)
}

const errnoCodes: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'NO_SPACE',
  EDQUOT: 'NO_SPACE',
  EROFS: 'PERMISSION',
  EACCES: 'PERMISSION',
  EPERM: 'PERMISSION',
}

/** Where closing fails after a failure (a failing disk does that), the first failure is the one to tell; JavaScript throws the last, with the first in it. */
export function firstError(thrown: unknown): unknown {
  let error = thrown
  while (error instanceof SuppressedError) error = error.suppressed
  return error
}

/**
 * Turns whatever was thrown by a file or system call into a WindlassError that says what was being done.
 * WindlassErrors pass through unchanged; an AbortError becomes CANCELLED.
 * @param doing the first half of the message, e.g. "Cannot write layer sha256:…"
 */
export function wrapError(thrown: unknown, doing: string): WindlassError {
  const error = firstError(thrown)
  if (error instanceof WindlassError) return error
  const { name, code, message } = error as { name?: string; code?: string; message?: string }
  if (name === 'AbortError') return new WindlassError('CANCELLED', `${doing}: cancelled`, { cause: error })
  return new WindlassError(errnoCodes[code ?? ''] ?? 'FAILED', `${doing}: ${message ?? String(error)}`, {
    cause: error,
  })
}

/** The same for a file that the user has named. */
export function wrapFileError(thrown: unknown, doing: string): WindlassError {
  const error = wrapError(thrown, doing)
  const { code, message, cause, facts } = error
  return code === 'NO_SPACE' ? new WindlassError(code, message, { cause, facts, hint: fileSpaceHint }) : error
}
