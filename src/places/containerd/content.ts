import { randomBytes } from 'node:crypto'
import { isWindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import type { Digest } from '../../oci/digest.ts'
import { type ContainerdClient, isAlreadyExists, isLocked } from './client.ts'
import { hold } from './leases.ts'
import { type ContentInfo, type Labels, methods } from './messages.ts'

/** A message of this size costs little beside its bytes; containerd takes up to 16 MiB. */
const pieceSize = 1024 * 1024

/** The write actions of containerd's content service. */
const STAT = 0
const WRITE = 1
const COMMIT = 2

/** What containerd has under a digest, in this namespace. @throws WindlassError */
export async function findContent(
  client: ContainerdClient,
  digest: Digest,
  signal: AbortSignal,
): Promise<ContentInfo | undefined> {
  const context = { signal, doing: `Cannot look ${digest} up in ${client.name}` }
  return (await client.find(methods.contentInfo, { digest }, context))?.info ?? undefined
}

/** The same, which stays from then on as long as the lease of this client. @throws WindlassError */
export async function holdContent(
  client: ContainerdClient,
  digest: Digest,
  signal: AbortSignal,
): Promise<ContentInfo | undefined> {
  if ((await findContent(client, digest, signal)) === undefined) return undefined
  await hold(client, { type: 'content', id: digest }, signal)
  return await findContent(client, digest, signal)
}

/**
 * Puts a blob into containerd's content store, which checks size and digest itself and shows it only then. Nothing is sent of what is there, but its
 * labels are set.
 * @throws WindlassError FAILED with containerd's words, NO_SPACE, STALLED, ENGINE_UNREACHABLE; whatever the bytes throw
 */
export async function writeContent(
  client: ContainerdClient,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  bytes: () => AsyncIterable<Uint8Array>,
  { labels, signal }: { readonly labels: Labels; readonly signal: AbortSignal },
): Promise<void> {
  const context = { signal, doing: `Cannot write ${digest} into ${client.name}` }
  if ((await holdContent(client, digest, signal)) === undefined) {
    try {
      const writing = new Writing(client, { digest, size }, labels, context)
      const ref = `windlass-${digest}`
      return await writing.run(bytes, ref).catch(error => {
        if (!isLocked(error)) throw error
        // Another windlass writes it, and may never be done. Whoever is the first to end has written it.
        return writing.run(bytes, `${ref}-${randomBytes(6).toString('hex')}`)
      })
    } catch (error) {
      // Another client was faster, or another namespace has it, from which it is taken over.
      if (!isAlreadyExists(error)) throw error
    }
  }
  const merged = mergeLabels((await findContent(client, digest, signal))?.labels ?? {}, labels)
  const paths = Object.keys(merged).map(name => `labels.${name}`)
  if (paths.length > 0)
    await client.call(methods.updateContent, { info: { digest, labels: merged }, mask: { paths } }, context)
}

/** What containerd takes as name and value together (`labels.Validate`). */
const labelSizeMax = 4096

/** A blob may be had from several repositories of a host: their label lists all, in order, as containerd does it; what has no place any more is left out. */
function mergeLabels(before: Labels, labels: Labels): Labels {
  const merged = Object.entries(labels).map(([name, value]) => {
    const known = name.startsWith(sourceLabelPrefix) ? before[name] : undefined
    const all = [...new Set([...(known?.split(',') ?? []), value])].sort().join(',')
    return [name, known !== undefined && name.length + all.length > labelSizeMax ? known : all]
  })
  return Object.fromEntries(merged)
}

/** From where the content may be had again, or mounted at a push: with the host without its port. */
export const sourceLabelPrefix = 'containerd.io/distribution.source.'

/** One ingest, under a reference of windlass's own that names the content: a later one goes on where it stopped. */
class Writing {
  readonly #client: ContainerdClient
  readonly #content: { readonly digest: Digest; readonly size: number }
  readonly #labels: Labels
  readonly #context: { readonly signal: AbortSignal; readonly doing: string }

  constructor(
    client: ContainerdClient,
    content: { readonly digest: Digest; readonly size: number },
    labels: Labels,
    context: { readonly signal: AbortSignal; readonly doing: string },
  ) {
    this.#client = client
    this.#content = content
    this.#labels = labels
    this.#context = context
  }

  /** @param ref what containerd knows the ingest by: one that is there is gone on with */
  async run(bytes: () => AsyncIterable<Uint8Array>, ref: string): Promise<void> {
    const { digest: expected, size: total } = this.#content
    const common = { ref, total, expected }
    try {
      using stream = this.#client.openStream(methods.writeContent, this.#context)
      let { offset } = await stream.ask({ ...common, action: STAT, offset: 0 })
      let skip = offset
      for await (const chunk of inPieces(bytes())) {
        const data = skip > 0 ? chunk.subarray(skip) : chunk
        skip -= chunk.length - data.length
        if (data.length === 0) continue
        await stream.ask({ ...common, action: WRITE, offset, data })
        offset += data.length
      }
      await stream.ask({ ...common, action: COMMIT, offset, labels: this.#labels })
    } catch (error) {
      if (isWindlassError(error, 'FAILED') && !isAlreadyExists(error)) await this.#abort(ref)
      throw error
    }
  }

  /** What was wrong must not be gone on with. */
  async #abort(ref: string): Promise<void> {
    await this.#client.leave(methods.abortContent, { ref }, { ...this.#context, ms: 5000 })
  }
}

/** Chunks that are too large for one message come as several. */
async function* inPieces(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length; at += pieceSize) yield chunk.subarray(at, at + pieceSize)
  }
}
