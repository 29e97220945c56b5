/** Makes OCI image layouts out of tars, by nothing but the image specification: no code of the engine under test. */
import { createHash, hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run, runScript } from './command.ts'

export interface ImageSource {
  /** The name inside the layout (`org.opencontainers.image.ref.name`). */
  readonly name: string
  /** Uncompressed layer tars, the lowest first. */
  readonly tars: readonly string[]
  readonly compression: 'gzip' | 'zstd' | 'none'
  /** The `config` object of the image configuration: Cmd, Env and so on. */
  readonly config?: Record<string, unknown>
  readonly architecture?: string
}

/** In the words of the specification, which are Go's. */
export const hostArchitecture: string = { x64: 'amd64' }[process.arch as string] ?? process.arch

interface BlobFacts {
  readonly digest: string
  readonly size: number
}

const compressors = {
  gzip: { command: 'pigz -n -6 -c', suffix: '+gzip' },
  zstd: { command: 'zstd -q -3 -T0 -c', suffix: '+zstd' },
  none: { command: 'cat', suffix: '' },
}

/** Several images under one name, one for each platform. */
export interface IndexSource {
  readonly name: string
  /** Names of images of the same layout. */
  readonly members: readonly string[]
}

/** Writes one layout with all `images`; layers they share are stored once. */
export async function buildLayout(
  directory: string,
  images: readonly ImageSource[],
  indexes: readonly IndexSource[] = [],
): Promise<void> {
  const blobs = join(directory, 'blobs/sha256')
  await mkdir(blobs, { recursive: true })
  const layers = new Map<string, Promise<{ blob: BlobFacts; diffId: string }>>()
  const manifests: { digest: string; annotations: Record<string, string> }[] = []
  for (const image of images) {
    const parts = await Promise.all(
      image.tars.map(tar => {
        const key = `${image.compression}:${tar}`
        const layer = layers.get(key) ?? buildLayer(blobs, tar, image.compression)
        layers.set(key, layer)
        return layer
      }),
    )
    const manifest = await writeManifest(blobs, image, parts)
    manifests.push({ ...manifest, annotations: { 'org.opencontainers.image.ref.name': image.name } })
  }
  for (const { name, members } of indexes) {
    const parts = images.flatMap((image, i) =>
      members.includes(image.name) ? [{ image, manifest: manifests[i] }] : [],
    )
    const index = await writeIndex(blobs, parts)
    manifests.push({ ...index, annotations: { 'org.opencontainers.image.ref.name': name } })
  }
  await writeFile(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
}

async function writeIndex(blobs: string, parts: { image: ImageSource; manifest: object | undefined }[]) {
  return await writeDocument(blobs, 'application/vnd.oci.image.index.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: parts.map(({ image, manifest }) => ({
      ...manifest,
      annotations: undefined,
      platform: { os: 'linux', architecture: image.architecture ?? hostArchitecture },
    })),
  })
}

async function buildLayer(blobs: string, tar: string, compression: ImageSource['compression']) {
  const unnamed = join(blobs, `.${hash('sha256', `${compression}:${tar}`)}`)
  await runScript(`${compressors[compression].command} <"$1" >"$2"`, [tar, unnamed], { timeoutMs: 600_000 })
  const [digest, diffId] = await Promise.all([hashFile(unnamed), hashFile(tar)])
  const { size } = await stat(unnamed)
  await rename(unnamed, join(blobs, digest.slice(7)))
  return { blob: { digest, size }, diffId }
}

async function hashFile(path: string): Promise<string> {
  const sha256 = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) sha256.update(chunk)
  return `sha256:${sha256.digest('hex')}`
}

async function writeManifest(blobs: string, image: ImageSource, parts: { blob: BlobFacts; diffId: string }[]) {
  const config = await writeDocument(blobs, 'application/vnd.oci.image.config.v1+json', {
    created: '2026-01-02T03:04:05Z',
    architecture: image.architecture ?? hostArchitecture,
    os: 'linux',
    config: image.config ?? {},
    rootfs: { type: 'layers', diff_ids: parts.map(part => part.diffId) },
    history: parts.map((_, i) => ({ created: '2026-01-02T03:04:05Z', created_by: `layer ${i}` })),
  })
  const mediaType = `application/vnd.oci.image.layer.v1.tar${compressors[image.compression].suffix}`
  return await writeDocument(blobs, 'application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: parts.map(part => ({ mediaType, ...part.blob })),
  })
}

async function writeDocument(blobs: string, mediaType: string, document: unknown) {
  const bytes = Buffer.from(JSON.stringify(document))
  const hex = hash('sha256', bytes)
  await writeFile(join(blobs, hex), bytes)
  return { mediaType, digest: `sha256:${hex}`, size: bytes.length }
}

/** Copies an image of a layout to a registry. `format` v2s2 turns it into docker's own media types. */
export async function pushImage(layout: string, name: string, to: string, format?: 'v2s2'): Promise<void> {
  const flags = format === undefined ? [] : ['--format', format]
  const copy = ['copy', '-q', '--all', '--insecure-policy', '--dest-tls-verify=false', ...flags]
  await run('skopeo', [...copy, `oci:${layout}:${name}`, `docker://${to}`], { timeoutMs: 600_000 })
}
