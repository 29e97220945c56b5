import { dirname } from 'node:path'
import { isWindlassError, WindlassError } from '../errors.ts'
import { formatReference, parseReference, type Reference } from '../oci/reference.ts'
import { type Archive, openArchive } from '../places/archive/archive.ts'
import type { ArchivedImage } from '../places/archive/archived-image.ts'
import { openDockerArchiveSink } from '../places/archive/docker-sink.ts'
import { type FileSinkOptions, openFileSink } from '../places/archive/file-sink.ts'
import { openLayoutSink, openLayoutTarSink } from '../places/archive/layout-sink.ts'
import type { ByteSink } from '../places/archive/tar-output.ts'
import type { Placement, Sink, Source } from '../places/place.ts'
import { openRegistry } from '../places/registry/registry.ts'
import type { RegistryOptions } from '../places/registry/repository.ts'
import { openRegistrySink } from '../places/registry/upload.ts'
import { Store } from '../places/store/store.ts'
import { openStoreSource } from '../places/store/store-source.ts'
import type { Destination } from './destination.ts'
import { openEngine } from './engines.ts'
import type { Transport } from './transport.ts'

export interface PlaceOptions {
  /** Of the store; large things are kept there meanwhile, too. */
  readonly root: string
  readonly registry: RegistryOptions
  /** Where engines are, as their own clients read it from there. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** How an archive that is written lies on the disk. */
  readonly files?: FileSinkOptions
  readonly signal: AbortSignal
}

/** Stands for a host where an archive's image has no name. */
export const namelessDomain = 'archive'

/** A source and what is to be read from it. */
export interface OpenedSource extends AsyncDisposable {
  readonly source: Source
  readonly reference: Reference
}

/**
 * Opens one image of a place for reading.
 * @throws WindlassError NOT_FOUND; FAILED if the archive has several and none is named; what the place throws
 */
export async function openImage(transport: Transport, options: PlaceOptions): Promise<OpenedSource> {
  if (transport.kind === 'docker') {
    const { reference } = transport
    const source = openRegistry(reference, options.registry)
    return { source, reference, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() }
  }
  if (transport.kind === 'store') return await openStored(transport.text, options)
  if (transport.kind === 'containerd') {
    // gRPC takes long to load, and few need it.
    const [{ readContainerdAddress }, { openContainerdSource }] = await Promise.all([
      import('../places/containerd/client.ts'),
      import('../places/containerd/source.ts'),
    ])
    const { reference } = transport
    const source = openContainerdSource(readContainerdAddress(options.env ?? {}), reference)
    return { source, reference, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() }
  }
  const archive = isEngine(transport)
    ? await saveFrom(transport, options)
    : await openArchiveAt(transport.path, options)
  try {
    const image = chooseImage(archive, transport)
    const wanted = transport.kind === 'docker-archive' ? transport.reference : undefined
    const reference = wanted ?? readNames(image, () => {})[0] ?? { domain: namelessDomain, path: 'image' }
    return { source: image.source, reference, [Symbol.asyncDispose]: () => archive[Symbol.asyncDispose]() }
  } catch (error) {
    await archive[Symbol.asyncDispose]()
    throw error
  }
}

type EngineTransport = Extract<Transport, { readonly kind: 'docker-daemon' | 'containers-storage' }>

function isEngine(transport: Transport): transport is EngineTransport {
  return transport.kind === 'docker-daemon' || transport.kind === 'containers-storage'
}

/** An engine gives an image as an archive that flows. */
async function saveFrom({ kind, text }: EngineTransport, options: PlaceOptions): Promise<Archive> {
  const { env = {}, signal } = options
  if (kind === 'containers-storage') {
    const { Podman } = await import('../places/podman/podman.ts')
    await using podman = await Podman.open({ env, signal })
    return await openArchiveAt(podman.save(text), options)
  }
  const [{ DockerClient }, { findEndpoint }, { saveImage }] = await Promise.all([
    import('../places/docker/client.ts'),
    import('../places/docker/endpoint.ts'),
    import('../places/docker/images.ts'),
  ])
  using client = await DockerClient.connect(await findEndpoint({ env }), { env, signal })
  return await openArchiveAt(await saveImage(client, text, signal), options)
}

/** An image of the store, by any of its names, and what registries may know of it. */
export async function openStored(
  text: string,
  { root, signal }: Pick<PlaceOptions, 'root' | 'signal'>,
): Promise<OpenedSource & { readonly names: readonly Reference[] }> {
  await using opened = new AsyncDisposableStack()
  const store = opened.use(await Store.open(root, { signal }))
  const image = store.findImage(text)
  const source = opened.use(await openStoreSource(store, image))
  const names = [...image.names, ...image.repoDigests].map(parseReference)
  const reference = tryReference(text) ?? names[0] ?? { domain: 'store', path: 'image' }
  const kept = opened.move()
  return { source, reference, names, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}

/** An image may be asked for by its ID, which is no name. */
function tryReference(text: string): Reference | undefined {
  try {
    return /^(sha256:)?[0-9a-f]{12,64}$/.test(text) ? undefined : parseReference(text)
  } catch (error) {
    if (isWindlassError(error)) return undefined
    throw error
  }
}

/** Opens an archive with all its images. A stream is kept in the store's directory meanwhile, without a name. */
export async function openArchiveAt(
  from: string | AsyncIterable<Uint8Array>,
  { root, signal }: Pick<PlaceOptions, 'root' | 'signal'>,
): Promise<Archive> {
  await using _store = await Store.open(root, { signal })
  return await openArchive(from, { signal, spoolDirectory: root })
}

function chooseImage({ name, images }: Archive, transport: Transport): ArchivedImage {
  const wanted = transport.kind === 'docker-archive' ? transport.reference : undefined
  const text = 'name' in transport ? transport.name : wanted && formatReference(wanted)
  const [first, ...others] = text === undefined ? images : images.filter(image => isNamed(image, text))
  const list = images.flatMap(({ names }) => names).join(', ')
  if (first === undefined) {
    const state = text === undefined ? 'there is none' : `there is none of that name; it has ${list}`
    throw new WindlassError('NOT_FOUND', `Cannot find image ${text ?? ''} in ${name}: ${state}`, {
      hint: 'check the name after the path',
    })
  }
  if (others.length === 0) return first
  throw new WindlassError('FAILED', `Cannot choose an image of ${name}: it has ${images.length} (${list}); name one`)
}

function isNamed({ names }: ArchivedImage, text: string): boolean {
  return names.some(name => name === text || tryNormalise(name) === tryNormalise(text))
}

function tryNormalise(name: string): string | undefined {
  const reference = tryReference(name)
  return reference && formatReference(reference)
}

/** The names that an image of an archive can have elsewhere: a bare tag of a layout names no repository. */
export function readNames({ names }: ArchivedImage, onWarning: (message: string) => void): Reference[] {
  return names.flatMap(name => {
    if (!/[:/]/.test(name)) return []
    try {
      return [parseReference(name)]
    } catch (error) {
      if (!isWindlassError(error)) throw error
      onWarning(`Left out a name of the archive: ${error.message}`)
      return []
    }
  })
}

/** A sink and what the image is to be called in it. */
export interface OpenedSink {
  readonly sink: Sink
  readonly placement: Placement
}

/** How a place takes an image: blobs and documents as they are, unpacked into the store, or delivered in the manner of an engine. */
export type Target =
  | ({ readonly manner: 'sink' } & OpenedSink)
  | { readonly manner: 'store'; readonly reference: Reference }
  | { readonly manner: 'engine'; readonly reference: Reference; readonly destination: Destination }

const engines = { 'docker-daemon': 'docker', containerd: 'containerd', 'containers-storage': 'podman' } as const

/** Opens any place to copy to; the caller disposes the sink, if it is one. */
export async function openTarget(transport: Transport, options: PlaceOptions): Promise<Target> {
  if (transport.kind === 'store') return { manner: 'store', reference: parseReference(transport.text) }
  if (transport.kind === 'containerd' || isEngine(transport)) {
    const reference = 'reference' in transport ? transport.reference : parseReference(transport.text)
    const { destination } = await openEngine(engines[transport.kind], { env: options.env ?? {} })
    return { manner: 'engine', reference, destination }
  }
  return { manner: 'sink', ...(await openSink(transport, options)) }
}

/** Places that keep images as blobs and documents. */
export type SinkTransport = Extract<Transport, { readonly kind: 'docker' | 'oci' | 'oci-archive' | 'docker-archive' }>

/** Opens such a place for writing; the caller disposes the sink. */
export async function openSink(transport: SinkTransport, options: PlaceOptions): Promise<OpenedSink> {
  if (transport.kind === 'docker') {
    const { reference } = transport
    return { sink: openRegistrySink(reference, options.registry), placement: { tag: reference.tag } }
  }
  if (transport.kind === 'oci')
    return { sink: await openLayoutSink(transport.path), placement: { tag: transport.name } }
  const file = await openFileSink(transport.path, options.files)
  const spoolDirectory = dirname(transport.path)
  if (transport.kind === 'oci-archive')
    return { sink: openArchiveSink('oci-archive', file, spoolDirectory), placement: { tag: transport.name } }
  return { sink: openArchiveSink('docker-archive', file, spoolDirectory), placement: { full: transport.reference } }
}

export type ArchiveFormat = 'docker-archive' | 'oci-archive'

/** An archive that goes anywhere: a file, a pipe. What comes over the network is kept in `spoolDirectory` meanwhile, without a name. */
export function openArchiveSink(format: ArchiveFormat, to: ByteSink, spoolDirectory: string): Sink {
  return format === 'oci-archive' ? openLayoutTarSink(to) : openDockerArchiveSink(to, spoolDirectory)
}
