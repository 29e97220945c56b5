import { join } from 'node:path'
import { WindlassError } from '../../errors.ts'
import { readIfThere } from '../../sys/read-if-there.ts'
import { askCredentialHelper } from './credential-helper.ts'
import type { Credential, CredentialSource } from './credentials.ts'

export interface DockerCredentialsOptions {
  /** The directory of docker's `config.json`; a missing file means no credentials. */
  readonly configDirectory: string
  /** The text of `DOCKER_AUTH_CONFIG`: JSON with `auths`, which goes before the file. */
  readonly authConfig?: string
  /** The environment of credential helpers; that of this process if not given. */
  readonly env?: NodeJS.ProcessEnv
  readonly helperMs?: number
}

/** What docker stores credentials for Docker Hub under, whatever it is called in references. */
export const hubKey = 'https://index.docker.io/v1/'
export const hubHosts: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io'])

type Fields = Readonly<Record<string, unknown>>

interface Config {
  /** How messages name it. */
  readonly name: string
  readonly auths: Fields
  readonly credHelpers: Fields
  readonly credsStore: string | undefined
}

/**
 * The credentials that `docker login` has left. For each host, in docker's order: its own helper, the common store, the entry in
 * the file; the first that has one wins. Helpers run when they are asked, not here.
 * @throws WindlassError FAILED for a configuration that is not what docker writes, PERMISSION if it cannot be read
 */
export async function openDockerCredentials(options: DockerCredentialsOptions): Promise<CredentialSource> {
  const path = join(options.configDirectory, 'config.json')
  const given = options.authConfig === undefined ? [] : [parseConfig(options.authConfig, 'DOCKER_AUTH_CONFIG')]
  const text = await readIfThere(path)
  const configs = text === undefined ? given : [...given, parseConfig(text, path)]
  return { find: (host, signal) => findCredential(configs, host, signal, options) }
}

function parseConfig(text: string, name: string): Config {
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch {
    // No cause: the text of the JSON error quotes the file, which holds passwords.
    throw malformed(name, 'not JSON')
  }
  if (!isFields(config)) throw malformed(name, 'not an object')
  const { credsStore } = config
  if (credsStore !== undefined && credsStore !== null && typeof credsStore !== 'string') {
    throw malformed(name, 'credsStore is not a text')
  }
  return {
    name,
    auths: readFields(config, 'auths', name),
    credHelpers: readFields(config, 'credHelpers', name),
    credsStore: credsStore || undefined,
  }
}

function readFields(config: Fields, key: string, name: string): Fields {
  const value = config[key] ?? {}
  if (!isFields(value)) throw malformed(name, `${key} is not an object`)
  return value
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function malformed(name: string, what: string): WindlassError {
  return new WindlassError('FAILED', `Cannot use credentials of ${name}: ${what}; wanted what 'docker login' writes`, {
    hint: `repair ${name}, or move it away and log in again`,
  })
}

async function findCredential(
  configs: readonly Config[],
  host: string,
  signal: AbortSignal,
  options: DockerCredentialsOptions,
): Promise<Credential | undefined> {
  const key = hubHosts.has(host) ? hubKey : host
  for (const config of configs) {
    const helper = lookUp(config.credHelpers, key) ?? config.credsStore
    const credential = helper === undefined ? undefined : await askHelper(helper, key, config, signal, options)
    const found = credential ?? parseEntry(lookUp(config.auths, key), host, config.name)
    if (found !== undefined) return found
  }
  return undefined
}

function askHelper(
  helper: unknown,
  key: string,
  config: Config,
  signal: AbortSignal,
  { env, helperMs }: DockerCredentialsOptions,
): Promise<Credential | undefined> {
  if (typeof helper !== 'string') throw malformed(config.name, 'the name of a credential helper is not a text')
  return askCredentialHelper(helper, key, {
    signal,
    ...(env !== undefined && { env }),
    ...(helperMs !== undefined && { deadlineMs: helperMs }),
  })
}

/** The entry with the very key, or else one that names the same host in another way: old versions wrote scheme and path. */
function lookUp(entries: Fields, key: string): unknown {
  if (Object.hasOwn(entries, key)) return entries[key]
  const host = hostOfKey(key)
  return Object.entries(entries).find(([name]) => hostOfKey(name) === host)?.[1]
}

/** `https://host:port/v1/` and `host:port/v2` to `host:port`, and every name of Docker Hub to one. */
export function hostOfKey(key: string): string {
  const host = key.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
  return hubHosts.has(host) ? 'docker.io' : host
}

/** An entry of `auths`. docker leaves an empty one where a helper keeps the secret. */
function parseEntry(entry: unknown, host: string, name: string): Credential | undefined {
  if (entry === undefined || entry === null) return undefined
  if (!isFields(entry)) throw malformed(name, `the entry for ${host} is not an object`)
  const text = (key: string) => (typeof entry[key] === 'string' && entry[key] !== '' ? entry[key] : undefined)
  const registryToken = text('registrytoken')
  if (registryToken !== undefined) return { registryToken }
  const identityToken = text('identitytoken')
  if (identityToken !== undefined) return { identityToken }
  const auth = text('auth')
  if (auth !== undefined) return parseAuth(auth, host, name)
  const username = text('username')
  return username === undefined ? undefined : { username, password: text('password') ?? '' }
}

/** base64 of `username:password`; docker ends some with NUL bytes. */
function parseAuth(auth: string, host: string, name: string): Credential {
  const plain = Buffer.from(auth, 'base64').toString().replace(/\0+$/, '')
  const colon = plain.indexOf(':')
  if (colon < 1) throw malformed(name, `auth of the entry for ${host} is not base64 of user:password`)
  return { username: plain.slice(0, colon), password: plain.slice(colon + 1) }
}
