/** What a handler answers: a status, headers, and bytes or a piece of a file. */
export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | FilePiece
}

/** The bytes of a file from `start` to `end`, which is the first one left out. */
interface FilePiece {
  readonly path: string
  readonly start: number
  readonly end: number
}

/** OCI distribution-spec, "Error Codes". */
export type RefusalCode =
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'BLOB_UPLOAD_UNKNOWN'
  | 'DIGEST_INVALID'
  | 'MANIFEST_BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'SIZE_INVALID'
  | 'TOOMANYREQUESTS'
  | 'UNSUPPORTED'

/** An error as the specification shapes it. */
export function refuse(status: number, code: RefusalCode, message: string): Reply {
  return replyJson(status, { errors: [{ code, message }] })
}

/** A JSON body. */
export function replyJson(status: number, value: unknown): Reply {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(value)) }
}
