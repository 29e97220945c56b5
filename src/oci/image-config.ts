import { createHash } from 'node:crypto'
import type { Descriptor, Platform } from './descriptor.ts'
import type { Digest } from './digest.ts'
import {
  asDigest,
  asObject,
  checkUniqueKeys,
  corrupt,
  decodeText,
  type JsonObject,
  kindOf,
  normalizeKeys,
  parseJson,
  present,
  readField,
  readList,
  readObject,
  readString,
  readStringMap,
  readStrings,
} from './json.ts'
import type { Manifest } from './manifest.ts'

/** Bytes of an image config: the largest known have long histories and reach some hundred KiB. */
export const imageConfigSizeMax = 8 * 1024 * 1024

/** OCI image-spec, config.md. Fields that windlass has no use for are dropped; the blob's own bytes are what is stored. */
export interface ImageConfig extends Platform {
  /** RFC 3339, as the builder wrote it: not checked. */
  readonly created?: string
  readonly author?: string
  readonly config: ContainerConfig
  readonly rootfs: { readonly type: 'layers'; readonly diff_ids: readonly Digest[] }
  readonly history: readonly HistoryEntry[]
}

/** How a container of the image starts. Absent and null are alike. */
export interface ContainerConfig {
  /** `user`, `uid`, `user:group`, `uid:gid` or a mix. */
  readonly User?: string
  /** `NAME=value` each. */
  readonly Env?: readonly string[]
  readonly Entrypoint?: readonly string[]
  readonly Cmd?: readonly string[]
  readonly WorkingDir?: string
  readonly Labels?: Readonly<Record<string, string>>
  /** `80/tcp` each; the specification's map has no values. */
  readonly ExposedPorts?: readonly string[]
  /** Paths; the specification's map has no values. */
  readonly Volumes?: readonly string[]
  readonly StopSignal?: string
}

/** What one build step did. Those without `empty_layer` correspond to the layers, in order. */
interface HistoryEntry {
  readonly created?: string
  readonly created_by?: string
  readonly author?: string
  readonly comment?: string
  readonly empty_layer?: boolean
}

const subject = 'image config'
const documentKeys = [
  ...['architecture', 'os', 'variant', 'os.version', 'os.features'],
  ...['created', 'author', 'config', 'rootfs', 'history'],
]
const rootfsKeys = ['type', 'diff_ids']
const containerKeys = [
  ...['User', 'Env', 'Entrypoint', 'Cmd', 'WorkingDir', 'Labels'],
  ...['ExposedPorts', 'Volumes', 'StopSignal'],
]

/**
 * The configuration of an image as it stands, but for its known keys, which are spelt as the specification has them: builders
 * write `EntryPoint` too, and engines take it. What an engine could read in two ways is refused: a key that stands twice, in one case or in two.
 * @throws WindlassError CORRUPT, LIMIT_EXCEEDED
 */
export function readConfigDocument(bytes: Uint8Array): JsonObject {
  const text = decodeText(bytes, subject, imageConfigSizeMax)
  const document = asObject(parseJson(text, subject), subject)
  checkUniqueKeys(text, subject)
  const normalized = normalizeKeys(document, documentKeys, subject)
  const [config, rootfs] = [readObject(normalized, 'config', subject), readObject(normalized, 'rootfs', subject)]
  return {
    ...normalized,
    ...(config !== undefined && { config: normalizeKeys(config, containerKeys, `${subject}.config`) }),
    ...(rootfs !== undefined && { rootfs: normalizeKeys(rootfs, rootfsKeys, `${subject}.rootfs`) }),
  }
}

/**
 * Reads the configuration of an image, OCI's or docker's. An os that is not given is linux, as docker has it; an architecture that
 * is not given is `unknown`.
 * @throws WindlassError CORRUPT, LIMIT_EXCEEDED
 */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const document = readConfigDocument(bytes)
  return {
    os: readString(document, 'os', subject) || 'linux',
    architecture: readString(document, 'architecture', subject) || 'unknown',
    ...present({
      variant: readString(document, 'variant', subject) || undefined,
      'os.version': readString(document, 'os.version', subject) || undefined,
      'os.features': readStrings(document, 'os.features', subject),
      created: readString(document, 'created', subject),
      author: readString(document, 'author', subject),
    }),
    config: readContainerConfig(readObject(document, 'config', subject) ?? {}),
    rootfs: readRootfs(document),
    history: (readList(document, 'history', subject) ?? []).map(readHistory),
  }
}

function readRootfs(document: JsonObject): ImageConfig['rootfs'] {
  const rootfs = readObject(document, 'rootfs', subject)
  if (rootfs === undefined) throw corrupt(subject, 'its rootfs is missing; an object with diff_ids is needed')
  const type = readField(rootfs, 'type')
  if (type !== undefined && type !== 'layers') {
    throw corrupt(`${subject}.rootfs.type`, `it is ${kindOf(type)}; "layers" is needed`)
  }
  const diffIds = readList(rootfs, 'diff_ids', `${subject}.rootfs`) ?? []
  return { type: 'layers', diff_ids: diffIds.map((value, at) => asDigest(value, `${subject}.rootfs.diff_ids[${at}]`)) }
}

function readContainerConfig(config: JsonObject): ContainerConfig {
  const name = `${subject}.config`
  return present({
    User: readString(config, 'User', name),
    Env: readStrings(config, 'Env', name),
    Entrypoint: readCommand(config, 'Entrypoint', name),
    Cmd: readCommand(config, 'Cmd', name),
    WorkingDir: readString(config, 'WorkingDir', name),
    Labels: readStringMap(config, 'Labels', name),
    ExposedPorts: readKeys(config, 'ExposedPorts', name),
    Volumes: readKeys(config, 'Volumes', name),
    StopSignal: readString(config, 'StopSignal', name),
  })
}

/** Docker wrote a command of one word as a plain string once, and still reads it. */
function readCommand(config: JsonObject, key: string, name: string): readonly string[] | undefined {
  const value = readField(config, key)
  return typeof value === 'string' ? [value] : readStrings(config, key, name)
}

function readKeys(config: JsonObject, key: string, name: string): readonly string[] | undefined {
  const map = readObject(config, key, name)
  return map === undefined ? undefined : Object.keys(map)
}

function readHistory(value: unknown, at: number): HistoryEntry {
  const name = `${subject}.history[${at}]`
  const entry = asObject(value, name)
  const isEmpty = readField(entry, 'empty_layer')
  if (isEmpty !== undefined && typeof isEmpty !== 'boolean') {
    throw corrupt(`${name}.empty_layer`, `it is ${kindOf(isEmpty)}; true or false is needed`)
  }
  return present({
    created: readString(entry, 'created', name),
    created_by: readString(entry, 'created_by', name),
    author: readString(entry, 'author', name),
    comment: readString(entry, 'comment', name),
    empty_layer: isEmpty,
  })
}

/**
 * The chain ID of each layer: what names the layer together with all below it (OCI image-spec, config.md, "Layer ChainID").
 * @param diffIds from the base upwards
 */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = []
  for (const diffId of diffIds) {
    const below = chain.at(-1)
    chain.push(below === undefined ? diffId : hashText(`${below} ${diffId}`))
  }
  return chain
}

function hashText(text: string): Digest {
  return asDigest(`sha256:${createHash('sha256').update(text).digest('hex')}`, 'chain ID')
}

/** A layer as it is transferred, as it is unpacked, and as it is named with all below it. */
export interface ImageLayer {
  readonly descriptor: Descriptor
  readonly diffId: Digest
  readonly chainId: Digest
}

/**
 * The layers of an image, from the base upwards: each blob of the manifest with the diffId that the config promises for it.
 * @throws WindlassError CORRUPT if manifest and config do not speak of the same number of layers
 */
export function imageLayers(manifest: Manifest, config: ImageConfig): ImageLayer[] {
  const diffIds = config.rootfs.diff_ids
  if (manifest.layers.length !== diffIds.length) {
    throw corrupt(subject, `it has ${diffIds.length} diff_ids; the manifest has ${manifest.layers.length} layers`)
  }
  const chain = chainIds(diffIds)
  return manifest.layers.flatMap((descriptor, at) => {
    const [diffId, chainId] = [diffIds[at], chain[at]]
    return diffId === undefined || chainId === undefined ? [] : [{ descriptor, diffId, chainId }]
  })
}
