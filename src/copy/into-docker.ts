import { decompress } from '../codec/decompress.ts'
import { type ErrorCode, isWindlassError, WindlassError } from '../errors.ts'
import { verified } from '../flow/verify.ts'
import type { Digest } from '../oci/digest.ts'
import { formatPlatform } from '../oci/platform.ts'
import { formatFamiliar, type Reference, repositoryName } from '../oci/reference.ts'
import { type ArchiveLayer, writeArchive } from '../places/archive/docker-writer.ts'
import { DockerClient } from '../places/docker/client.ts'
import type { DockerEndpoint } from '../places/docker/endpoint.ts'
import {
  type DockerFacts,
  findImage,
  loadArchive,
  readFacts,
  readLayers,
  recordDigest,
  tagImage,
} from '../places/docker/images.ts'
import type { DockerTimeouts } from '../places/docker/limits.ts'
import type { EngineMessage } from '../places/docker/messages.ts'
import type { CredentialSource } from '../places/registry/credentials.ts'
import type { Delivered, DeliveryContext, Destination } from './destination.ts'
import type { PullEvent } from './events.ts'
import { checkRoot } from './privilege.ts'
import type { LayerPull } from './pull-layer.ts'
import { pullLayers } from './pull-layers.ts'
import type { ResolvedImage } from './resolve.ts'

export interface DockerOptions {
  readonly endpoint: DockerEndpoint
  /** For ssh, and `DOCKER_API_VERSION`. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly timeouts?: Partial<DockerTimeouts>
  /** `auto` if absent. */
  readonly route?: DockerRoute | undefined
}

/**
 * `load`: an archive of plain layers, from which those that the daemon has are left out, and then its own pull by digest, which finds every layer and only
 * records the digest. `containerd`: where docker keeps its images in a containerd of this host, straight into that.
 */
export type DockerRoute = 'auto' | 'load' | 'containerd'

/** Into a running docker daemon, without its decompressor. ID, name and RepoDigest are those of its own pull, as far as the route allows. */
export function intoDocker(options: DockerOptions): Destination {
  return { needsRoot: false, deliver: (image, context) => deliver(image, context, options) }
}

async function deliver(image: ResolvedImage, context: DeliveryContext, options: DockerOptions): Promise<Delivered> {
  const { signal } = context
  using client = await DockerClient.connect(options.endpoint, { ...options, signal })
  const facts = await readFacts(client, signal)
  const isDirect = facts.usesContainerd && options.route !== 'load'
  const direct = isDirect ? await deliverDirectly(image, context, facts, options) : undefined
  if (direct !== undefined) return direct
  if (options.route === 'containerd')
    throw new WindlassError(
      'UNSUPPORTED',
      `Cannot use route containerd: ${client.name} does not keep its images in one`,
    )
  return await deliverByLoad(image, context, client, facts)
}

/** What says that containerd cannot be used from here, not that something is wrong with the image. */
const elsewhere: ReadonlySet<ErrorCode> = new Set(['ENGINE_UNREACHABLE', 'UNSUPPORTED', 'PERMISSION'])

/** Through the containerd behind docker; undefined if that cannot be reached, or its snapshots cannot be seen, from here. */
async function deliverDirectly(
  image: ResolvedImage,
  context: DeliveryContext,
  { containerd, driver }: DockerFacts,
  { endpoint, route }: DockerOptions,
): Promise<Delivered | undefined> {
  try {
    if (containerd === undefined || endpoint.kind !== 'unix')
      throw new WindlassError(
        'UNSUPPORTED',
        "Cannot use docker's containerd: it is not on this host, or docker does not tell where",
      )
    checkRoot("Cannot unpack into docker's containerd")
    const { intoContainerd } = await import('./into-containerd.ts')
    return await intoContainerd({ ...containerd, snapshotter: driver }).deliver(image, context)
  } catch (error) {
    if (route === 'containerd' || !isWindlassError(error) || !elsewhere.has(error.code)) throw error
    context.emit({ type: 'warning', message: `${error.message}; going on with docker load` })
    return undefined
  }
}

async function deliverByLoad(
  image: ResolvedImage,
  context: DeliveryContext,
  client: DockerClient,
  facts: DockerFacts,
): Promise<Delivered> {
  const { signal, reference, emit } = context
  const name = reference.digest === undefined ? formatFamiliar(reference) : undefined
  const delivery = new DockerDelivery(image, context, client, facts)
  const before = name === undefined ? undefined : await findImage(client, name, signal)
  const existing = await delivery.findExisting()
  // Nothing is sent where docker has this very image, found by its ID, which is the digest of its config and so covers every layer.
  const pulls = existing === undefined ? await delivery.load(name) : await delivery.skip()
  if (existing !== undefined && name !== undefined && before?.id !== existing) await delivery.tag(existing)
  const id = existing ?? (await delivery.check(name))
  const isRecorded = await delivery.record(reference, context.credentials)
  emit({ type: 'delivery', engine: 'docker', route: 'load', message: delivery.summary(isRecorded) })
  if (facts.usesContainerd) {
    const message = `docker keeps what was loaded under an ID of its own, ${id}: its layers are plain, so its manifest is another`
    emit({ type: 'warning', message })
  }
  return { pulls, changed: before?.id !== id }
}

/** One image on its way into one daemon. */
class DockerDelivery {
  readonly #image: ResolvedImage
  readonly #context: DeliveryContext
  readonly #client: DockerClient
  readonly #facts: DockerFacts
  #sent = 0

  constructor(image: ResolvedImage, context: DeliveryContext, client: DockerClient, facts: DockerFacts) {
    this.#image = image
    this.#context = context
    this.#client = client
    this.#facts = facts
  }

  get #id(): Digest {
    return this.#image.config.descriptor.digest
  }

  /** The ID of the image if the daemon has it: the config's digest, as the graph drivers have it. */
  async findExisting(): Promise<string | undefined> {
    if (this.#facts.usesContainerd) return undefined
    return (await findImage(this.#client, this.#id, this.#context.signal))?.id
  }

  /** Everything is there: the layers are told so. */
  async skip(): Promise<readonly LayerPull[]> {
    const all = new Set(this.#image.layers.map(({ chainId }) => chainId))
    return await pullLayers(this.#image, { ...this.#context, engineLayers: all })
  }

  /** What the daemon has is left out of the archive; if a layer vanished meanwhile, all are sent. */
  async load(name: string | undefined): Promise<readonly LayerPull[]> {
    const { signal, emit } = this.#context
    const present = this.#facts.usesContainerd ? new Set<Digest>() : await readLayers(this.#client, signal)
    const missing = this.#image.layers.filter(({ chainId }) => !present.has(chainId)).length
    const what = `${missing} of ${this.#image.layers.length} layers as plain tars: it starts no decompressor`
    emit({ type: 'delivery', engine: 'docker', route: 'load', message: `Loading into ${this.#client.name}: ${what}` })
    try {
      return await this.#send(name, present)
    } catch (error) {
      if (
        missing === this.#image.layers.length ||
        !isWindlassError(error, 'FAILED') ||
        error.facts['engine'] !== 'docker'
      )
        throw error
      emit({ type: 'warning', message: `${error.message}; sending all layers, those too that it seemed to have` })
      return await this.#send(name, new Set())
    }
  }

  async tag(id: string): Promise<void> {
    const { reference, signal } = this.#context
    await tagImage(this.#client, id, { repository: repositoryName(reference), tag: reference.tag ?? 'latest' }, signal)
  }

  /** What the daemon has now under this name, or this ID, must be what was sent. @throws WindlassError */
  async check(name: string | undefined): Promise<string> {
    const found = await findImage(this.#client, name ?? this.#id, this.#context.signal)
    const wanted = this.#image.imageConfig.rootfs.diff_ids
    if (found?.diffIds.join() === wanted.join() && (this.#facts.usesContainerd || found.id === this.#id))
      return found.id
    const state = found === undefined ? 'the image is not there' : `${found.id} is there`
    throw new WindlassError(
      'FAILED',
      `Cannot load the image into ${this.#client.name}: ${state} afterwards; wanted ${this.#id}`,
    )
  }

  /** The daemon asks the registry itself. That it cannot is worth a warning: the image is there and runs. */
  async record(reference: Reference, credentials: CredentialSource): Promise<boolean> {
    const { signal, emit } = this.#context
    const { digest } = this.#image.documents[0].descriptor
    const repository = repositoryName(reference)
    const found = await findImage(this.#client, `${repository}@${digest}`, signal).catch(() => undefined)
    if (found !== undefined && found.id === this.#id) return true
    try {
      await recordDigest(this.#client, {
        repository,
        digest,
        platform: this.#image.documents.length > 1 ? formatPlatform(this.#image.imageConfig) : undefined,
        auth: await formatAuth(reference, credentials, signal),
        signal,
      })
      return true
    } catch (error) {
      signal.throwIfAborted()
      const message = isWindlassError(error) ? error.message : String(error)
      emit({ type: 'warning', message: `${message}; the image is in docker under its name, but not under its digest` })
      return false
    }
  }

  summary(isRecorded: boolean): string {
    const end = isRecorded ? `with the digest ${this.#image.documents[0].descriptor.digest}` : 'without its digest'
    return `Delivered into ${this.#client.name} by load, ${this.#sent} layers sent, ${end}`
  }

  async #send(name: string | undefined, present: ReadonlySet<Digest>): Promise<readonly LayerPull[]> {
    const { signal, emit } = this.#context
    const stop = new AbortController()
    const phases = new Delivering(this.#image, emit)
    const ready = this.#image.layers.map(() => Promise.withResolvers<ArchiveLayer>())
    for (const { promise } of ready) promise.catch(() => {})
    const pulling = pullLayers(this.#image, {
      ...this.#context,
      signal: AbortSignal.any([signal, stop.signal]),
      engineLayers: present,
      emit: phases.emit,
      onStart: (at, pull, done) => {
        done.then(() => ready[at]?.resolve(this.#archiveLayer(at, pull, present)), ready[at]?.reject)
      },
    })
    pulling.catch(error => {
      for (const { reject } of ready) reject(error)
    })
    const archive = writeArchive({
      config: { digest: this.#id, bytes: this.#image.config.bytes },
      layers: this.#image.layers.map(({ diffId }, at) => ({
        diffId,
        ready: (ready[at] as PromiseWithResolvers<ArchiveLayer>).promise,
      })),
      names: name === undefined ? [] : [name],
    })
    const loading = loadArchive(this.#client, archive, { signal, onMessage: phases.handle })
    loading.catch(error => stop.abort(error))
    const [pulls, load] = await Promise.allSettled([pulling, loading])
    signal.throwIfAborted()
    if (pulls.status === 'rejected' && !stop.signal.aborted) throw pulls.reason
    if (load.status === 'rejected') throw load.reason
    if (pulls.status === 'rejected') throw pulls.reason
    phases.finish()
    return pulls.value
  }

  #archiveLayer(at: number, pull: LayerPull, present: ReadonlySet<Digest>): ArchiveLayer {
    const layer = this.#image.layers[at] as ResolvedImage['layers'][number]
    if (present.has(layer.chainId)) return { diffId: layer.diffId }
    this.#sent++
    return { diffId: layer.diffId, content: { size: pull.bytesPlain, bytes: this.#readPlain(layer, pull.bytesPlain) } }
  }

  /** The tar of a layer that was fetched and found right: what goes out is checked once more as it flows. */
  async *#readPlain({ descriptor, diffId }: ResolvedImage['layers'][number], size: number): AsyncGenerator<Uint8Array> {
    const { session, signal } = this.#context
    await using blob = await session.openBlob(descriptor, signal)
    yield* verified(decompress(blob.read(), { signal }), {
      digest: diffId,
      size,
      subject: `layer ${descriptor.digest}`,
    })
  }
}

/** Tells what the daemon does with each layer as that layer's phases. */
class Delivering {
  readonly #image: ResolvedImage
  readonly #emit: (event: PullEvent) => void
  readonly #open = new Set<number>()
  #last: number | undefined

  constructor(image: ResolvedImage, emit: (event: PullEvent) => void) {
    this.#image = image
    this.#emit = emit
  }

  readonly emit = (event: PullEvent): void => {
    const isFetched = event.type === 'layer' && event.phase === 'done'
    if (isFetched) this.#open.add(event.layer)
    this.#emit(isFetched ? { ...event, phase: 'delivering' } : event)
  }

  /** The daemon names a layer by the first digits of its diffId, one after the other. */
  readonly handle = ({ id }: EngineMessage): void => {
    const at = id === '' ? -1 : this.#image.layers.findIndex(({ diffId }) => diffId.includes(`:${id}`))
    if (at < 0 || at === this.#last) return
    if (this.#last !== undefined) this.#done(this.#last)
    this.#last = at
  }

  finish(): void {
    for (const at of [...this.#open]) this.#done(at)
  }

  #done(at: number): void {
    const layer = this.#image.layers[at]
    if (layer === undefined || !this.#open.delete(at)) return
    const { digest, size } = layer.descriptor
    this.#emit({ type: 'layer', layer: at, digest, size, phase: 'done' })
  }
}

/** The value of X-Registry-Auth (docker's API, "Authentication"); undefined for nobody in particular. */
async function formatAuth(
  reference: Reference,
  credentials: CredentialSource,
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = await credentials.find(reference.domain, signal)
  if (found === undefined) return undefined
  const { username, password, identityToken: identitytoken, registryToken: registrytoken } = found
  const auth = { username, password, identitytoken, registrytoken, serveraddress: reference.domain }
  return Buffer.from(JSON.stringify(auth)).toString('base64url')
}
