import { createHash } from 'node:crypto'
import { request } from 'undici'
import type { Descriptor } from '../../src/oci/descriptor.ts'
import { type Digest, parseDigest } from '../../src/oci/digest.ts'

export function digestOf(bytes: Uint8Array | string): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
}

export function descriptorOf(bytes: Uint8Array | string, mediaType: string): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: Buffer.byteLength(bytes) }
}

/** Pushes one blob to a registry by plain HTTP: POST, then one PUT. `url` is the registry's. */
export async function pushBlob(
  url: string,
  path: string,
  bytes: Uint8Array | string,
  headers: Record<string, string> = {},
): Promise<Descriptor> {
  const descriptor = descriptorOf(bytes, 'application/octet-stream')
  const start = await request(`${url}/v2/${path}/blobs/uploads/`, { method: 'POST', headers })
  await start.body.dump()
  const location = new URL(String(start.headers['location']), url)
  location.searchParams.set('digest', descriptor.digest)
  const type = { 'content-type': 'application/octet-stream' }
  const put = await request(location, { method: 'PUT', headers: { ...headers, ...type }, body: Buffer.from(bytes) })
  await expectCreated(put)
  return descriptor
}

/** Pushes a manifest, as text or as what is to be JSON, under a tag or digest. */
export async function pushManifest(
  url: string,
  name: { path: string; reference: string; mediaType: string },
  manifest: unknown,
  headers: Record<string, string> = {},
): Promise<Descriptor> {
  const text = typeof manifest === 'string' ? manifest : JSON.stringify(manifest)
  const put = await request(`${url}/v2/${name.path}/manifests/${name.reference}`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': name.mediaType },
    body: text,
  })
  await expectCreated(put)
  return descriptorOf(text, name.mediaType)
}

async function expectCreated(response: { statusCode: number; body: { text(): Promise<string> } }): Promise<void> {
  const text = await response.body.text()
  if (response.statusCode !== 201) throw new Error(`push failed with ${response.statusCode}: ${text}`)
}
