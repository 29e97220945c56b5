import { createHash } from 'node:crypto'
import { isWindlassError } from '../errors.ts'
import { type Digest, digestAlgorithm, parseDigest } from '../oci/digest.ts'
import { manifestSizeMax, parseDocument } from '../oci/manifest.ts'
import { type Reply, refuse } from './reply.ts'
import type { ManifestReference } from './route.ts'
import type { Storage } from './storage.ts'

/** GET and HEAD of a manifest: the very bytes that were put. */
export async function getManifest(storage: Storage, name: string, reference: ManifestReference): Promise<Reply> {
  const link = await storage.findManifest(name, reference)
  const size = link && (await storage.findBlob(link.digest))
  if (link === undefined || size === undefined) return refuse(404, 'MANIFEST_UNKNOWN', 'no such manifest')
  return {
    status: 200,
    headers: { 'content-type': link.mediaType, 'docker-content-digest': link.digest },
    body: { path: storage.blobPath(link.digest), start: 0, end: size },
  }
}

/** PUT of a manifest whose blobs are all here. */
export async function putManifest(
  storage: Storage,
  target: { name: string; reference: ManifestReference },
  contentType: string | undefined,
  body: AsyncIterable<Uint8Array>,
): Promise<Reply> {
  const { name, reference } = target
  const bytes = await readLimited(body, manifestSizeMax)
  if (bytes === undefined) return refuse(413, 'SIZE_INVALID', `a manifest has at most ${manifestSizeMax} bytes`)
  const digest = hashOf(bytes, 'digest' in reference ? digestAlgorithm(reference.digest) : 'sha256')
  if ('digest' in reference && reference.digest !== digest) {
    return refuse(400, 'DIGEST_INVALID', 'the manifest does not have this digest')
  }
  const checked = await checkManifest(storage, bytes, contentType)
  if (typeof checked !== 'string') return checked
  await storage.putManifest(name, { digest, mediaType: checked }, bytes, 'tag' in reference ? reference.tag : undefined)
  const headers = { location: `/v2/${name}/manifests/${digest}`, 'docker-content-digest': digest }
  return { status: 201, headers }
}

/** The media type to serve it as, or why it is refused. An index may name manifests that never come. */
async function checkManifest(
  storage: Storage,
  bytes: Uint8Array,
  contentType: string | undefined,
): Promise<string | Reply> {
  try {
    const document = parseDocument(bytes, contentType === undefined ? {} : { contentType })
    const blobs = document.kind === 'manifest' ? [document.config, ...document.layers] : []
    for (const { digest, urls } of blobs) {
      // Foreign layers lie elsewhere.
      if (urls === undefined && (await storage.findBlob(digest)) === undefined) {
        return refuse(404, 'MANIFEST_BLOB_UNKNOWN', `blob ${digest} is not here`)
      }
    }
    return document.mediaType
  } catch (error) {
    if (isWindlassError(error)) return refuse(400, 'MANIFEST_INVALID', error.message)
    throw error
  }
}

function hashOf(bytes: Uint8Array, algorithm: string): Digest {
  return parseDigest(`${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`)
}

async function readLimited(body: AsyncIterable<Uint8Array>, sizeMax: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.byteLength
    if (size > sizeMax) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}
