import { formatPlatform } from '../oci/platform.ts'
import { formatLogin, LoopbackRegistry, makeLogin } from '../places/loopback/registry.ts'
import type { Podman } from '../places/podman/podman.ts'
import { asRefusal, type Refused, sendWhile, type Transfer } from './engine-transfer.ts'
import type { LayerPull } from './pull-layer.ts'

/**
 * Through a pull of podman's own, from a registry on loopback that has the image as it is, so that its digests stay. Each layer is given as soon as it is
 * here and verified: podman unpacks the first ones while the next ones come.
 */
export async function serveToPodman(
  transfer: Transfer,
  podman: Podman,
): Promise<{ readonly pulls: readonly LayerPull[] } | Refused> {
  const { image, context } = transfer
  const { config, layers } = image
  const ready = new Map<string, Promise<void>>()
  let waiting = 0
  // One that is in another index is not read by podman.
  const isOneIndex = image.documents.length === 2
  // The name is on podman's command line, which every user of the host can read.
  const login = makeLogin()
  await using registry = await LoopbackRegistry.open({
    login,
    documents: isOneIndex ? image.documents : image.documents.slice(-1),
    openBlob: digest => {
      if (digest === config.descriptor.digest) return { size: config.bytes.length, read: () => once(config.bytes) }
      const layer = layers.find(({ descriptor }) => descriptor.digest === digest)
      return layer && { size: layer.descriptor.size, read: () => readWhenReady(layer.descriptor) }
    },
  })
  async function* readWhenReady(descriptor: (typeof layers)[number]['descriptor']): AsyncGenerator<Uint8Array> {
    waiting++
    try {
      await ready.get(descriptor.digest)
    } finally {
      waiting--
    }
    await using blob = await context.session.openBlob(descriptor, context.signal)
    yield* blob.read()
  }
  const sending = sendWhile(
    transfer,
    {
      name: `podman ${podman.version}`,
      emit: context.emit,
      onStart: (at, _pull, done) => {
        const { digest } = (layers[at] as (typeof layers)[number]).descriptor
        if (!ready.has(digest)) ready.set(digest, done)
      },
    },
    async stop => {
      const platform = isOneIndex ? formatPlatform(image.imageConfig) : undefined
      const options = { auth: formatLogin(login), isExcused: () => waiting > 0, signal: stop }
      await podman.pullFrom(`${registry.repository}:latest`, platform, options)
    },
  )
  try {
    return { pulls: await sending }
  } catch (error) {
    return asRefusal(error)
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
