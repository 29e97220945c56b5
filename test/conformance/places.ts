/** Every place as a sink and as a source, opened fresh in a directory of its own. */
import { join } from 'node:path'
import { type OpenedSink, type OpenedSource, openImage, openSink, type PlaceOptions } from '../../src/copy/places.ts'
import { parseTransport } from '../../src/copy/transport.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { serveRegistry } from '../../src/server/registry-server.ts'
import { startDockerRegistry } from '../servers/docker-registry.ts'

export interface PlaceUnderTest {
  /** True if a manifest comes back with the bytes that were put. */
  readonly keepsManifests: boolean
  openSink(): Promise<OpenedSink>
  openSource(): Promise<OpenedSource>
}

type Open = (directory: string, opened: AsyncDisposableStack) => Promise<PlaceUnderTest>

function at(text: string, directory: string, keepsManifests = true): PlaceUnderTest {
  const options: PlaceOptions = {
    root: join(directory, 'store'),
    registry: { credentials: noCredentials },
    signal: AbortSignal.timeout(60_000),
  }
  const transport = parseTransport(text)
  if (transport.kind === 'store') throw new Error('the store is loaded, not written to')
  return {
    keepsManifests,
    openSink: () => openSink(transport, options),
    openSource: () => openImage(transport, options),
  }
}

export const placesUnderTest: Readonly<Record<string, Open>> = {
  'docker-registry': async (directory, opened) => {
    const { host } = opened.use(await startDockerRegistry())
    return at(`docker://${host}/some/image:tag`, directory)
  },
  "windlass' own registry": async (directory, opened) => {
    const server = opened.use(await serveRegistry({ directory: join(directory, 'registry') }))
    return at(`docker://${server.host}/some/image:tag`, directory)
  },
  'an OCI layout': async directory => at(`oci:${join(directory, 'layout')}:tag`, directory),
  'an OCI archive': async directory => at(`oci-archive:${join(directory, 'image.tar')}:tag`, directory),
  'a docker archive': async directory =>
    at(`docker-archive:${join(directory, 'image.tar')}:some/image:tag`, directory, false),
}
