/** Small images in memory, and a registry that serves them, counts what it sends, and fails or waits as a row of the matrix wants. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { type Fault, type FaultyRegistry, startFaultyRegistry, well } from '../servers/faulty-registry.ts'
import { descriptorOf, digestOf } from '../servers/push.ts'
import { buildTar, type RawEntry } from '../tar-builder.ts'

export interface MadeLayer {
  readonly tar: Buffer
  readonly blob: Buffer
  /** What the manifest says; the blob's own length if absent. */
  readonly size?: number
  /** Of a layer whose tar is not kept. */
  readonly diffId?: string
}

export interface ServedImage extends AsyncDisposable {
  readonly registry: FaultyRegistry
  readonly reference: string
  /** All images: the first is `reference`. */
  readonly references: readonly string[]
  readonly layers: readonly MadeLayer[]
  /** For each layer, where the requests for it began, in their order. */
  readonly starts: readonly number[][]
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip'

export function makeLayer(entries: readonly RawEntry[]): MadeLayer {
  const tar = buildTar(entries)
  return { tar, blob: gzipSync(tar, { level: 1 }) }
}

export function makeFile(name: string, data: Buffer | string = ''): RawEntry {
  return { name, data, typeflag: '0', mode: 0o644, mtime: 1_700_000_000 }
}

export function makeDirectory(name: string): RawEntry {
  return { name, typeflag: '5', mode: 0o755, mtime: 1_700_000_000 }
}

/** A layer that cannot be compressed. */
export function makeNoise(name: string, bytes: number): MadeLayer {
  return makeLayer([makeFile(name, randomBytes(bytes))])
}

/** A layer that is work for the filesystem and none for the network. */
export function makeManyFiles(prefix: string, count: number): MadeLayer {
  return makeLayer(Array.from({ length: count }, (_, number) => makeFile(`${prefix}-${number}`)))
}

/** The number of what is no layer. */
export const ofConfig = -1

/**
 * Serves an image as `team/app:v1`. `faults` say how the blob of the layer with that number is sent, or the configuration; the others are sent well.
 * @param images several images of some of the layers each, as `v1`, `v2`, …; one image of all if absent
 */
export async function serveImage(
  layers: readonly MadeLayer[],
  faults: Readonly<Record<number, Fault>> = {},
  images: readonly (readonly MadeLayer[])[] = [layers],
): Promise<ServedImage> {
  const starts: number[][] = layers.map(() => [])
  const registry = await startFaultyRegistry({
    always: exchange => {
      const at = layers.findIndex(({ blob }) => blob.length === exchange.size)
      starts[at]?.push(exchange.offset)
      return (faults[at] ?? well())(exchange)
    },
  })
  for (const { blob } of layers) registry.add(blob)
  for (const [at, image] of images.entries()) tagImage(registry, `v${at + 1}`, image)
  return {
    registry,
    reference: `${registry.host}/team/app:v1`,
    references: images.map((_, at) => `${registry.host}/team/app:v${at + 1}`),
    layers,
    starts,
    [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
  }
}

/** @returns the manifest. The layers' blobs are there already, or come by `add` */
export function tagImage(
  registry: FaultyRegistry,
  tag: string,
  layers: readonly MadeLayer[],
  architecture = 'amd64',
): Buffer {
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: layers.map(({ tar, diffId }) => diffId ?? digestOf(tar)) },
    }),
  )
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: descriptorOf(config, 'application/vnd.oci.image.config.v1+json'),
    layers: layers.map(({ blob, size = blob.length }) => ({ ...descriptorOf(blob, layerType), size })),
  }
  const bytes = Buffer.from(JSON.stringify(manifest))
  registry.add(config)
  registry.tag(tag, manifestType, bytes)
  return bytes
}

/** An index of images, by their architecture. */
export function tagIndex(registry: FaultyRegistry, tag: string, images: Readonly<Record<string, Buffer>>): void {
  const mediaType = 'application/vnd.oci.image.index.v1+json'
  const manifests = Object.entries(images).map(([architecture, manifest]) => ({
    ...descriptorOf(manifest, manifestType),
    platform: { os: 'linux', architecture },
  }))
  registry.tag(tag, mediaType, Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests })))
}

/** Sends all but the last `held` bytes, and those when the gate opens. */
export function holdBack(held: number, gate: Promise<unknown>): Fault {
  return async exchange => {
    const at = Math.max(exchange.bytes.length - held, 0)
    exchange.head()
    await exchange.send(exchange.bytes.subarray(0, at))
    await gate
    await exchange.send(exchange.bytes.subarray(at))
    exchange.response.end()
  }
}

/** Sends a piece of that many bytes each 20 ms. */
export function trickle(bytes: number): Fault {
  return async exchange => {
    exchange.head()
    for (let at = 0; at < exchange.bytes.length; at += bytes) {
      await exchange.send(exchange.bytes.subarray(at, at + bytes))
      await sleep(20)
    }
    exchange.response.end()
  }
}
