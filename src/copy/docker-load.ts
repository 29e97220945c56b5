import { decompress } from '../codec/decompress.ts'
import type { StageMeter } from '../flow/stage.ts'
import { verified } from '../flow/verify.ts'
import type { ImageLayer } from '../oci/image-config.ts'
import { type ArchiveLayer, writeArchive } from '../places/archive/docker-writer.ts'
import { loadArchive } from '../places/docker/images.ts'
import type { EngineMessage } from '../places/docker/messages.ts'
import { type DockerTransfer, sendWhile, type Transferred } from './engine-transfer.ts'
import { LayerPhases } from './layer-phases.ts'
import type { LayerPull } from './pull-layer.ts'

/** Through `docker load`: each layer goes into the archive as soon as it is here and verified, as a plain tar. What the daemon has is left out. */
export async function loadImage(transfer: DockerTransfer): Promise<Transferred> {
  const { image, context, client, name, present } = transfer
  const phases = new LayerPhases(image, context.emit)
  const ready = image.layers.map(() => Promise.withResolvers<ArchiveLayer>())
  for (const { promise } of ready) promise.catch(() => {})
  let sent = 0
  const archiveLayer = (layer: ImageLayer, pull: LayerPull): ArchiveLayer => {
    const { diffId } = layer
    if (present.has(layer.chainId)) return { diffId }
    sent++
    return { diffId, content: { size: pull.bytesPlain, bytes: readPlain(transfer, layer, pull.bytesPlain) } }
  }
  const archive = writeArchive({
    config: { digest: image.config.descriptor.digest, bytes: image.config.bytes },
    layers: image.layers.map(({ diffId }, at) => ({
      diffId,
      ready: (ready[at] as PromiseWithResolvers<ArchiveLayer>).promise,
    })),
    names: name === undefined ? [] : [name],
  })
  const pulls = await sendWhile(
    transfer,
    {
      name: client.name,
      emit: phases.emit,
      onStart: (at, pull, done) => {
        done.then(() => ready[at]?.resolve(archiveLayer(image.layers[at] as ImageLayer, pull)), ready[at]?.reject)
      },
      onFailed: error => {
        for (const { reject } of ready) reject(error)
      },
    },
    (stop, meter) => {
      const onMessage = (message: EngineMessage) => {
        meter.units++
        phases.handleLoad(message)
      }
      return loadArchive(client, meterUpload(archive, meter, transfer.unpacksInSilence), { signal: stop, onMessage })
    },
  )
  phases.finish()
  return { pulls, sent }
}

/** It is the daemon's turn while it takes a chunk, and when it has them all; then it may be one that says nothing. */
async function* meterUpload(
  archive: AsyncIterable<Uint8Array>,
  meter: StageMeter,
  unpacksInSilence: boolean,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of archive) {
    meter.active = true
    yield chunk
    meter.bytesIn += chunk.length
    meter.active = false
  }
  meter.active = !unpacksInSilence
}

/** The tar of a layer that was fetched and found right: what goes out is checked once more as it flows. */
export async function* readPlain(
  { context: { session, signal } }: Pick<DockerTransfer, 'context'>,
  { descriptor, diffId }: ImageLayer,
  size: number,
): AsyncGenerator<Uint8Array, void, void> {
  await using blob = await session.openBlob(descriptor, signal)
  yield* verified(decompress(blob.read(), { signal }), { digest: diffId, size, subject: `layer ${descriptor.digest}` })
}
