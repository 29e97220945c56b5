/** Images that grow along one axis and are alike in all else: made, not found, so that nothing but the one number differs. */
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { startDockerRegistry } from '../test/servers/docker-registry.ts'
import { rawEntry } from '../test/tar-builder.ts'
import { cached } from '../test/testbed/cache.ts'
import { hostArchitecture, pushImage } from '../test/testbed/image-layout.ts'

export const axes = ['entries', 'bytes', 'layers', 'pulls'] as const
export type Axis = (typeof axes)[number]

interface LayerShape {
  readonly files: number
  readonly fileBytes: number
}

interface ImageShape extends LayerShape {
  readonly layers: number
}

interface Growth {
  readonly title: string
  readonly points: readonly number[]
  /** Only if asked for: minutes, and gigabytes. */
  readonly longPoints: readonly number[]
  shape(point: number): ImageShape
}

const megabyte = 1_000_000

export const growths: Readonly<Record<Axis, Growth>> = {
  entries: {
    title: 'entries of one layer, 200 bytes each',
    points: [1_000, 10_000, 100_000],
    longPoints: [1_000_000],
    shape: files => ({ layers: 1, files, fileBytes: 200 }),
  },
  bytes: {
    title: 'bytes of one layer, files of 10 MB',
    points: [10 * megabyte, 100 * megabyte, 1000 * megabyte],
    longPoints: [10_000 * megabyte],
    shape: bytes => ({ layers: 1, files: bytes / (10 * megabyte), fileBytes: 10 * megabyte }),
  },
  layers: {
    title: 'layers, 50 files of 4 KB each',
    points: [1, 10, 40, 120],
    longPoints: [],
    shape: layers => ({ layers, files: 50, fileBytes: 4_000 }),
  },
  pulls: {
    title: 'pulls at a time, an image of 5 000 files of 10 KB each',
    points: [1, 2, 4, 8],
    longPoints: [],
    shape: () => ({ layers: 1, files: 5_000, fileBytes: 10_000 }),
  },
}

export function pointsOf(axis: Axis, isLong: boolean): number[] {
  const { points, longPoints } = growths[axis]
  return [...points, ...(isLong ? longPoints : [])]
}

/** How many images are pulled at a point. */
export function countImages(axis: Axis, point: number): number {
  return axis === 'pulls' ? point : 1
}

/** The storage of a docker-registry that holds the images of one point: `growth:0` and so on. */
export async function growthStorage(axis: Axis, point: number): Promise<string> {
  const shape = growths[axis].shape(point)
  const place = await cached(`growth-${axis}-${point}`, [import.meta.url], async directory => {
    await mkdir(join(directory, 'registry'))
    await using registry = await startDockerRegistry({ storage: join(directory, 'registry') })
    for (let image = 0; image < countImages(axis, point); image++) {
      const layout = join(directory, 'layout')
      await writeLayout(layout, shape, image)
      await pushImage(layout, 'image', `${registry.host}/growth:${image}`)
      await rm(layout, { recursive: true })
    }
  })
  return join(place, 'registry')
}

async function writeLayout(layout: string, shape: ImageShape, image: number): Promise<void> {
  const blobs = join(layout, 'blobs/sha256')
  await mkdir(blobs, { recursive: true })
  const layers: { diffId: string; descriptor: object }[] = []
  for (let i = 0; i < shape.layers; i++) layers.push(await writeLayer(blobs, shape, image * 1000 + i))
  const config = await writeDocument(blobs, 'application/vnd.oci.image.config.v1+json', {
    architecture: hostArchitecture,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  })
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = await writeDocument(blobs, mediaType, {
    schemaVersion: 2,
    mediaType,
    config,
    layers: layers.map(({ descriptor }) => descriptor),
  })
  const annotations = { 'org.opencontainers.image.ref.name': 'image' }
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  )
}

async function writeLayer(blobs: string, shape: LayerShape, seed: number) {
  const unnamed = join(blobs, '.layer')
  const plain = createHash('sha256')
  const packed = createHash('sha256')
  const hashed = (hash: typeof plain) =>
    async function* (bytes: AsyncIterable<Buffer>) {
      for await (const chunk of bytes) {
        hash.update(chunk)
        yield chunk
      }
    }
  await pipeline(
    Readable.from(tarPieces(shape, seed), { objectMode: false }),
    hashed(plain),
    createGzip({ level: 1, chunkSize: 1 << 18 }),
    hashed(packed),
    createWriteStream(unnamed),
  )
  const { size } = await stat(unnamed)
  const hex = packed.digest('hex')
  await rename(unnamed, join(blobs, hex))
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip'
  return {
    diffId: `sha256:${plain.digest('hex')}`,
    descriptor: { mediaType, digest: `sha256:${hex}`, size },
  }
}

const filesPerDirectory = 100

function* tarPieces({ files, fileBytes }: LayerShape, seed: number): Generator<Buffer> {
  const text = makeText(fileBytes)
  for (let file = 0; file < files; file++) {
    const directory = `d${Math.floor(file / filesPerDirectory)}`
    if (file % filesPerDirectory === 0) yield rawEntry({ name: `${directory}/`, typeflag: '5', mode: 0o755 })
    // The first bytes differ, so that no two files, and no two layers, are the same.
    const data = Buffer.concat([Buffer.from(`${seed} ${file}\n`), text]).subarray(0, fileBytes)
    yield rawEntry({ name: `${directory}/file-${file}`, data, mtime: 1_700_000_000 })
  }
  yield Buffer.alloc(1024)
}

/** Words at random, always the same (Numerical Recipes' generator): it is compressed to about a third, as programs are. */
function makeText(length: number): Buffer {
  let state = 1
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state >>> 12
  }
  const words = Array.from({ length: 2000 }, () => next().toString(36) + next().toString(36))
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; ) at += bytes.write(`${words[next() % words.length]} `, at, 'latin1')
  return bytes
}

async function writeDocument(blobs: string, mediaType: string, document: object) {
  const bytes = Buffer.from(JSON.stringify(document))
  const hex = createHash('sha256').update(bytes).digest('hex')
  await writeFile(join(blobs, hex), bytes)
  return { mediaType, digest: `sha256:${hex}`, size: bytes.length }
}
