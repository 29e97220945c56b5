import { isWindlassError, WindlassError, wrapError } from '../errors.ts'
import { Gate } from '../flow/gate.ts'
import { cancelledError, type RetryOptions, retry } from '../flow/retry.ts'
import type { Digest } from '../oci/digest.ts'
import { parsePlatform } from '../oci/platform.ts'
import { formatReference, parseReference, type Reference, repositoryName } from '../oci/reference.ts'
import type { Document, Source } from '../places/place.ts'
import type { RegistryOptions } from '../places/registry/repository.ts'
import { listTags } from '../places/registry/tags.ts'
import { Store } from '../places/store/store.ts'
import { BlobHosts } from './blob-hosts.ts'
import { findDocuments } from './copy-image.ts'
import { type CopyToOptions, checkKeepsReferrers, copyTo } from './copy-to.ts'
import type { PullEvent } from './events.ts'
import { openImage, type PlaceOptions } from './places.ts'
import { admit } from './pull.ts'
import type { ListedImages, RegistryAccess } from './sync-list.ts'
import type { Transport } from './transport.ts'
import type { PolicySubject } from './trust/policy.ts'

/** Where the images of a list go. */
export type SyncTarget =
  /** Under `prefix`, which is `host[:port]` or that and a path. */
  | { readonly kind: 'registry'; readonly prefix: string }
  /** An OCI layout, under their full names. */
  | { readonly kind: 'layout'; readonly directory: string }
  | { readonly kind: 'store' }

/** What of a source's name the one in a registry keeps: the path, its last part (as skopeo does), or all with the host (skopeo's --scoped). */
export type SyncNaming = 'path' | 'last' | 'full'

export interface SyncOptions
  extends PlaceOptions,
    Pick<CopyToOptions, 'platform' | 'layersMax' | 'patience' | 'gatekeeper' | 'referrers'> {
  readonly naming?: SyncNaming
  /** Images at a time; 3 if absent. A layout takes one. */
  readonly imagesMax?: number | undefined
  /** Nothing is copied or changed. */
  readonly isDryRun?: boolean
  readonly onEvent?: (event: SyncEvent) => void
}

/** What became of one image of a list; a repository whose tags could not be listed counts as one. */
export interface SyncOutcome {
  readonly source: string
  readonly destination?: string
  /** `planned`: it would be copied. `unchanged`: the destination has it already, under the name that it would get. */
  readonly status: 'copied' | 'unchanged' | 'planned' | 'failed'
  readonly digest?: Digest
  /** Documents that refer to the image and are there now; only if they were asked for. */
  readonly referrers?: number
  readonly error?: WindlassError
}

export type SyncEvent =
  | { readonly type: 'begin'; readonly source: string; readonly destination: string }
  | { readonly type: 'warning'; readonly source: string; readonly message: string }
  /** What the copy of an image tells while it runs. */
  | { readonly type: 'copy'; readonly source: string; readonly event: PullEvent }
  | ({ readonly type: 'end' } & SyncOutcome)

const imagesMaxDefault = 3

const targetKinds = { registry: 'docker', layout: 'oci', store: 'store' } as const

/** One image of the list, and its name at the destination. */
interface Item {
  readonly source: Reference
  readonly access: RegistryAccess
  readonly target: Transport
  readonly destination: string
}

/**
 * Copies all images of a list. One that fails keeps no other from being copied; what the destination has is left as it is, so that a run that was cut
 * is gone on with by the next.
 * @throws WindlassError USAGE if two images would get one name; UNSUPPORTED if referrers are to go where they cannot be kept; CANCELLED
 */
export async function syncImages(
  list: readonly ListedImages[],
  target: SyncTarget,
  options: SyncOptions,
): Promise<readonly SyncOutcome[]> {
  if (options.referrers) checkKeepsReferrers(targetKinds[target.kind])
  const outcomes: SyncOutcome[] = []
  const end = (outcome: SyncOutcome): void => {
    outcomes.push(outcome)
    options.onEvent?.({ type: 'end', ...outcome })
  }
  const items = await expandList(list, target, options, end)
  checkNames(items)
  const gate = new Gate(target.kind === 'layout' ? 1 : (options.imagesMax ?? imagesMaxDefault))
  const { signal } = options
  const runs = items.map(async item => {
    using _slot = await gate.enter(signal)
    const { destination } = item
    const source = formatReference(item.source)
    try {
      end({ source, destination, ...(await syncOne(item, options)) })
    } catch (error) {
      if (signal.aborted) throw error
      end({ source, destination, status: 'failed', error: wrapError(error, `Cannot copy ${source}`) })
    }
  })
  await Promise.allSettled(runs)
  if (signal.aborted) throw isWindlassError(signal.reason) ? signal.reason : cancelledError('Cannot sync')
  return outcomes
}

/** The images that the list means now; the tags of a repository are asked for where they are not given. */
async function expandList(
  list: readonly ListedImages[],
  target: SyncTarget,
  options: SyncOptions,
  end: (outcome: SyncOutcome) => void,
): Promise<Item[]> {
  const items = new Map<string, Item>()
  const add = (source: Reference, access: RegistryAccess): void => {
    const place = placeOf(source, target, options.naming ?? 'path')
    items.set(`${formatReference(source)} ${place.destination}`, { source, access, ...place })
  }
  for (const { repository, tags, access } of list) {
    if (tags === undefined) {
      add(repository, access)
      continue
    }
    const name = repositoryName(repository)
    try {
      const registry = registryFor(repository, access, options)
      const all = await retry(() => listTags(repository, registry, options.signal), retryingOf(name, options))
      const chosen = all.filter(tags).sort()
      if (chosen.length === 0)
        throw new WindlassError('NOT_FOUND', `Cannot choose images of ${name}: none of its ${all.length} tags is meant`)
      for (const tag of chosen) add(parseReference(`${name}:${tag}`), access)
    } catch (error) {
      options.signal.throwIfAborted()
      end({ source: name, status: 'failed', error: wrapError(error, `Cannot list the tags of ${name}`) })
    }
  }
  return [...items.values()]
}

function placeOf(source: Reference, target: SyncTarget, naming: SyncNaming): Pick<Item, 'target' | 'destination'> {
  const name = formatReference(source)
  if (target.kind === 'store') return { target: { kind: 'store', text: name }, destination: `store:${name}` }
  if (target.kind === 'layout')
    return { target: { kind: 'oci', path: target.directory, name }, destination: `oci:${target.directory}:${name}` }
  const { tag, digest } = source
  const suffix = digest === undefined ? `:${tag}` : `@${digest}`
  const reference = parseReference(`${target.prefix}/${pathOf(source, naming)}${suffix}`)
  return { target: { kind: 'docker', reference }, destination: `docker://${formatReference(reference)}` }
}

function pathOf({ domain, path }: Reference, naming: SyncNaming): string {
  if (naming === 'last') return path.slice(path.lastIndexOf('/') + 1)
  // A port has no place in a path.
  return naming === 'full' ? `${domain.toLowerCase().replace(/[^a-z0-9.]+/g, '-')}/${path}` : path
}

/** @throws WindlassError USAGE */
function checkNames(items: readonly Item[]): void {
  const seen = new Map<string, Item>()
  for (const item of items) {
    const other = seen.get(item.destination)
    seen.set(item.destination, item)
    if (other === undefined) continue
    const both = `${formatReference(other.source)} and ${formatReference(item.source)}`
    throw new WindlassError('USAGE', `Cannot sync ${both}: both would be ${item.destination}`, {
      hint: '--names full keeps the host in the name',
    })
  }
}

/** As the list says that the registry is reached: what it says of one counts for no other. */
function registryFor({ domain }: Reference, access: RegistryAccess, { registry }: PlaceOptions): RegistryOptions {
  const { credential, tlsVerify, certificateDirectory } = access
  const credentials = credential && {
    find: async (host: string, signal: AbortSignal) =>
      host === domain ? credential : await registry.credentials.find(host, signal),
  }
  return {
    ...registry,
    ...(credentials && { credentials }),
    ...(certificateDirectory !== undefined && { certificateDirectory }),
    ...(!tlsVerify && { insecure: [...(registry.insecure ?? []), domain] }),
  }
}

async function syncOne(
  { source: reference, access, target, destination }: Item,
  options: SyncOptions,
): Promise<Pick<SyncOutcome, 'status' | 'digest' | 'referrers'>> {
  const source = formatReference(reference)
  const near = { ...options, registry: registryFor(reference, access, options) }
  await using image = await openImage({ kind: 'docker', reference }, near)
  const retrying = retryingOf(source, options)
  const subjects = [{ transport: 'docker', reference }] as const
  // Also what is there already, and may have come before the policy.
  const top = await findAdmitted(image.source, reference, { target, options, retrying, subjects })
  const { digest } = top.descriptor
  const isThere = await hasAlready(target, top, options)
  // What refers to an image may come after it.
  if (isThere && (!options.referrers || options.isDryRun)) return { status: 'unchanged', digest }
  if (options.isDryRun) return { status: 'planned', digest }
  options.onEvent?.({ type: 'begin', source, destination })
  const isNear = target.kind === 'docker' && target.reference.domain === reference.domain
  const mountFrom = isNear ? [reference.path] : undefined
  const { platform, layersMax, patience, gatekeeper, referrers } = options
  const choices = { from: source, platform, layersMax, patience, gatekeeper, referrers, subjects, mountFrom }
  const run = copyTo(image, target, { ...options, ...choices })
  run.result.catch(() => {})
  for await (const event of run) options.onEvent?.({ type: 'copy', source, event })
  const copied = await run.result
  return {
    status: isThere ? 'unchanged' : 'copied',
    digest: copied.digest,
    ...(referrers && 'referrersCopied' in copied && { referrers: copied.referrersCopied }),
  }
}

interface Admission {
  readonly target: Transport
  readonly options: SyncOptions
  readonly retrying: RetryOptions
  readonly subjects: readonly PolicySubject[]
}

/** The document that the name at the destination would mean, if the policy lets it in. */
async function findAdmitted(
  source: Source,
  reference: Reference,
  { target, options, retrying, subjects }: Admission,
): Promise<Document> {
  const { gatekeeper, signal } = options
  if (gatekeeper === undefined) return await retry(() => source.resolve(reference, signal), retrying)
  const onePlatform = target.kind === 'store'
  const platform = options.platform === undefined ? undefined : parsePlatform(options.platform)
  // What is to be told, the copy tells.
  const asking = { retrying, emit: () => {} }
  const documents = await findDocuments(new BlobHosts(source), reference, { ...asking, platform, onePlatform })
  const [top] = await admit(gatekeeper, documents, { ...asking, subjects, sources: [source] })
  return top
}

/** Whether the name at the destination means this very document, or, of one platform, one that a run before made of it. */
async function hasAlready(target: Transport, top: Document, options: SyncOptions): Promise<boolean> {
  if (options.platform !== undefined) return false
  if (target.kind === 'store') return await hasInStore(target.text, top, options)
  try {
    await using there = await openImage(target, options)
    return (await there.source.resolve(there.reference, options.signal)).descriptor.digest === top.descriptor.digest
  } catch (error) {
    options.signal.throwIfAborted()
    // Whatever keeps it from being read there is told when it is written there.
    if (isWindlassError(error)) return false
    throw error
  }
}

async function hasInStore(name: string, { descriptor }: Document, { root, signal }: SyncOptions): Promise<boolean> {
  await using store = await Store.open(root, { signal })
  const byDigest = name.includes('@') ? name : name.replace(/:[^:/]*$/, `@${descriptor.digest}`)
  const image = store.listImages().find(({ names, repoDigests }) => names.includes(name) || repoDigests.includes(name))
  return image?.repoDigests.includes(byDigest) === true
}

function retryingOf(source: string, { signal, patience, onEvent }: SyncOptions) {
  return {
    signal,
    pauseMs: patience?.pauseMs,
    onRetry: ({ message }: WindlassError) => onEvent?.({ type: 'warning', source, message }),
  }
}
