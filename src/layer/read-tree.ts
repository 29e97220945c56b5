import type { Worker } from 'node:worker_threads'
import { type ErrorCode, WindlassError } from '../errors.ts'
import { createRing, RingAborted, type RingMemory, RingWriter } from '../flow/ring.ts'
import { startThread } from '../sys/thread.ts'
import { defaultTarLimits, type TarLimits } from '../tar/entry.ts'
import { type FlatNode, type TreeNode, unflattenTree } from './layer-tree.ts'

/** As between decompressor and unpack thread. */
const ringBytes = 2 * 1024 * 1024
/** A million names take some 300 MiB. */
const heapMiBMax = 1024

/** A file without a name that contents are written to, from `position` on. */
export interface Spool {
  readonly fd: number
  readonly position: number
  /** The entries whose contents are wanted: that one and all below it, and those of these names. */
  readonly under?: string | undefined
  readonly names?: ReadonlySet<string>
}

export interface ReadTreeOptions {
  readonly signal: AbortSignal
  /** Whether the contents of files are hashed. */
  readonly hashes?: boolean
  readonly spool?: Spool | undefined
  readonly limits?: TarLimits
}

/** What the thread is told. */
export interface TreeOrder {
  readonly ring: RingMemory
  readonly limits: TarLimits
  readonly hashes: boolean
  readonly spool: Spool | undefined
}

/** Its one answer. */
export type TreeAnswer =
  | { readonly kind: 'tree'; readonly nodes: readonly FlatNode[]; readonly spoolEnd: number }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'error'; readonly code: ErrorCode; readonly message: string }

const threadUrl = new URL(import.meta.url.endsWith('.ts') ? './tree-thread.ts' : './tree-thread.js', import.meta.url)

/**
 * Reads a layer's tar to its end, in a thread of its own, into a tree in memory; nothing is unpacked. Memory goes by the number of names, not by their contents.
 * @throws WindlassError CORRUPT, LIMIT_EXCEEDED, CANCELLED, NO_SPACE for the spool, whatever the tar throws
 */
export async function readTree(
  tar: AsyncIterable<Uint8Array>,
  { signal, hashes = false, spool, limits = defaultTarLimits }: ReadTreeOptions,
): Promise<{ readonly root: TreeNode; readonly spoolEnd: number }> {
  signal.throwIfAborted()
  const ring = createRing(ringBytes)
  const writer = new RingWriter(ring)
  const order: TreeOrder = { ring, limits, hashes, spool }
  const worker = startThread(threadUrl, {
    workerData: order,
    resourceLimits: { maxOldGenerationSizeMb: heapMiBMax },
  })
  const abort = (): void => writer.abort()
  signal.addEventListener('abort', abort, { once: true })
  const answered = listen(worker).finally(abort)
  try {
    const answer = await Promise.race([answered, feed(tar, writer).then(() => answered)])
    if (answer.kind === 'tree') return { root: unflattenTree(answer.nodes), spoolEnd: answer.spoolEnd }
    if (answer.kind === 'error') throw new WindlassError(answer.code, answer.message)
    throw new WindlassError('CANCELLED', 'Cannot read layer: cancelled')
  } finally {
    signal.removeEventListener('abort', abort)
    writer.abort()
    await worker.terminate()
  }
}

/** The end of the tar is reached only if it is what it should be. */
async function feed(tar: AsyncIterable<Uint8Array>, writer: RingWriter): Promise<void> {
  try {
    for await (const chunk of tar) await writer.write(chunk)
    writer.end()
  } catch (error) {
    if (!(error instanceof RingAborted)) throw error
  }
}

function listen(worker: Worker): Promise<TreeAnswer> {
  return new Promise(resolve => {
    worker.once('message', resolve)
    worker.once('error', (error: Error & { code?: string }) => resolve(died(error)))
    worker.once('exit', () => resolve(died(new Error('it ended without an answer'))))
  })
}

function died(error: Error & { code?: string }): TreeAnswer {
  if (error.code !== 'ERR_WORKER_OUT_OF_MEMORY')
    return { kind: 'error', code: 'FAILED', message: `Cannot read layer: its thread died: ${error.message}` }
  const message = `Cannot read layer: its names need more than ${heapMiBMax} MiB of memory`
  return { kind: 'error', code: 'LIMIT_EXCEEDED', message }
}
