import { hash } from 'node:crypto'
import type { Digest } from '../oci/digest.ts'
import type { ImageLayer } from '../oci/image-config.ts'
import { mediaTypes } from '../oci/media-types.ts'
import { pullFrom } from '../places/docker/images.ts'
import type { EngineMessage } from '../places/docker/messages.ts'
import { type LoopbackBlob, LoopbackRegistry } from '../places/loopback/registry.ts'
import type { Document } from '../places/place.ts'
import { readPlain } from './docker-load.ts'
import { asRefusal, type DockerTransfer, type Refused, sendWhile, type Transferred } from './engine-transfer.ts'
import { LayerPhases } from './layer-phases.ts'
import { Outlet } from './outlet.ts'
import type { LayerPull } from './pull-layer.ts'
import type { ResolvedImage } from './resolve.ts'

/**
 * Through a pull of the daemon's own, from a registry on loopback that has the layers as plain tars under their diffIds, and the very config: the ID is the same. A layer
 * flows on while it is fetched and decompressed, and the daemon unpacks one while the next ones come. Its content is verified on both sides.
 */
export async function serveImage(transfer: DockerTransfer): Promise<Transferred | Refused> {
  const { image, context, client, present } = transfer
  const phases = new LayerPhases(image, context.emit)
  const served = new ServedLayers(transfer)
  const manifest = plainManifest(image)
  const config = image.config.descriptor.digest
  await using registry = await LoopbackRegistry.open({
    documents: [manifest],
    openBlob: digest => (digest === config ? bytesOf(image.config.bytes) : served.open(digest)),
  })
  try {
    const pulls = await sendWhile(
      transfer,
      {
        name: client.name,
        emit: phases.emit,
        onStart: served.onStart,
        engine: { name: client.name, take: served.take },
      },
      async (stop, meter, fetched) => {
        const onMessage = (message: EngineMessage) => {
          meter.units++
          phases.handlePull(message)
        }
        // Until then it may wait for us; what it takes meanwhile is looked at layer by layer.
        const isDue = () => {
          meter.active = true
        }
        fetched.then(isDue, () => {})
        const from = { repository: registry.repository, digest: manifest.descriptor.digest }
        await pullFrom(client, from, { signal: stop, onMessage })
        served.release()
      },
    )
    phases.finish()
    return { pulls, sent: image.layers.filter(({ chainId }) => !present.has(chainId)).length }
  } catch (error) {
    return asRefusal(error)
  }
}

/** The layers of an image that a daemon may ask for, by diffId: an image may have one twice, which is asked for once. */
class ServedLayers {
  readonly #transfer: DockerTransfer
  readonly #outlets = new Map<Digest, Outlet>()
  readonly #owners = new Map<Digest, number>()

  constructor(transfer: DockerTransfer) {
    this.#transfer = transfer
    for (const [at, { diffId }] of transfer.image.layers.entries()) {
      if (!this.#owners.has(diffId)) this.#owners.set(diffId, at)
    }
  }

  readonly onStart = (at: number, pull: LayerPull, done: Promise<void>): void => {
    const layer = this.#layer(at)
    if (this.#owners.get(layer.diffId) !== at) return
    this.#outlets.set(layer.diffId, new Outlet(done, () => readPlain(this.#transfer, layer, pull.bytesPlain)))
  }

  readonly take = async (at: number, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> => {
    const { diffId } = this.#layer(at)
    const outlet = this.#owners.get(diffId) === at ? this.#outlets.get(diffId) : undefined
    if (outlet === undefined) for await (const _ of content);
    else await outlet.take(content, signal)
  }

  readonly open = (digest: Digest): LoopbackBlob | undefined => {
    const outlet = this.#outlets.get(digest)
    return outlet && { read: () => outlet.read() }
  }

  /** The daemon wants no more. */
  release(): void {
    for (const outlet of this.#outlets.values()) outlet.release()
  }

  #layer(at: number): ImageLayer {
    return this.#transfer.image.layers[at] as ImageLayer
  }
}

/** Sizes of plain layers are known only at their end, and docker looks at a layer's digest alone: those of the compressed ones stand for them. */
function plainManifest({ config, layers }: ResolvedImage): Document {
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.dockerManifest,
    config: { ...config.descriptor, mediaType: mediaTypes.dockerConfig },
    layers: layers.map(({ diffId, descriptor: { size } }) => ({
      mediaType: mediaTypes.dockerLayer,
      digest: diffId,
      size,
    })),
  }
  const bytes = Buffer.from(JSON.stringify(manifest))
  const digest = `sha256:${hash('sha256', bytes)}` as Digest
  return { descriptor: { mediaType: mediaTypes.dockerManifest, digest, size: bytes.length }, bytes }
}

function bytesOf(bytes: Uint8Array): LoopbackBlob {
  return {
    size: bytes.length,
    read: async function* () {
      yield bytes
    },
  }
}
