import { isWindlassError, WindlassError } from '../../errors.ts'
import { withIdle } from '../../flow/idle.ts'
import { type Digest, isDigest } from '../../oci/digest.ts'
import { chainIds } from '../../oci/image-config.ts'
import { asObject, type JsonObject, readField, readObject, readString, readStrings } from '../../oci/json.ts'
import { type DockerClient, engineError } from './client.ts'
import { type EngineMessage, readMessages } from './messages.ts'

const answer = "docker's answer"
/** Images that are inspected at a time. */
const inspectionsMax = 4

/** What matters of `docker info`. */
export interface DockerFacts {
  readonly version: string
  readonly driver: string
  /** Images are kept by containerd (the default since docker 29), not by docker's own graph driver. */
  readonly usesContainerd: boolean
  /** Where that containerd is, as the daemon sees it; told since API 1.46. */
  readonly containerd: { readonly socket: string; readonly namespace: string } | undefined
}

/** @throws WindlassError */
export async function readFacts(client: DockerClient, signal: AbortSignal): Promise<DockerFacts> {
  const doing = `Cannot ask ${client.name} what it is`
  const info = asObject(await client.getJson({ path: '/info', signal, doing }), answer)
  const status = readField(info, 'DriverStatus')
  return {
    version: readString(info, 'ServerVersion', answer) ?? '',
    driver: readString(info, 'Driver', answer) ?? '',
    usesContainerd: JSON.stringify(status ?? []).includes('io.containerd.snapshotter'),
    containerd: readContainerd(info),
  }
}

function readContainerd(info: JsonObject): DockerFacts['containerd'] {
  const containerd = readObject(info, 'Containerd', answer)
  const namespaces = containerd && readObject(containerd, 'Namespaces', answer)
  const socket = containerd && readString(containerd, 'Address', answer)
  const namespace = namespaces && readString(namespaces, 'Containers', answer)
  return socket?.startsWith('/') && namespace ? { socket, namespace } : undefined
}

export interface DockerImage {
  readonly id: string
  readonly repoTags: readonly string[]
  readonly repoDigests: readonly string[]
  readonly diffIds: readonly Digest[]
}

/** An image by name or ID; undefined if the daemon has none. @throws WindlassError */
export async function findImage(
  client: DockerClient,
  name: string,
  signal: AbortSignal,
): Promise<DockerImage | undefined> {
  const doing = `Cannot look ${name} up in ${client.name}`
  const found = await client.getJson({ path: `/images/${encodeName(name)}/json`, signal, doing })
  if (found === undefined) return undefined
  const image = asObject(found, answer)
  const layers = readStrings(readObject(image, 'RootFS', answer) ?? {}, 'Layers', answer) ?? []
  return {
    id: readString(image, 'Id', answer) ?? '',
    repoTags: readStrings(image, 'RepoTags', answer) ?? [],
    repoDigests: readStrings(image, 'RepoDigests', answer) ?? [],
    diffIds: layers.filter(isDigest),
  }
}

/**
 * The layers that the daemon has, by their chain IDs: those of all its images. Only a daemon with a graph driver takes an archive from which
 * they are left out.
 * @throws WindlassError
 */
export async function readLayers(client: DockerClient, signal: AbortSignal): Promise<Set<Digest>> {
  const doing = `Cannot list images of ${client.name}`
  const list = await client.getJson({ path: '/images/json?all=1', signal, doing })
  const ids = Array.isArray(list) ? list.map(image => readString(asObject(image, answer), 'Id', answer) ?? '') : []
  const layers = new Set<Digest>()
  const next = ids[Symbol.iterator]()
  const inspect = async () => {
    for (const id of next) {
      // One that is removed meanwhile has no layers to count on.
      const image = await findImage(client, id, signal)
      for (const chainId of chainIds(image?.diffIds ?? [])) layers.add(chainId)
    }
  }
  await Promise.all(Array.from({ length: inspectionsMax }, inspect))
  return layers
}

export interface LoadOptions {
  readonly signal: AbortSignal
  /** Told of every message while the daemon unpacks. */
  readonly onMessage?: (message: EngineMessage) => void
}

/**
 * Gives the daemon an archive, and waits until it is an image.
 * @throws WindlassError FAILED with docker's words, NO_SPACE, STALLED, ENGINE_UNREACHABLE; whatever the archive throws
 */
export async function loadArchive(
  client: DockerClient,
  archive: AsyncIterable<Uint8Array>,
  { signal, onMessage }: LoadOptions,
): Promise<void> {
  const doing = `Cannot load the image into ${client.name}`
  const { applyIdleMs } = client.timeouts
  using load = await client.stream({
    method: 'POST',
    path: '/images/load?quiet=0',
    headers: { 'content-type': 'application/x-tar' },
    body: archive,
    signal,
    doing,
    answerMs: applyIdleMs,
  })
  for await (const message of readMessages(withIdle(load.bytes, applyIdleMs, silence(doing, 'docker says nothing')))) {
    if (message.error !== undefined) throw engineError(message.error, doing)
    onMessage?.(message)
  }
  signal.throwIfAborted()
}

/**
 * Lets the daemon pull an image by digest from a registry that it reaches, to its end.
 * @throws WindlassError FAILED with docker's words, NO_SPACE, STALLED, ENGINE_UNREACHABLE
 */
export async function pullFrom(
  client: DockerClient,
  { repository, digest }: Pick<RecordOptions, 'repository' | 'digest'>,
  { signal, onMessage }: LoadOptions,
): Promise<void> {
  const doing = `Cannot deliver the image into ${client.name}`
  const { applyIdleMs } = client.timeouts
  const query = new URLSearchParams({ fromImage: repository, tag: digest })
  using pull = await client.stream({
    method: 'POST',
    path: `/images/create?${query}`,
    signal,
    doing,
    answerMs: applyIdleMs,
  })
  for await (const message of readMessages(withIdle(pull.bytes, applyIdleMs, silence(doing, 'docker says nothing')))) {
    if (message.error !== undefined) throw engineError(message.error, doing)
    onMessage?.(message)
  }
  signal.throwIfAborted()
}

/** Takes a name from an image, which has others. @throws WindlassError */
export async function removeName(client: DockerClient, name: string, signal: AbortSignal): Promise<void> {
  const doing = `Cannot remove the name ${name} from ${client.name}`
  await client.getJson({ method: 'DELETE', path: `/images/${encodeName(name)}?noprune=1`, signal, doing })
}

export interface RecordOptions {
  /** `host/repo`, in full. */
  readonly repository: string
  readonly digest: Digest
  readonly platform: string | undefined
  /** The value of X-Registry-Auth. */
  readonly auth: string | undefined
  readonly signal: AbortSignal
}

/**
 * Lets the daemon pull by digest what it has already: it asks the registry for the manifest, finds every layer, and records the digest under the name.
 * The first sign that it is about to fetch a layer ends it, before a decompressor can start.
 * @throws WindlassError FAILED with docker's words, STALLED, ENGINE_UNREACHABLE
 */
export async function recordDigest(client: DockerClient, options: RecordOptions): Promise<void> {
  const { repository, digest, platform, auth, signal } = options
  const doing = `Cannot record ${repository}@${digest} in ${client.name}`
  const query = new URLSearchParams({ fromImage: repository, tag: digest, ...(platform && { platform }) })
  const { recordMs } = client.timeouts
  using stop = withDeadline(signal, recordMs)
  try {
    using pull = await client.stream({
      method: 'POST',
      path: `/images/create?${query}`,
      headers: auth === undefined ? {} : { 'x-registry-auth': auth },
      signal: stop.signal,
      doing,
      answerMs: recordMs,
    })
    for await (const message of readMessages(pull.bytes)) {
      if (message.error !== undefined) throw engineError(message.error, doing)
      if (isFetching(message))
        throw new WindlassError('FAILED', `${doing}: it would fetch a layer (${message.id}: ${message.status})`)
    }
  } catch (error) {
    if (!stop.signal.aborted || signal.aborted || isWindlassError(error)) throw error
    throw new WindlassError('STALLED', `${doing}: it was not done within ${recordMs / 1000} s`, { cause: error })
  }
}

/** The words before a layer's bytes come ("Already exists" is none of them). */
function isFetching({ id, status }: EngineMessage): boolean {
  return id !== '' && /^(Pulling fs layer|Waiting|Downloading|Verifying|Download complete|Extracting)/.test(status)
}

/** Names an image. @throws WindlassError */
export async function tagImage(
  client: DockerClient,
  id: string,
  { repository, tag }: { repository: string; tag: string },
  signal: AbortSignal,
): Promise<void> {
  const doing = `Cannot tag ${id} as ${repository}:${tag} in ${client.name}`
  const query = new URLSearchParams({ repo: repository, tag })
  await client.getJson({ method: 'POST', path: `/images/${encodeName(id)}/tag?${query}`, signal, doing })
}

/** The archive of an image, as the daemon saves it. @throws WindlassError NOT_FOUND and what the daemon says */
export async function saveImage(
  client: DockerClient,
  name: string,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const doing = `Cannot save ${name} from ${client.name}`
  if ((await findImage(client, name, signal)) === undefined)
    throw new WindlassError('NOT_FOUND', `${doing}: there is no such image`, { hint: "'docker images' lists them" })
  // A name brings its name along, an ID none.
  const query = new URLSearchParams({ names: name })
  const { applyIdleMs } = client.timeouts
  const answer = await client.stream({ path: `/images/get?${query}`, signal, doing, answerMs: applyIdleMs })
  return withIdle(answer.bytes, applyIdleMs, silence(doing, 'docker sends nothing'))
}

/** Slashes and colons belong to a name; whatever else could end the path does not. */
function encodeName(name: string): string {
  return encodeURIComponent(name).replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%40', '@')
}

function withDeadline(signal: AbortSignal, ms: number): { signal: AbortSignal } & Disposable {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), ms)
  return { signal: AbortSignal.any([signal, late.signal]), [Symbol.dispose]: () => clearTimeout(timer) }
}

function silence(doing: string, state: string): (ms: number) => WindlassError {
  return ms => new WindlassError('STALLED', `${doing}: ${state} for ${ms / 1000} s`)
}
