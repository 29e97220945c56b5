import { createHash } from 'node:crypto'
import { type PackedLayer, packLayer } from '../../copy/pack-layer.ts'
import { WindlassError } from '../../errors.ts'
import { packDirectory } from '../../layer/pack.ts'
import type { Platform } from '../../oci/descriptor.ts'
import { mediaTypes } from '../../oci/media-types.ts'
import type { ChosenLayer } from './choose-files.ts'

/** The fastest level: the demo shows pulling, not packing. */
const gzipLevel = 1

export interface PublishOptions {
  /** Base URL of a registry. */
  readonly url: string
  readonly name: string
  readonly tag: string
  readonly platform: Platform
  readonly signal: AbortSignal
}

/** Packs the chosen files and pushes them as an image. Returns its layers. */
export async function publishImage(layers: readonly ChosenLayer[], options: PublishOptions): Promise<PackedLayer[]> {
  const packed: PackedLayer[] = []
  for (const { roots } of layers) packed.push(await pushLayer(roots, options))
  const config = Buffer.from(
    JSON.stringify({
      os: options.platform.os,
      architecture: options.platform.architecture,
      config: { Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['/bin/sh'] },
      rootfs: { type: 'layers', diff_ids: packed.map(({ diffId }) => diffId) },
      history: layers.map(({ title }) => ({ created_by: `windlass demo: ${title}` })),
    }),
  )
  const digest = sha256(config)
  const upload = await startUpload(options)
  await send(`${upload}?digest=${digest}`, { method: 'PUT', body: config, signal: options.signal })
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest, size: config.length },
    layers: packed.map(({ descriptor }) => descriptor),
  })
  await send(`${options.url}/v2/${options.name}/manifests/${options.tag}`, {
    method: 'PUT',
    body: manifest,
    headers: { 'content-type': mediaTypes.ociManifest },
    signal: options.signal,
  })
  return packed
}

/** Packs and pushes in one pass: the digest is known when the last byte has gone, as the protocol wants it. */
async function pushLayer(roots: ChosenLayer['roots'], options: PublishOptions): Promise<PackedLayer> {
  const { signal } = options
  const upload = await startUpload(options)
  const body = new TransformStream<Uint8Array, Uint8Array>()
  const sent = send(upload, { method: 'PATCH', body: body.readable, duplex: 'half', signal } as RequestInit)
  const writer = body.writable.getWriter()
  const packing = packLayer(packDirectory(roots, { signal }), chunk => writer.write(chunk), {
    signal,
    level: gzipLevel,
  })
  const [layer] = await Promise.all([packing.then(packed => writer.close().then(() => packed)), sent])
  await send(`${upload}?digest=${layer.descriptor.digest}`, { method: 'PUT', signal })
  return layer
}

async function startUpload({ url, name, signal }: PublishOptions): Promise<string> {
  const response = await send(`${url}/v2/${name}/blobs/uploads/`, { method: 'POST', signal })
  return new URL(response.headers.get('location') ?? '', url).href
}

async function send(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init)
  await response.arrayBuffer()
  if (response.ok) return response
  throw new WindlassError('PROTOCOL', `Cannot push the demo image: ${init.method} answered ${response.status}`)
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
