/** One registry, tried as one engine would reach it. Each question is asked once, whoever wants the answer. */
import { WindlassError, wrapError } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { type Manifest, manifestSizeMax, parseDocument } from '../oci/manifest.ts'
import { choosePlatform, hostPlatform } from '../oci/platform.ts'
import { type Reference, registryHost } from '../oci/reference.ts'
import type { Document, Source } from '../places/place.ts'
import type { ConnectionOptions } from '../places/registry/connection.ts'
import type { Credential, CredentialSource } from '../places/registry/credentials.ts'
import { parseProxies } from '../places/registry/proxy.ts'
import { type Reached, reachRegistry } from '../places/registry/reach.ts'
import { openRegistry } from '../places/registry/registry.ts'
import { within } from '../sys/processes.ts'
import type { Engine, Strangeness } from './engines.ts'
import type { RegistrySettings } from './registry-settings.ts'

/** What came of a question. */
export type Outcome<T> = { readonly value: T; readonly error?: undefined } | { readonly error: WindlassError }

/** The first bytes of a layer. */
export interface Sample {
  readonly layer: Descriptor
  readonly bytes: number
  readonly tookMs: number
  /** True if it was asked for a part and gave that part. */
  readonly servesRanges: boolean
}

/** Who waits for a doctor wants to know that there is no answer, not to wait for it. */
const timeouts = { connectMs: 5000, headersMs: 6000, idleMs: 4000, documentMs: 10_000 }
/** A helper for credentials may wake a keychain. */
const helperMs = 6000
/** Several full segments of any network. */
const paddingBytes = 4000
/** Every path takes it. */
const smallSegment = 536
/** So much of a layer tells how fast it comes, or so long. */
const sampleBytes = 8 * 1024 * 1024
const sampleMs = 2000
/** Indexes in indexes: a stranger chooses how many. */
const depthMax = 4

export interface RegistryVisitOptions {
  /** `host[:port]`, as it is asked: Docker Hub's is not its name. */
  readonly host: string
  /** An image there, if one is named. */
  readonly reference: Reference | undefined
  /** Undefined if no engine is there: then what an engine without settings would do. */
  readonly engine: Engine | undefined
  readonly settings: RegistrySettings
  /** Why no credentials are sent where the engine's settings would have them sent. */
  readonly strangeness?: Strangeness | undefined
  readonly credentials: CredentialSource
  readonly signal: AbortSignal
}

/** Of a daemon of root that only has mounts of its own what needs no credentials is asked, as any answer of a registry that is named alone. */
export function isFollowed({
  strangeness,
  reference,
}: Pick<RegistryVisitOptions, 'strangeness' | 'reference'>): boolean {
  return strangeness === undefined || (strangeness === 'mounts' && reference === undefined)
}

export class RegistryVisit {
  readonly host: string
  readonly reference: Reference | undefined
  readonly engine: Engine | undefined
  readonly settings: RegistrySettings
  readonly strangeness: Strangeness | undefined
  readonly #options: RegistryVisitOptions
  #origin: string | undefined
  readonly #answers = new Map<string, Promise<Outcome<unknown>>>()

  constructor(options: RegistryVisitOptions) {
    this.#options = options
    this.host = options.host
    this.reference = options.reference
    this.engine = options.engine
    this.settings = options.settings
    this.strangeness = options.strangeness
  }

  /** Whether anything is sent by the settings of the engine. */
  get isFollowed(): boolean {
    return isFollowed(this)
  }

  /** The proxy between, as messages may show it. */
  get proxy(): string | undefined {
    try {
      return parseProxies(this.settings.proxies)(new URL(`https://${this.host}`))?.host
    } catch {
      return undefined
    }
  }

  /** What this user's configuration has for the registry of the image; undefined if no image was named. */
  async credential(): Promise<Outcome<Credential | undefined> | undefined> {
    const { reference } = this
    return reference === undefined
      ? undefined
      : await this.#once('credential', () => this.#findCredential(reference.domain))
  }

  reach(): Promise<Outcome<Reached>> {
    return this.#once('reach', () => this.#reach())
  }

  /** The same with a request of several full segments. */
  reachPadded(): Promise<Outcome<Reached>> {
    return this.#once('reach padded', () => this.#reach({ paddingBytes }))
  }

  /** The manifest of the image for this host. */
  manifest(): Promise<Outcome<Manifest>> {
    return this.#once('manifest', () => this.#withSource({}, source => this.#readManifest(source)))
  }

  /** The beginning of its largest layer, asked for from its second byte on. */
  sample(): Promise<Outcome<Sample | undefined>> {
    return this.#once('sample', () => this.#sample({}))
  }

  /** All that was asked for so far, again, in segments that every path takes. @param what failed before */
  inSmallSegments(what: 'reach' | 'reach padded' | 'sample'): Promise<Outcome<unknown>> {
    const small = { segmentMax: smallSegment }
    if (what === 'sample') return this.#once('small sample', () => this.#sample(small))
    const padding = what === 'reach' ? {} : { paddingBytes }
    return this.#once(`small ${what}`, () => this.#reach({ ...padding, ...small }))
  }

  /** One of them once more as it was, to see whether it is still so. */
  again(what: 'reach' | 'reach padded' | 'sample'): Promise<Outcome<unknown>> {
    if (what === 'sample') return this.#once('second sample', () => this.#sample({}))
    return this.#once(`second ${what}`, () => this.#reach(what === 'reach' ? {} : { paddingBytes }))
  }

  #once<T>(name: string, ask: () => Promise<T>): Promise<Outcome<T>> {
    const known = this.#answers.get(name) ?? outcomeOf(ask(), `Cannot reach ${this.host}`)
    this.#answers.set(name, known)
    return known as Promise<Outcome<T>>
  }

  #connections(): ConnectionOptions {
    const { proxies, insecure, certificateDirectories } = this.settings
    return { proxy: parseProxies(proxies), insecure, certificateDirectories }
  }

  async #findCredential(domain: string): Promise<Credential | undefined> {
    const { credentials, signal } = this.#options
    const found = credentials.find(domain, signal)
    found.catch(() => {})
    if (await within(found, helperMs)) return await found
    throw new WindlassError(
      'STALLED',
      `Cannot get the credentials for ${domain}: what docker's configuration names for them has not answered in ${helperMs / 1000} s`,
    )
  }

  async #reach(more: { readonly paddingBytes?: number; readonly segmentMax?: number } = {}): Promise<Reached> {
    const { signal } = this.#options
    const how = { ...this.#connections(), ...more, timeouts, signal, origin: this.#origin }
    const reached = await reachRegistry(this.host, how)
    this.#origin = reached.origin
    return reached
  }

  async #withSource<T>(more: ConnectionOptions, work: (source: Source) => Promise<T>): Promise<T> {
    const { reference, credentials } = this.#options
    if (reference === undefined) throw new WindlassError('USAGE', 'Cannot ask for an image: none is named')
    const there = this.host === registryHost(reference) ? reference : { ...reference, domain: this.host }
    await using source = openRegistry(there, { ...this.#connections(), ...more, credentials, timeouts })
    return await work(source)
  }

  async #readManifest(source: Source): Promise<Manifest> {
    const { signal } = this.#options
    let document: Document = await source.resolve(this.reference ?? {}, signal)
    let origin: Parameters<typeof parseDocument>[1] = { contentType: document.descriptor.mediaType }
    for (let depth = 0; depth < depthMax; depth++) {
      const parsed = parseDocument(document.bytes, origin)
      if (parsed.kind !== 'index') return parsed
      const wanted = choosePlatform(parsed.manifests, hostPlatform({ arch: process.arch }))
      if (wanted === undefined)
        throw new WindlassError('PLATFORM_MISSING', `${source.name} has no such image for ${process.arch}`)
      document = await source.readDocument(wanted, { sizeMax: manifestSizeMax, signal })
      origin = { descriptor: wanted }
    }
    throw new WindlassError('LIMIT_EXCEEDED', `${source.name} has indexes in indexes without end`)
  }

  async #sample(more: ConnectionOptions): Promise<Sample | undefined> {
    const manifest = await this.manifest()
    if (manifest.error !== undefined) throw manifest.error
    const layer = manifest.value.layers.toSorted((a, b) => b.size - a.size)[0]
    if (layer === undefined || layer.size < 2) return undefined
    return await this.#withSource(more, source => readSample(source, layer, this.#options.signal))
  }
}

async function readSample(source: Source, layer: Descriptor, signal: AbortSignal): Promise<Sample> {
  const start = performance.now()
  const stream = await source.openBlob(layer, { offset: 1, signal })
  let bytes = 0
  for await (const chunk of stream.bytes) {
    bytes += chunk.byteLength
    if (bytes >= sampleBytes || performance.now() - start > sampleMs) break
  }
  return { layer, bytes, tookMs: performance.now() - start, servesRanges: stream.offset === 1 }
}

async function outcomeOf<T>(work: Promise<T>, doing: string): Promise<Outcome<T>> {
  try {
    return { value: await work }
  } catch (error) {
    return { error: wrapError(error, doing) }
  }
}
