import { createHash } from 'node:crypto'
import { WindlassError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { digestAlgorithm, parseDigest } from '../../oci/digest.ts'
import { manifestSizeMax } from '../../oci/manifest.ts'
import { formatReference, type Reference } from '../../oci/reference.ts'
import type { BlobRequest, BlobStream, Document, Source, Target } from '../place.ts'
import { type ContainerdAddress, ContainerdClient } from './client.ts'
import { findContent } from './content.ts'
import { findImage } from './images.ts'
import { methods } from './messages.ts'

/**
 * An image of a containerd, with the blobs and documents that it has: an image that was pulled for one platform has those of that platform.
 * Nothing is asked of containerd before something is read.
 */
export function openContainerdSource(address: ContainerdAddress, reference: Reference): Source {
  return new ContainerdSource(new ContainerdClient(address), reference)
}

class ContainerdSource implements Source {
  readonly name: string
  readonly isLocal = true
  readonly #client: ContainerdClient
  readonly #reference: Reference

  constructor(client: ContainerdClient, reference: Reference) {
    this.name = client.name
    this.#client = client
    this.#reference = reference
  }

  /** By the name that containerd has it under; what has only a digest is looked for by that. */
  async resolve({ tag, digest }: Target, signal: AbortSignal): Promise<Document> {
    const { domain, path } = this.#reference
    const name = formatReference({ domain, path, ...(digest === undefined ? { tag: tag ?? 'latest' } : { digest }) })
    const image = await findImage(this.#client, name, signal)
    if (image !== undefined) {
      const target = { ...image.target, digest: parseDigest(image.target.digest) }
      return await this.readDocument(target, { sizeMax: manifestSizeMax, signal })
    }
    const content = digest === undefined ? undefined : await findContent(this.#client, digest, signal)
    if (digest === undefined || content === undefined)
      throw new WindlassError('NOT_FOUND', `Cannot find ${name} in ${this.name}`, {
        hint: "'ctr images ls' lists what is there; CONTAINERD_NAMESPACE names another namespace",
      })
    // The document says of itself what it is.
    const descriptor = { mediaType: 'application/octet-stream', digest, size: content.size }
    return await this.readDocument(descriptor, { sizeMax: manifestSizeMax, signal })
  }

  async readDocument(descriptor: Descriptor, options: { sizeMax: number; signal: AbortSignal }): Promise<Document> {
    const { digest, size } = descriptor
    const doing = `Cannot read ${digest} from ${this.name}`
    if (size > options.sizeMax)
      throw new WindlassError(
        'LIMIT_EXCEEDED',
        `${doing}: it has ${size} bytes; at most ${options.sizeMax} are allowed`,
      )
    const { bytes: stream } = await this.openBlob(descriptor, { offset: 0, signal: options.signal })
    const chunks: Uint8Array[] = []
    let length = 0
    for await (const chunk of stream) {
      length += chunk.length
      if (length > size) break
      chunks.push(chunk)
    }
    const bytes = Buffer.concat(chunks)
    const algorithm = digestAlgorithm(digest)
    if (length === size && `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` === digest)
      return { descriptor, bytes }
    throw new WindlassError('DIGEST_MISMATCH', `${doing}: its bytes are not what the digest names`)
  }

  async openBlob(descriptor: Descriptor, { offset, end, signal }: BlobRequest): Promise<BlobStream> {
    const { digest } = descriptor
    const context = { signal, doing: `Cannot read ${digest} from ${this.name}` }
    const size = (end ?? descriptor.size) - offset
    // To containerd, 0 bytes are all bytes.
    const bytes = size > 0 ? this.#read({ digest, offset, size }, context) : nothing()
    return { offset, bytes, servesRanges: true }
  }

  async *#read(
    request: { digest: string; offset: number; size: number },
    context: { signal: AbortSignal; doing: string },
  ): AsyncGenerator<Uint8Array> {
    for await (const { data } of this.#client.list(methods.readContent, request, context)) yield data
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]()
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
