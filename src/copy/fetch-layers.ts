import { verified } from '../flow/verify.ts'
import type { Digest } from '../oci/digest.ts'
import { parsePlatform } from '../oci/platform.ts'
import { openSpool, readSpool, spooled } from '../places/archive/spool.ts'
import { BlobHosts } from './blob-hosts.ts'
import { passingStream } from './blob-stream.ts'
import type { OpenedSource } from './places.ts'
import { openNetwork } from './pull.ts'
import { readHostPlatform, resolveImage } from './resolve.ts'

/** A compressed layer, verified, in a file without a name. */
export interface FetchedLayer extends AsyncDisposable {
  readonly digest: Digest
  readonly size: number
  /** From its first byte on, as often as asked. */
  read(): AsyncIterable<Uint8Array>
}

interface FetchOptions {
  readonly signal: AbortSignal
  /** Larger ones are left out. */
  readonly sizeMax: number
  readonly directory: string
  /** That of this host if absent. */
  readonly platform?: string | undefined
  /** Told each time that something has come. */
  readonly moved?: (() => void) | undefined
}

/** The compressed layers of an image, one after the other. The caller closes the source. @throws WindlassError of the source; DIGEST_MISMATCH, NO_SPACE */
export async function* fetchLayers(
  { source, reference }: OpenedSource,
  { signal, sizeMax, directory, platform, moved = () => {} }: FetchOptions,
): AsyncGenerator<FetchedLayer> {
  const hosts = new BlobHosts(source)
  const retrying = { signal, onRetry: () => {} }
  const host = readHostPlatform()
  const wanted = platform === undefined ? host : parsePlatform(platform, host)
  const image = await resolveImage(hosts, reference, wanted, { ...retrying, cache: async () => undefined })
  const network = openNetwork(hosts, {})
  for (const { descriptor } of image.layers.filter(({ descriptor }) => descriptor.size <= sizeMax)) {
    const { digest, size } = descriptor
    const spool = await openSpool(directory)
    const bytes = passingStream(network, descriptor, 0, { ...retrying, onBytes: moved })
    try {
      for await (const _chunk of spooled(spool, verified(bytes, { ...descriptor, subject: `layer ${digest}` })));
    } catch (error) {
      await spool.close()
      throw error
    }
    yield { digest, size, read: () => readSpool(spool), [Symbol.asyncDispose]: () => spool.close() }
  }
}
