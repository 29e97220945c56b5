import { type ErrorCode, isWindlassError, WindlassError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { formatPlatform } from '../oci/platform.ts'
import { formatFamiliar, type Reference, repositoryName } from '../oci/reference.ts'
import { DockerClient } from '../places/docker/client.ts'
import type { DockerEndpoint } from '../places/docker/endpoint.ts'
import {
  type DockerFacts,
  findImage,
  readFacts,
  readLayers,
  recordDigest,
  removeName,
  tagImage,
} from '../places/docker/images.ts'
import { type DockerTimeouts, defaultDockerTimeouts } from '../places/docker/limits.ts'
import { isDeliveryName } from '../places/loopback/registry.ts'
import type { CredentialSource } from '../places/registry/credentials.ts'
import { findListener, meansSameTo } from '../sys/socket-peer.ts'
import type { Delivered, DeliveryContext, Destination } from './destination.ts'
import { loadImage } from './docker-load.ts'
import { serveImage } from './docker-serve.ts'
import type { DockerTransfer, Transferred } from './engine-transfer.ts'
import { checkRoot } from './privilege.ts'
import type { LayerPull } from './pull-layer.ts'
import { pullLayers } from './pull-layers.ts'
import type { ResolvedImage } from './resolve.ts'
import { engineSilenceMs } from './stuck.ts'

export interface DockerOptions {
  readonly endpoint: DockerEndpoint
  /** For ssh, and `DOCKER_API_VERSION`. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly timeouts?: Partial<DockerTimeouts>
  /** `auto` if absent. */
  readonly route?: DockerRoute | undefined
}

/**
 * `registry`: the daemon pulls plain layers from windlass, on loopback, and unpacks the first while the next ones come. `load`: an archive of plain layers, from which those that the daemon has are left out, and then its own pull by digest, which finds every layer and only
 * records the digest. `containerd`: where docker keeps its images in a containerd of this host, straight into that.
 */
export type DockerRoute = 'auto' | 'registry' | 'load' | 'containerd'

/** Into a running docker daemon, without its decompressor. ID, name and RepoDigest are those of its own pull, as far as the route allows. */
export function intoDocker(options: DockerOptions): Destination {
  return { needsRoot: false, deliver: (image, context) => deliver(image, context, options) }
}

async function deliver(image: ResolvedImage, context: DeliveryContext, options: DockerOptions): Promise<Delivered> {
  const { signal } = context
  const timeouts = { ...dockerTimeouts(context), ...options.timeouts }
  using client = await DockerClient.connect(options.endpoint, { ...options, timeouts, signal })
  const facts = await readFacts(client, signal)
  checkRoute(facts, options, client)
  const isDirect = facts.usesContainerd && options.route !== 'load'
  const direct = isDirect ? await deliverDirectly(image, context, { client, facts }, options) : undefined
  if (direct !== undefined) return direct
  // Its own pull must reach us: only where its socket is on this host, and where it keeps what it pulls under the config's digest.
  const isNear = options.endpoint.kind === 'unix' && !facts.usesContainerd
  const wanted = options.route === 'registry' || options.route === 'load' ? options.route : undefined
  return await new DockerDelivery(image, context, { client, facts, wanted, isNear }).deliver()
}

/** Answers that cost no work come no later than those that do; and whoever watches the work is given the time to say what it has seen. */
function dockerTimeouts({ options }: DeliveryContext): Partial<DockerTimeouts> {
  const silenceMs = engineSilenceMs(options.patience?.engineMs)
  if (silenceMs === undefined) return {}
  const { connectMs, answerMs, recordMs } = defaultDockerTimeouts
  const [connect = 0, answer = 0, record = 0] = [connectMs, answerMs, recordMs].map(ms => Math.min(ms, silenceMs))
  const workMs = silenceMs + graceMs
  return { connectMs: connect, answerMs: answer, recordMs: record, uploadIdleMs: workMs, applyIdleMs: workMs }
}

const graceMs = 10_000

/** @throws WindlassError UNSUPPORTED for a route that this daemon does not have */
function checkRoute({ usesContainerd }: DockerFacts, { endpoint, route }: DockerOptions, { name }: DockerClient): void {
  const refuse = (state: string): never => {
    throw new WindlassError('UNSUPPORTED', `Cannot use route ${route}: ${state}`)
  }
  if (route === 'containerd' && !usesContainerd) refuse(`${name} does not keep its images in one`)
  if (route !== 'registry') return
  if (usesContainerd)
    refuse(`${name} keeps its images in a containerd, under other IDs then; wanted containerd or load`)
  if (endpoint.kind !== 'unix') refuse(`${name} may be on another host, which does not reach our loopback; wanted load`)
}

/** What says that containerd cannot be used from here, not that something is wrong with the image. */
const elsewhere: ReadonlySet<ErrorCode> = new Set(['ENGINE_UNREACHABLE', 'UNSUPPORTED', 'PERMISSION'])

/** Through the containerd behind docker; undefined if that cannot be reached, or its snapshots cannot be seen, from here. */
async function deliverDirectly(
  image: ResolvedImage,
  context: DeliveryContext,
  { client, facts: { containerd, driver } }: Pick<Daemon, 'client' | 'facts'>,
  { endpoint, route }: DockerOptions,
): Promise<Delivered | undefined> {
  try {
    if (containerd === undefined || endpoint.kind !== 'unix')
      throw new WindlassError(
        'UNSUPPORTED',
        "Cannot use docker's containerd: it is not on this host, or docker does not tell where",
      )
    checkRoot("Cannot unpack into docker's containerd")
    const listener = findListener(endpoint.path)?.pid
    if (listener !== undefined && (await meansSameTo(listener, containerd.socket)) === false)
      throw new WindlassError(
        'UNSUPPORTED',
        `Cannot use docker's containerd: ${containerd.socket} is another one here than for docker, process ${listener}, or none`,
      )
    const { intoContainerd } = await import('./into-containerd.ts')
    const delivered = await intoContainerd({ ...containerd, snapshotter: driver, danglingPrefix }).deliver(
      image,
      context,
    )
    await checkDelivered(image, context, client, containerd.socket)
    return delivered
  } catch (error) {
    if (route === 'containerd' || !isWindlassError(error) || !elsewhere.has(error.code)) throw error
    context.emit({ type: 'warning', message: `${error.message}; going on with docker load` })
    return undefined
  }
}

/** What docker names an image without a name by, and its digest. */
const danglingPrefix = 'moby-dangling@'

/** Docker itself must have it: the containerd at that path may be one that it does not know. */
async function checkDelivered(
  { documents: [{ descriptor }] }: ResolvedImage,
  { reference, signal }: DeliveryContext,
  client: DockerClient,
  socket: string,
): Promise<void> {
  const { digest } = reference
  const name = digest === undefined ? formatFamiliar(reference) : `${repositoryName(reference)}@${digest}`
  const found = await findImage(client, name, signal)
  if (found?.id === descriptor.digest || found?.repoDigests.some(one => one.endsWith(`@${descriptor.digest}`))) return
  const state = `${client.name} does not have it afterwards, so that the containerd at ${socket} is not the one behind it`
  throw new WindlassError('UNSUPPORTED', `Cannot deliver ${name}: ${state}`, {
    hint: '--route load goes through docker',
  })
}

interface Daemon {
  readonly client: DockerClient
  readonly facts: DockerFacts
  /** The route that the user named. */
  readonly wanted: 'registry' | 'load' | undefined
  /** It can pull from our loopback. */
  readonly isNear: boolean
}

/** One image on its way into one daemon. */
class DockerDelivery {
  readonly #image: ResolvedImage
  readonly #context: DeliveryContext
  readonly #daemon: Daemon
  readonly #client: DockerClient
  readonly #facts: DockerFacts
  #route: 'registry' | 'load' = 'load'
  #sent = 0

  constructor(image: ResolvedImage, context: DeliveryContext, daemon: Daemon) {
    this.#image = image
    this.#context = context
    this.#daemon = daemon
    this.#client = daemon.client
    this.#facts = daemon.facts
  }

  get #id(): Digest {
    return this.#image.config.descriptor.digest
  }

  /** As docker prints it. */
  get #name(): string | undefined {
    const { reference } = this.#context
    return reference.digest === undefined ? formatFamiliar(reference) : undefined
  }

  async deliver(): Promise<Delivered> {
    const { signal, reference, emit, credentials } = this.#context
    const name = this.#name
    const before = name === undefined ? undefined : await findImage(this.#client, name, signal)
    const existing = await this.#findExisting()
    // Nothing is sent where docker has this very image, found by its ID, which is the digest of its config and so covers every layer.
    const pulls = existing === undefined ? await this.#send() : await this.#skip()
    const isNamed = existing === undefined ? this.#route === 'load' : before?.id === existing
    if (name !== undefined && !isNamed) await this.#tag(existing ?? this.#id)
    const id = existing ?? (await this.#check(name))
    const isRecorded = this.#context.isRenamed !== true && (await this.#record(reference, credentials))
    if (!this.#facts.usesContainerd && (name !== undefined || isRecorded)) await this.#removeDeliveryNames()
    this.#tell(this.#summary(isRecorded))
    if (this.#facts.usesContainerd) {
      const message = `docker keeps what was loaded under an ID of its own, ${id}: its layers are plain, so its manifest is another`
      emit({ type: 'warning', message })
    }
    return { pulls, changed: before?.id !== id }
  }

  /** The ID of the image if the daemon has it: the config's digest, as the graph drivers have it. */
  async #findExisting(): Promise<string | undefined> {
    if (this.#facts.usesContainerd) return undefined
    return (await findImage(this.#client, this.#id, this.#context.signal))?.id
  }

  /** Everything is there: the layers are told so. */
  async #skip(): Promise<readonly LayerPull[]> {
    const all = new Set(this.#image.layers.map(({ chainId }) => chainId))
    return await pullLayers(this.#image, { ...this.#context, engineLayers: all })
  }

  /** What the daemon has is left out; if a layer vanished meanwhile, all are sent. */
  async #send(): Promise<readonly LayerPull[]> {
    const { signal, emit } = this.#context
    const { wanted, isNear } = this.#daemon
    const all = this.#image.layers.length
    const known = this.#facts.usesContainerd ? new Set<Digest>() : await readLayers(this.#client, signal)
    const isPartial = this.#image.layers.some(({ chainId }) => known.has(chainId))
    // A pull knows a layer by the digest of the blob that it came as: what came compressed would be taken again.
    this.#route = wanted ?? (isNear && !isPartial ? 'registry' : 'load')
    const present = this.#route === 'load' ? known : new Set<Digest>()
    const missing = this.#image.layers.filter(({ chainId }) => !present.has(chainId)).length
    const how = this.#route === 'load' ? 'docker load' : 'its own pull, from a registry of windlass on loopback'
    const what = `${missing} of ${all} layers as plain tars: it starts no decompressor`
    this.#tell(`Delivering into ${this.#client.name} by ${how}, ${what}`)
    try {
      return await this.#transfer(present)
    } catch (error) {
      if (missing === all || !isWindlassError(error, 'FAILED') || error.facts['engine'] !== 'docker') throw error
      emit({ type: 'warning', message: `${error.message}; sending all layers, those too that it seemed to have` })
      return await this.#transfer(new Set())
    }
  }

  async #transfer(present: ReadonlySet<Digest>): Promise<readonly LayerPull[]> {
    const transfer = {
      image: this.#image,
      context: this.#context,
      client: this.#client,
      name: this.#name,
      present,
      unpacksInSilence: this.#facts.usesContainerd,
    }
    const { pulls, sent } = await this.#carry(transfer)
    this.#sent = sent
    return pulls
  }

  async #carry(transfer: DockerTransfer): Promise<Transferred> {
    if (this.#route === 'load') return await loadImage(transfer)
    const served = await serveImage(transfer)
    if (!('refused' in served)) return served
    if (this.#daemon.wanted !== undefined) throw served.refused
    this.#context.emit({ type: 'warning', message: `${served.refused.message}; going on with docker load` })
    this.#route = 'load'
    return await loadImage(transfer)
  }

  #tell(message: string): void {
    this.#context.emit({ type: 'delivery', engine: 'docker', route: this.#route, message })
  }

  /** The name under which docker pulled it from us; also one that a delivery left which was killed. */
  async #removeDeliveryNames(): Promise<void> {
    const { signal } = this.#context
    const found = await findImage(this.#client, this.#id, signal)
    const names = [...(found?.repoTags ?? []), ...(found?.repoDigests ?? [])].filter(isDeliveryName)
    for (const name of names) await removeName(this.#client, name, signal)
  }

  async #tag(id: string): Promise<void> {
    const { reference, signal } = this.#context
    await tagImage(this.#client, id, { repository: repositoryName(reference), tag: reference.tag ?? 'latest' }, signal)
  }

  /** What the daemon has now under this name, or this ID, must be what was sent. @throws WindlassError */
  async #check(name: string | undefined): Promise<string> {
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
  async #record(reference: Reference, credentials: CredentialSource): Promise<boolean> {
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
      await this.#checkRecorded(`${repository}@${digest}`)
      return true
    } catch (error) {
      signal.throwIfAborted()
      const message = isWindlassError(error) ? error.message : String(error)
      const state = this.#name === undefined ? 'its ID alone' : 'its name, but not under its digest'
      emit({ type: 'warning', message: `${message}; the image is in docker under ${state}` })
      return false
    }
  }

  /** Of an index docker chooses by itself. What it chose is not what was asked about, if it is another image: then the digest must not lead there. */
  async #checkRecorded(name: string): Promise<void> {
    const { signal } = this.#context
    if (this.#facts.usesContainerd) return
    const found = await findImage(this.#client, name, signal)
    if (found === undefined || found.id === this.#id) return
    await removeName(this.#client, name, signal)
    const state = `docker chose another image of the index, ${found.id}; wanted ${this.#id}`
    throw new WindlassError('FAILED', `Cannot record ${name} in ${this.#client.name}: ${state}`)
  }

  #summary(isRecorded: boolean): string {
    const end = isRecorded ? `with the digest ${this.#image.documents[0].descriptor.digest}` : 'without its digest'
    return `Delivered into ${this.#client.name} by ${this.#route}, ${this.#sent} layers sent, ${end}`
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
