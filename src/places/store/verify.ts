import { readFileSync, readlinkSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { WindlassError } from '../../errors.ts'
import type { Digest } from '../../oci/digest.ts'
import { imageLayers, parseImageConfig } from '../../oci/image-config.ts'
import { parseDocument } from '../../oci/manifest.ts'
import { readDigest } from './blob-ingest.ts'
import { listOrphans, listStrayLinks } from './collect.ts'
import type { StoreContext } from './context.ts'
import { formatLower } from './layer-ingest.ts'
import type { ImageRecord, LayerRecord, VerifyFinding } from './types.ts'

/** Options of a verification. */
export interface VerifyOptions {
  readonly signal: AbortSignal
  /** Take blobs that are damaged out of the store. */
  readonly repair?: boolean
}

/**
 * Compares everything the database promises with what is on the disk: each blob's bytes, each layer's place and links, each image's documents and chain.
 * The content of unpacked layers is not compared. Nothing is changed unless asked: then damaged blobs go, and the next pull fetches them again. What
 * another process removes meanwhile is no finding.
 */
export async function* verifyStore(context: StoreContext, options: VerifyOptions): AsyncGenerator<VerifyFinding> {
  const { signal } = options
  for (const problem of context.database.checkIntegrity()) yield { kind: 'database', subject: 'windlass.db', problem }
  for (const blob of context.database.listBlobs()) {
    const finding = await checkBlob(context, blob, signal)
    if (finding === undefined || context.database.findBlobSize(blob.digest) === undefined) continue
    yield options.repair === true ? await repairBlob(context, blob, finding, signal) : finding
  }
  for (const layer of context.database.listLayers()) {
    throwIfAborted(signal)
    const finding = checkLayer(context, layer)
    if (finding !== undefined && context.database.findLayer(layer.chainId) !== undefined) yield finding
  }
  for (const image of context.database.listImages()) {
    throwIfAborted(signal)
    const finding = checkImage(context, image)
    if (finding !== undefined && context.database.findImage(image.digest) !== undefined) yield finding
  }
  yield* checkNames(context)
  yield* checkOrphans(context)
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted)
    throw new WindlassError('CANCELLED', 'Cannot verify the store: cancelled', { cause: signal.reason })
}

async function checkBlob(
  context: StoreContext,
  { digest, size }: { digest: Digest; size: number },
  signal: AbortSignal,
): Promise<VerifyFinding | undefined> {
  const path = context.layout.blob(digest)
  try {
    const actual = statSync(path, { throwIfNoEntry: false })?.size
    if (actual === undefined) return { kind: 'blob-missing', subject: digest, problem: 'its file is not there' }
    if (actual !== size)
      return { kind: 'blob-size', subject: digest, problem: `its file has ${actual} bytes; wanted ${size}` }
    const found = await readDigest(path, digest, signal)
    return found === digest
      ? undefined
      : { kind: 'blob-digest', subject: digest, problem: `its bytes have the digest ${found}` }
  } catch (error) {
    throwIfAborted(signal)
    return { kind: 'unreadable', subject: digest, problem: (error as Error).message }
  }
}

/**
 * Takes a damaged blob out of the store. Under its lock, and after another look: a pull may have made it anew, and whoever holds the lock is about to.
 * A file that cannot be read stays, since its disk may have more to tell.
 */
async function repairBlob(
  context: StoreContext,
  blob: { digest: Digest; size: number },
  finding: VerifyFinding,
  signal: AbortSignal,
): Promise<VerifyFinding> {
  const { layout, database, locks } = context
  using lock = locks.try('blob', blob.digest)
  if (lock === undefined || finding.kind === 'unreadable') return finding
  if ((await checkBlob(context, blob, signal)) !== undefined) {
    database.transaction(() => database.deleteDamagedBlob(blob.digest))
    await rm(layout.blob(blob.digest), { force: true })
    await database.flush()
  }
  return { ...finding, repaired: true }
}

function checkLayer(context: StoreContext, layer: LayerRecord): VerifyFinding | undefined {
  return checkLayerFiles(context, layer) ?? checkLayerBlob(context, layer)
}

/** A row without a right file is a finding of its own; here is only what has no row. */
function checkLayerBlob({ database }: StoreContext, { chainId }: LayerRecord): VerifyFinding | undefined {
  const blob = database.findLayer(chainId)?.blobDigest // it may have another one by now
  if (blob === undefined || database.findBlobSize(blob) !== undefined) return undefined
  return { kind: 'layer-blob', subject: chainId, problem: `its blob ${blob} is not in the store` }
}

function checkLayerFiles({ layout, database }: StoreContext, layer: LayerRecord): VerifyFinding | undefined {
  const subject = layer.chainId
  const directory = layout.layer(layer.cacheId)
  if (statSync(layer.diffDirectory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    return {
      kind: 'layer-missing',
      subject,
      problem: `its directory ${relative(layout.root, layer.diffDirectory)} is not there`,
    }
  }
  const link = readOrReason(() => readFileSync(join(directory, 'link'), 'utf8'))
  if (link !== layer.link)
    return { kind: 'layer-link', subject, problem: `its file link holds ${JSON.stringify(link)}; wanted ${layer.link}` }
  const target = readOrReason(() => readlinkSync(layout.link(layer.link)))
  const wanted = `../${layer.cacheId}/diff`
  if (target !== wanted)
    return { kind: 'layer-link', subject, problem: `overlay2/l/${layer.link} leads to ${target}; wanted ${wanted}` }
  if (layer.parent === undefined) return undefined
  const lower = readOrReason(() => readFileSync(join(directory, 'lower'), 'utf8'))
  if (lower === formatLower(database.listChain(layer.parent))) return undefined
  return { kind: 'layer-lower', subject, problem: 'its file lower does not name the layers below it' }
}

function readOrReason(read: () => string): string {
  try {
    return read()
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unreadable'
  }
}

/** The manifest and the config decide which layers an image has; the rows must say the same. */
function checkImage({ layout }: StoreContext, image: ImageRecord): VerifyFinding | undefined {
  try {
    const manifest = parseDocument(readFileSync(layout.blob(image.digest)))
    if (manifest.kind !== 'manifest') throw new Error('its manifest is an index')
    const config = parseImageConfig(readFileSync(layout.blob(image.config.digest)))
    const wanted = imageLayers(manifest, config).map(layer => layer.chainId)
    const actual = image.layers.map(layer => layer.chainId)
    if (wanted.join() !== actual.join())
      throw new Error(`it has ${actual.length} layers that are not the ${wanted.length} of its config`)
    return undefined
  } catch (error) {
    return { kind: 'image-incomplete', subject: image.digest, problem: (error as Error).message }
  }
}

function* checkNames({ database }: StoreContext): Generator<VerifyFinding> {
  for (const { reference, image, target } of database.listNames()) {
    if (database.findImage(image) !== undefined && database.findBlobSize(target) !== undefined) continue
    yield {
      kind: 'name-dangling',
      subject: reference,
      problem: `the document ${target} that it names is not in the store`,
    }
  }
}

function* checkOrphans(context: StoreContext): Generator<VerifyFinding> {
  for (const path of [...listOrphans(context), ...listStrayLinks(context)]) {
    const subject = relative(context.layout.root, path)
    yield { kind: 'orphan', subject, problem: 'nothing in the database stands for it; a collection removes it' }
  }
}
