import { createHash } from 'node:crypto'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { WindlassError } from '../../errors.ts'
import { asObject, parseJsonObject, readField, readObject, readString } from '../../oci/json.ts'
import { quote } from '../../oci/quote.ts'
import { readIfThere } from '../../sys/read-if-there.ts'

/** How a docker daemon is reached. */
export type DockerEndpoint =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly tls?: TlsFiles }
  | {
      readonly kind: 'ssh'
      readonly host: string
      readonly user?: string
      readonly port?: number
      readonly path?: string
    }

/** PEM texts; an absent one is not used. */
export interface TlsFiles {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** False: whoever answers is believed, as the docker client does when it was told to. */
  readonly verify: boolean
}

export interface EndpointOptions {
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Client certificates and docker's own configuration are small files. */
const fileSizeMax = 1024 * 1024
export const defaultHost = 'unix:///var/run/docker.sock'

/**
 * The daemon that docker's own client would talk to: `DOCKER_HOST`, else the context of `DOCKER_CONTEXT` or of config.json, else the socket of
 * this host.
 * @throws WindlassError USAGE for an address that makes no sense, NOT_FOUND for a context that is not there, PERMISSION, FAILED
 */
export async function findEndpoint({ env }: EndpointOptions): Promise<DockerEndpoint> {
  const directory = env['DOCKER_CONFIG'] || join(env['HOME'] || homedir(), '.docker')
  const host = env['DOCKER_HOST']
  if (host) return parseHost(host, await readTlsOfEnvironment(env, directory))
  const name = env['DOCKER_CONTEXT'] || (await readCurrentContext(directory))
  if (name === undefined || name === 'default')
    return parseHost(defaultHost, await readTlsOfEnvironment(env, directory))
  return await readContext(directory, name)
}

/** How messages name it. */
export function formatEndpoint(endpoint: DockerEndpoint): string {
  if (endpoint.kind === 'unix') return `unix://${endpoint.path}`
  const { host, port } = endpoint
  const bracketed = host.includes(':') ? `[${host}]` : host
  return `${endpoint.kind}://${bracketed}${port === undefined ? '' : `:${port}`}`
}

/** @throws WindlassError USAGE */
export function parseHost(text: string, tls?: TlsFiles): DockerEndpoint {
  if (text.startsWith('unix://')) return parseUnix(text)
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || url.hostname === '') throw badHost(text, 'it is no address')
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const port = url.port === '' ? undefined : Number(url.port)
  if (url.protocol === 'ssh:') return parseSsh(text, url, host, port)
  if (url.protocol !== 'tcp:' && url.protocol !== 'http:' && url.protocol !== 'https:')
    throw badHost(text, `${quote(url.protocol)} is not spoken`)
  const secured = tls ?? (url.protocol === 'https:' ? { verify: true } : undefined)
  return { kind: 'tcp', host, port: port ?? (secured ? 2376 : 2375), ...(secured && { tls: secured }) }
}

function parseUnix(text: string): DockerEndpoint {
  const path = text.slice('unix://'.length)
  if (path.startsWith('/') && !path.includes('\0')) return { kind: 'unix', path }
  throw badHost(text, 'the path of a socket begins with /')
}

/** What becomes an argument of ssh must not look like one of its options. */
function parseSsh(text: string, url: URL, host: string, port: number | undefined): DockerEndpoint {
  const user = decodeURIComponent(url.username)
  if (url.password !== '') throw badHost(text.replace(`:${url.password}@`, ':…@'), 'a password is not taken from it')
  if (!/^[\w.:%-]+$/.test(host) || host.startsWith('-')) throw badHost(text, 'its host is none')
  if (user !== '' && !/^[\w.@\\][\w.@-]*$/.test(user)) throw badHost(text, 'its user is none')
  const path = url.pathname === '' || url.pathname === '/' ? undefined : decodeURIComponent(url.pathname)
  if (path !== undefined && !/^\/[\w./@:+-]+$/.test(path)) throw badHost(text, 'its path is none of a socket')
  return {
    kind: 'ssh',
    host,
    ...(user !== '' && { user }),
    ...(port !== undefined && { port }),
    ...(path !== undefined && { path }),
  }
}

function badHost(text: string, state: string): WindlassError {
  const wanted = 'unix:///path, tcp://host:port or ssh://user@host'
  return new WindlassError('USAGE', `Cannot use docker's address ${quote(text)}: ${state}; wanted ${wanted}`)
}

/** `DOCKER_TLS_VERIFY` is on with any text in it, `DOCKER_TLS` asks for TLS without a look at the certificate. */
async function readTlsOfEnvironment(
  env: EndpointOptions['env'],
  configDirectory: string,
): Promise<TlsFiles | undefined> {
  const verify = Boolean(env['DOCKER_TLS_VERIFY'])
  if (!verify && !env['DOCKER_TLS']) return undefined
  return await readTlsFiles(env['DOCKER_CERT_PATH'] || configDirectory, verify)
}

async function readTlsFiles(directory: string, verify: boolean): Promise<TlsFiles> {
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'cert.pem', 'key.pem'].map(name => readIfThere(join(directory, name))),
  )
  return {
    verify,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  }
}

async function readCurrentContext(directory: string): Promise<string | undefined> {
  const text = await readIfThere(join(directory, 'config.json'))
  if (text === undefined) return undefined
  try {
    return parseCurrentContext(text)
  } catch (error) {
    throw new WindlassError(
      'FAILED',
      `Cannot find docker: ${join(directory, 'config.json')} is not what docker writes`,
      {
        cause: error,
        hint: 'repair it, or name the daemon with DOCKER_HOST',
      },
    )
  }
}

/** @param text of config.json. @throws WindlassError if it is not what docker writes */
export function parseCurrentContext(text: string): string | undefined {
  const config = parseJsonObject(Buffer.from(text), 'config.json', fileSizeMax)
  return readString(config, 'currentContext', 'config.json') || undefined
}

/** docker/cli, context store: `contexts/meta/<sha256 of the name>/meta.json`, and the certificates under `contexts/tls/`. */
async function readContext(directory: string, name: string): Promise<DockerEndpoint> {
  const text = await readIfThere(contextFile(directory, name))
  if (text === undefined) {
    throw new WindlassError('NOT_FOUND', `Cannot find docker: there is no context ${quote(name)} in ${directory}`, {
      hint: "'docker context ls' lists them; DOCKER_HOST names a daemon without one",
    })
  }
  const { host, isVerified } = parseContext(text)
  const files = await readTlsFiles(join(directory, 'contexts/tls', idOf(name), 'docker'), isVerified)
  const hasTls = files.ca !== undefined || files.cert !== undefined || !files.verify
  return parseHost(host, hasTls ? files : undefined)
}

function idOf(name: string): string {
  return createHash('sha256').update(name).digest('hex')
}

/** Where a context is told. @param directory of docker's configuration */
export function contextFile(directory: string, name: string): string {
  return join(directory, 'contexts/meta', idOf(name), 'meta.json')
}

/** @param text of a context's file. @throws WindlassError if it is not what docker writes */
export function parseContext(text: string): { readonly host: string; readonly isVerified: boolean } {
  const meta = parseJsonObject(Buffer.from(text), 'docker context', fileSizeMax)
  const endpoints = readObject(meta, 'Endpoints', 'docker context') ?? {}
  const docker = asObject(readField(endpoints, 'docker') ?? {}, 'docker context')
  const host = readString(docker, 'Host', 'docker context') || defaultHost
  return { host, isVerified: readField(docker, 'SkipTLSVerify') !== true }
}
