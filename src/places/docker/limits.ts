/** How long windlass waits for a docker daemon, in milliseconds. */
export interface DockerTimeouts {
  /** Until the daemon is reached: a socket answers at once, ssh has to log in. */
  readonly connectMs: number
  /** Any answer that costs the daemon no work. */
  readonly answerMs: number
  /** The daemon takes no byte of an upload although it could: it writes them to its disk, which may be slow. */
  readonly uploadIdleMs: number
  /** No word while it unpacks: it tells of each half megabyte, but syncs and commits in silence. */
  readonly applyIdleMs: number
  /** Its own look at the registry, when every layer is there already. */
  readonly recordMs: number
}

export const defaultDockerTimeouts: DockerTimeouts = {
  connectMs: 30_000,
  answerMs: 60_000,
  uploadIdleMs: 120_000,
  applyIdleMs: 600_000,
  recordMs: 60_000,
}

/** Lists of images grow with the host; an inspection does not. */
export const answerBytesMax = 64 * 1024 * 1024
/** One message of a stream. */
export const messageBytesMax = 1024 * 1024
/** The oldest API that can do what is needed: docker 19.03. */
export const apiMin = '1.40'
/** The newest API that is spoken; a newer daemon speaks it, too. */
export const apiMax = '1.47'
