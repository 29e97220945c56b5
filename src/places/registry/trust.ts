import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { WindlassError, wrapError } from '../../errors.ts'
import { hostAndPort, matchHosts } from './host-list.ts'

/** Whom to trust, and what to show of oneself. */
export interface TrustOptions {
  /** PEM certificates to trust besides Node's and the system's. */
  readonly caFile?: string | undefined
  /** PEM certificate to show to the registry itself, and to nobody it leads to; with `keyFile`. */
  readonly certFile?: string | undefined
  readonly keyFile?: string | undefined
  /**
   * Directories like docker's `/etc/docker/certs.d`: the first that has one named `HOST[:PORT]` as the registry gives its `*.crt` as authorities, and
   * its `*.cert`, each with its `.key`, as what to show.
   */
  readonly certificateDirectories?: readonly string[] | undefined
  /** A directory with such files for this registry, whatever its name; it counts instead. */
  readonly certificateDirectory?: string | undefined
  /** Hosts (`host`, `host:port`, blocks of addresses) whose certificates are not checked, and that may speak plain http. */
  readonly insecure?: readonly string[] | undefined
}

/** What a TLS connection is made with. */
export interface TlsManner {
  readonly secureContext: SecureContext
  readonly rejectUnauthorized: boolean
}

interface Pair {
  readonly cert: Buffer
  readonly key: Buffer
}

/** How the connections of one registry, and to where it leads, are secured. Files are read when it is made. */
export class Trust {
  readonly #registry: string
  readonly #authorities: readonly (string | Buffer)[]
  readonly #pairs: readonly Pair[]
  readonly #isInsecure: ReturnType<typeof matchHosts>
  readonly #contexts = new Map<boolean, SecureContext>()

  /** @param registry its `host[:port]` */
  constructor(registry: string, options: TrustOptions) {
    this.#registry = new URL(`https://${registry}`).host
    const { certificateDirectory: named, certificateDirectories = [] } = options
    const directory = named === undefined ? findDirectory(this.#registry, certificateDirectories) : readNamed(named)
    const own = options.caFile === undefined ? [] : [readPem(options.caFile)]
    this.#authorities = [...own, ...(directory?.authorities ?? [])]
    this.#pairs = [...readPair(options), ...(directory?.pairs ?? [])]
    this.#isInsecure = matchHosts(options.insecure ?? [])
  }

  /** True where the user said that a host need not prove who it is. */
  isInsecure(url: URL): boolean {
    return this.#isInsecure(hostAndPort(url))
  }

  /** The certificates are put together when the first https connection needs them, and once. */
  mannerFor(url: URL): TlsManner {
    const isRegistry = url.host === this.#registry
    const context = this.#contexts.get(isRegistry) ?? this.#open(isRegistry ? this.#pairs : [])
    this.#contexts.set(isRegistry, context)
    return { secureContext: context, rejectUnauthorized: !this.isInsecure(url) }
  }

  /** The system's certificates count, as in docker: that is where a site installs the authority of its own registry. */
  #open(pairs: readonly Pair[]): SecureContext {
    const known = new Set([...getCACertificates('default'), ...getCACertificates('system')])
    return createSecureContext({
      ca: [...known, ...this.#authorities],
      ...(pairs.length > 0 && { cert: pairs.map(({ cert }) => cert), key: pairs.map(({ key }) => key) }),
    })
  }
}

function readPair({ certFile, keyFile }: TrustOptions): Pair[] {
  if (certFile === undefined && keyFile === undefined) return []
  if (certFile === undefined || keyFile === undefined) {
    const message = `Cannot use ${certFile ?? keyFile} alone: wanted a certificate and its key`
    throw new WindlassError('USAGE', message)
  }
  const pair = { cert: readPem(certFile), key: readPem(keyFile) }
  try {
    createSecureContext(pair)
  } catch (error) {
    throw unusable(`certificate ${certFile} with key ${keyFile}`, error)
  }
  return [pair]
}

function readPem(file: string): Buffer {
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (error) {
    throw wrapError(error, `Cannot read certificates ${file}`)
  }
  if (bytes.includes('-----BEGIN ')) return bytes
  throw new WindlassError('USAGE', `Cannot use certificates ${file}: it is not PEM`)
}

function unusable(what: string, cause: unknown): WindlassError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new WindlassError('USAGE', `Cannot use ${what}: ${reason}`, { cause })
}

function findDirectory(
  registry: string,
  directories: readonly string[],
): { authorities: Buffer[]; pairs: Pair[] } | undefined {
  const names = /:\d+$/.test(registry) ? [registry] : [registry, `${registry}:443`]
  for (const path of directories.flatMap(directory => names.map(name => join(directory, name)))) {
    const entries = listDirectory(path)
    if (entries !== undefined) return readDirectory(path, entries)
  }
  return undefined
}

function readNamed(path: string): { authorities: Buffer[]; pairs: Pair[] } {
  const entries = listDirectory(path)
  if (entries !== undefined) return readDirectory(path, entries)
  throw new WindlassError('USAGE', `Cannot use certificates ${path}: there is no such directory, or it cannot be read`)
}

function listDirectory(path: string): string[] | undefined {
  try {
    return readdirSync(path).toSorted()
  } catch (error) {
    // What is root's alone is no business of an ordinary user, as in podman.
    if (/^(?:ENOENT|ENOTDIR|EACCES|EPERM)$/.test((error as { code?: string }).code ?? '')) return undefined
    throw wrapError(error, `Cannot read certificates ${path}`)
  }
}

function readDirectory(path: string, entries: readonly string[]): { authorities: Buffer[]; pairs: Pair[] } {
  const read = (name: string): Buffer => readPem(join(path, name))
  const authorities = entries.filter(name => name.endsWith('.crt')).map(read)
  const certs = entries.filter(name => name.endsWith('.cert'))
  const pairs = certs.flatMap(name => {
    const key = name.replace(/\.cert$/, '.key')
    return readPair({ certFile: join(path, name), keyFile: entries.includes(key) ? join(path, key) : undefined })
  })
  return { authorities, pairs }
}
