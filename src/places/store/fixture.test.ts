/** Small images made in code, put into a real store on a real filesystem. */
import { createHash } from 'node:crypto'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { Descriptor } from '../../oci/descriptor.ts'
import { type Digest, parseDigest } from '../../oci/digest.ts'
import type { Document } from '../place.ts'
import { removeTree } from './remove-tree.ts'
import { type ImageRecord, type LayerRecord, type OpenOptions, type Session, Store } from './store.ts'

export const never = new AbortController().signal

export function digestOf(bytes: Uint8Array | string): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
}

const cleanups = new WeakMap<TestContext, (() => unknown)[]>()

/** Runs `cleanup` after the test, the last one first: the runner's own order is the first one first. */
export function defer(t: TestContext, cleanup: () => unknown): void {
  const stack = cleanups.get(t)
  if (stack !== undefined) return void stack.push(cleanup)
  const made = [cleanup]
  cleanups.set(t, made)
  t.after(async () => {
    const failures: unknown[] = []
    for (const next of made.toReversed()) {
      try {
        await next()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  })
}

export async function makeDirectory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'windlass-store-'))
  defer(t, () => removeTree(path))
  return path
}

/** A store in a directory of its own, closed before the directory goes. */
export async function openStore(t: TestContext, root?: string, options: OpenOptions = {}): Promise<Store> {
  const store = await Store.open(root ?? join(await makeDirectory(t), 'store'), options)
  defer(t, () => store[Symbol.asyncDispose]())
  return store
}

export function makeBlob(bytes: Uint8Array, mediaType = 'application/vnd.oci.image.layer.v1.tar'): Document {
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes }
}

export function makeJson(value: unknown, mediaType: string): Document {
  return makeBlob(Buffer.from(JSON.stringify(value)), mediaType)
}

export async function putBlob(session: Session, { descriptor, bytes }: Document): Promise<void> {
  await using ingest = await session.openBlob(descriptor, never)
  if (ingest.complete) return
  await ingest.restart()
  await ingest.write(bytes)
  await ingest.commit()
}

export interface FixtureLayer {
  /** The compressed blob: any bytes, since nobody unpacks it here. */
  readonly blob: Document
  readonly diffId: Digest
  readonly chainId: Digest
  readonly parent: Digest | undefined
  /** Puts content into the diff directory. */
  readonly fill: (diff: string) => Promise<void>
}

/** A chain of layers; each holds a file `layer-<n>` unless `fill` says otherwise. */
export function makeLayers(
  count: number,
  seed: string,
  fill?: (diff: string, n: number) => Promise<void>,
): FixtureLayer[] {
  const layers: FixtureLayer[] = []
  for (let n = 0; n < count; n += 1) {
    const parent = layers.at(-1)?.chainId
    const diffId = digestOf(`${seed} ${n}`)
    const chainId = parent === undefined ? diffId : digestOf(`${parent} ${diffId}`)
    const blob = makeBlob(Buffer.from(`compressed ${seed} ${n}`))
    const standard = (diff: string) => writeFile(join(diff, `layer-${n}`), `${seed} ${n}`)
    layers.push({ blob, diffId, chainId, parent, fill: fill === undefined ? standard : diff => fill(diff, n) })
  }
  return layers
}

export async function putLayer(session: Session, layer: FixtureLayer): Promise<LayerRecord> {
  await using ingest = await session.openLayer(layer, never)
  if (ingest.existing !== undefined) return ingest.existing
  await layer.fill(ingest.diffDirectory)
  return await ingest.commit({ size: 10, blobDigest: layer.blob.descriptor.digest })
}

export function makeConfig(layers: readonly FixtureLayer[], note: string): Document {
  const rootfs = { type: 'layers', diff_ids: layers.map(layer => layer.diffId) }
  const config = { architecture: 'amd64', os: 'linux', note, rootfs }
  return makeJson(config, 'application/vnd.oci.image.config.v1+json')
}

/** The same layers, as another tool compressed them. */
export function recompress(layers: readonly FixtureLayer[]): FixtureLayer[] {
  return layers.map(layer => ({ ...layer, blob: makeBlob(Buffer.concat([Buffer.from('re'), layer.blob.bytes])) }))
}

/** Puts a whole image through a session, as a pull does: what is there already is not fetched. */
export async function putImage(
  session: Session,
  reference: string,
  layers: readonly FixtureLayer[],
  note = '',
): Promise<ImageRecord> {
  const config = makeConfig(layers, note)
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const descriptors: Descriptor[] = layers.map(layer => layer.blob.descriptor)
  const manifest = makeJson({ schemaVersion: 2, mediaType, config: config.descriptor, layers: descriptors }, mediaType)
  for (const document of [manifest, config]) await session.putDocument(document)
  for (const layer of layers) {
    const found = session.findLayer(layer.chainId)
    if (found !== undefined && session.hasIntactBlob(found)) continue
    await putBlob(session, layer.blob)
    await putLayer(session, layer)
  }
  return await session.putImage({
    reference,
    target: manifest.descriptor,
    manifest: manifest.descriptor,
    config: config.descriptor,
    platform: { os: 'linux', architecture: 'amd64' },
    layers: layers.map(layer => ({ chainId: layer.chainId, descriptor: layer.blob.descriptor })),
  })
}

/** Puts an image in a session of its own. */
export async function pullFixture(
  store: Store,
  reference: string,
  layers: readonly FixtureLayer[],
  note = '',
): Promise<ImageRecord> {
  await using session = await store.openSession()
  return await putImage(session, reference, layers, note)
}
