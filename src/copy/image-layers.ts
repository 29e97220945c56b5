import { decompress } from '../codec/decompress.ts'
import type { WindlassError } from '../errors.ts'
import type { RetryOptions } from '../flow/retry.ts'
import { verified } from '../flow/verify.ts'
import type { TreeNode } from '../layer/layer-tree.ts'
import { type ReadTreeOptions, readTree } from '../layer/read-tree.ts'
import type { ImageLayer } from '../oci/image-config.ts'
import { parsePlatform } from '../oci/platform.ts'
import { formatReference } from '../oci/reference.ts'
import { BlobHosts } from './blob-hosts.ts'
import { type Network, passingStream } from './blob-stream.ts'
import type { OpenedSource } from './places.ts'
import { checkPlatform, emitResolved, openNetwork, type PullOptions } from './pull.ts'
import type { Emit } from './pull-layers.ts'
import { type ResolvedImage, readHostPlatform, resolveImage } from './resolve.ts'

export interface ReadImageOptions extends Pick<PullOptions, 'root' | 'platform' | 'patience' | 'minSpeed' | 'signal'> {}

interface Context {
  readonly options: ReadImageOptions
  readonly signal: AbortSignal
  readonly emit: Emit
}

/** The layers of one image, read as trees in memory from wherever it is; nothing is kept. */
export class ImageLayers {
  readonly image: ResolvedImage
  readonly #network: Network
  readonly #context: Context

  private constructor(image: ResolvedImage, network: Network, context: Context) {
    this.image = image
    this.#network = network
    this.#context = context
  }

  /** @throws WindlassError as `resolveImage` */
  static async open({ source, reference }: OpenedSource, context: Context): Promise<ImageLayers> {
    const { options, signal, emit } = context
    const name = formatReference(reference)
    emit({ type: 'start', reference: name, registry: source.name })
    const hosts = new BlobHosts(source)
    const host = readHostPlatform()
    const wanted = options.platform === undefined ? host : parsePlatform(options.platform, host)
    const retrying: RetryOptions = { signal, onRetry: tellRetry(emit), pauseMs: options.patience?.pauseMs }
    const image = await resolveImage(hosts, reference, wanted, { ...retrying, cache: async () => undefined })
    checkPlatform(image, name, options.platform, emit)
    emitResolved(image, name, emit)
    return new ImageLayers(image, openNetwork(hosts, options), context)
  }

  get count(): number {
    return this.image.layers.length
  }

  /** Told where the layer need not be read. */
  skip(at: number): void {
    this.#tell(at, 'exists')
  }

  /** Reads the layer to its end: blob and content are verified before there is a tree. */
  async read(
    at: number,
    options: Omit<ReadTreeOptions, 'signal'>,
  ): Promise<{ readonly root: TreeNode; readonly spoolEnd: number }> {
    const { signal } = this.#context
    this.#tell(at, 'reading')
    const { root, spoolEnd } = await readTree(this.#content(at), { ...options, signal })
    setLayer(root, at)
    this.#tell(at, 'read')
    return { root, spoolEnd }
  }

  #layer(at: number): ImageLayer {
    return this.image.layers[at] as ImageLayer
  }

  #tell(at: number, phase: 'exists' | 'reading' | 'read'): void {
    const { digest, size } = this.#layer(at).descriptor
    this.#context.emit({ type: 'layer', layer: at, digest, size, phase })
  }

  #content(at: number): AsyncIterable<Uint8Array> {
    const { signal, emit } = this.#context
    const { descriptor, diffId } = this.#layer(at)
    const { digest, size } = descriptor
    let bytesDownloaded = 0
    const packed = passingStream(this.#network, descriptor, 0, {
      signal,
      onBytes: bytes => {
        bytesDownloaded += bytes
        const progress = { bytesDownloaded, bytesResumed: 0, bytesUnpacked: 0, entries: 0 }
        emit({ type: 'progress', layer: at, digest, size, ...progress })
      },
      onRetry: tellRetry(emit, at),
    })
    const plain = decompress(verified(packed, { ...descriptor, subject: `layer ${digest}` }), { signal })
    return verified(plain, { digest: diffId, subject: `content of layer ${digest}` })
  }
}

function tellRetry(emit: Emit, layer?: number): (error: WindlassError) => void {
  return ({ message }) => emit({ type: 'warning', message, ...(layer !== undefined && { layer }) })
}

function setLayer(node: TreeNode, layer: number): void {
  if (node.facts !== undefined) node.facts.layer = layer
  for (const child of node.children?.values() ?? []) setLayer(child, layer)
}
