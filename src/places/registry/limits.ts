/** How long windlass waits for a registry, in milliseconds. Each can be shortened or raised by `RegistryOptions.timeouts`. */
export interface Timeouts {
  /** Name lookup, TCP and TLS together: a healthy host answers in well under a second, also across the world. */
  readonly connectMs: number
  /** From the request to the last header: registries look into slow object stores before they answer. */
  readonly headersMs: number
  /** No byte of a body while windlass is ready to read: then asking again by Range is better than waiting. */
  readonly idleMs: number
  /** A whole small answer (manifest, config, token), so that one byte at a time cannot hold a pull for ever. */
  readonly documentMs: number
}

export const defaultTimeouts: Timeouts = { connectMs: 10_000, headersMs: 30_000, idleMs: 15_000, documentMs: 120_000 }

/** Tokens are a few KiB; some services add long lists of grants. */
export const tokenBytesMax = 1024 * 1024
/** A token travels in a header, and servers refuse headers above 8 to 16 KiB. */
export const tokenLengthMax = 16 * 1024
/** Enough for any error in JSON; beyond it is somebody's HTML page. */
export const errorBytesMax = 64 * 1024
/** An error's text is a courtesy: nobody waits long for it. */
export const errorBodyMs = 2_000
/** Registry to object store takes one or two redirects; more is a loop. */
export const redirectsMax = 5
/** Read ahead for each blob stream, so that the socket is drained while the consumer hashes or unpacks. */
export const readAheadBytes = 1024 * 1024
/** What a Node stream holds of a body that is paused: lost when the connection breaks, so it is small. */
export const streamBufferBytes = 64 * 1024
/**
 * No connection is kept idle for longer, whatever the server promises: routers forget idle connections without a word, and a request
 * on one of these waits for headers in vain.
 */
export const keepAliveMaxMs = 10_000
