/** Every place to be written to and read from, opened fresh in a directory of its own. */
import { join } from 'node:path'
import { type CopiedImage, copyTo } from '../../src/copy/copy-to.ts'
import { type OpenedSource, openImage, type PlaceOptions } from '../../src/copy/places.ts'
import { parseTransport } from '../../src/copy/transport.ts'
import type { Source } from '../../src/places/place.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { serveRegistry } from '../../src/server/registry-server.ts'
import { startDockerRegistry } from '../servers/docker-registry.ts'

export const amd64 = 'linux/amd64'
/** What the image is called where it comes from. */
export const reference = { domain: 'memory', path: 'image', tag: 'tag' }

export interface PlaceUnderTest {
  /** True if a manifest comes back with the bytes that were put. */
  readonly keepsManifests: boolean
  /** What it has of an index: all of it, the index with one platform's image, or that image alone. */
  readonly keepsIndexes: 'whole' | 'one platform' | 'none'
  put(source: Source, options: { platform?: string; signal: AbortSignal }): Promise<CopiedImage>
  openSource(): Promise<OpenedSource>
}

export type OpenPlace = (directory: string, opened: AsyncDisposableStack) => Promise<PlaceUnderTest>

interface Traits {
  readonly keepsManifests?: boolean
  readonly keepsIndexes?: PlaceUnderTest['keepsIndexes']
  readonly env?: Readonly<Record<string, string>>
}

export function placeAt(text: string, directory: string, traits: Traits = {}): PlaceUnderTest {
  const { keepsManifests = true, keepsIndexes = keepsManifests ? 'whole' : 'none', env = {} } = traits
  const transport = parseTransport(text)
  const options: PlaceOptions = {
    root: join(directory, 'store'),
    registry: { credentials: noCredentials },
    env,
    signal: AbortSignal.timeout(120_000),
  }
  return {
    keepsManifests,
    keepsIndexes,
    put: async (source, { platform, signal }) => {
      const opened = { source, reference, [Symbol.asyncDispose]: async () => {} }
      const copying = { ...options, from: 'memory', platform, signal, patience: { pauseMs: 1 } }
      return await copyTo(opened, transport, copying).result
    },
    openSource: () => openImage(transport, options),
  }
}

export const placesUnderTest: Readonly<Record<string, OpenPlace>> = {
  'docker-registry': async (directory, opened) => {
    const { host } = opened.use(await startDockerRegistry())
    return placeAt(`docker://${host}/some/image:tag`, directory)
  },
  "windlass' own registry": async (directory, opened) => {
    const server = opened.use(await serveRegistry({ directory: join(directory, 'registry') }))
    return placeAt(`docker://${server.host}/some/image:tag`, directory)
  },
  'an OCI layout': async directory => placeAt(`oci:${join(directory, 'layout')}:tag`, directory),
  'an OCI archive': async directory => placeAt(`oci-archive:${join(directory, 'image.tar')}:tag`, directory),
  'a docker archive': async directory =>
    placeAt(`docker-archive:${join(directory, 'image.tar')}:some/image:tag`, directory, { keepsManifests: false }),
  'the store': async directory => placeAt('store:some/image:tag', directory, { keepsIndexes: 'none' }),
}
