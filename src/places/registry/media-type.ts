/** What servers state when they do not know. */
const vague: ReadonlySet<string> = new Set(['', 'application/json', 'application/octet-stream', 'text/plain'])

/**
 * The media type of a manifest: the server's Content-Type, or where that says nothing, what the document says of itself. Whether the
 * two agree is checked by whoever parses the document.
 */
export function mediaTypeOf(contentType: string | undefined, bytes: Uint8Array): string {
  const stated = contentType?.split(';')[0]?.trim().toLowerCase() ?? ''
  return vague.has(stated) ? (readMediaType(bytes) ?? (stated || 'application/octet-stream')) : stated
}

function readMediaType(bytes: Uint8Array): string | undefined {
  try {
    const document = JSON.parse(Buffer.from(bytes).toString()) as {
      mediaType?: unknown
      manifests?: unknown
      config?: unknown
    }
    if (typeof document.mediaType === 'string') return document.mediaType
    // OCI image-spec: mediaType may be missing in the document.
    if (document.manifests !== undefined) return 'application/vnd.oci.image.index.v1+json'
    return document.config === undefined ? undefined : 'application/vnd.oci.image.manifest.v1+json'
  } catch {
    return undefined
  }
}
