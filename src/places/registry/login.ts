import { randomBytes } from 'node:crypto'
import { mkdir, open, realpath, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { WindlassError, wrapError } from '../../errors.ts'
import { readIfThere } from '../../sys/read-if-there.ts'
import { hostOfKey, hubHosts, hubKey, isFields, malformed } from './docker-credentials.ts'
import { drain } from './http.ts'
import { type RegistryOptions, Repository } from './repository.ts'

type Fields = Record<string, unknown>

/**
 * Asks a registry whether it takes the credentials.
 * @param host as references name it
 * @throws WindlassError DENIED if it does not; NETWORK, TLS, PROTOCOL
 */
export async function checkLogin(host: string, options: RegistryOptions, signal: AbortSignal): Promise<void> {
  await using repository = new Repository({ domain: host, path: 'library/login' }, options, 'pull')
  const connected = await repository.connect(signal)
  const url = new URL('/v2/', connected.origin)
  const request = { method: 'GET' as const, url, headers: {}, signal, doing: `Cannot log in to ${host}` }
  const response = await connected.direct(request)
  if (response.status !== 200) throw await connected.refusal(response, request)
  await drain(response)
}

/**
 * Keeps a login where docker and podman look for it, besides what is there.
 * @returns the file
 * @throws WindlassError UNSUPPORTED if a credential helper keeps the logins; FAILED for a file that is not docker's; PERMISSION
 */
export async function saveLogin(
  configDirectory: string,
  host: string,
  { username, password }: { readonly username: string; readonly password: string },
): Promise<string> {
  const auth = Buffer.from(`${username}:${password}`).toString('base64')
  return await changeConfig(configDirectory, host, auths => ({ ...without(auths, host), [keyOf(host)]: { auth } }))
}

/** Takes a login away. @returns the file, or undefined if there was none */
export async function removeLogin(configDirectory: string, host: string): Promise<string | undefined> {
  let isThere = false
  const path = await changeConfig(configDirectory, host, auths => {
    const rest = without(auths, host)
    isThere = Object.keys(rest).length < Object.keys(auths).length
    return isThere ? rest : undefined
  })
  return isThere ? path : undefined
}

function keyOf(host: string): string {
  return hubHosts.has(host) ? hubKey : host
}

function without(auths: Fields, host: string): Fields {
  const wanted = hostOfKey(keyOf(host))
  return Object.fromEntries(Object.entries(auths).filter(([key]) => hostOfKey(key) !== wanted))
}

async function changeConfig(
  directory: string,
  host: string,
  change: (auths: Fields) => Fields | undefined,
): Promise<string> {
  const named = join(directory, 'config.json')
  // Where it is a link to a file elsewhere, it stays one.
  const path = await realpath(named).catch(() => named)
  const config = parse((await readIfThere(path)) ?? '{}', path)
  const { auths = {}, credHelpers = {} } = config
  if (!isFields(auths) || !isFields(credHelpers)) throw malformed(path, 'auths or credHelpers is not an object')
  const helper = Object.entries(credHelpers).find(([key]) => hostOfKey(key) === hostOfKey(keyOf(host)))?.[1]
  if (typeof (helper ?? config['credsStore']) === 'string' && (helper ?? config['credsStore']) !== '') {
    const hint = `use 'docker login ${host}' or 'docker logout ${host}': what they keep is used here, too`
    const state = `the credential helper ${helper ?? config['credsStore']} keeps it`
    throw new WindlassError('UNSUPPORTED', `Cannot change the login for ${host} of ${path}: ${state}`, { hint })
  }
  const changed = change(auths)
  if (changed !== undefined) await write(path, `${JSON.stringify({ ...config, auths: changed }, null, '\t')}\n`)
  return path
}

function parse(text: string, path: string): Fields {
  try {
    const config: unknown = JSON.parse(text)
    if (isFields(config)) return { ...config }
  } catch {
    // No cause: it would quote the file, which holds passwords.
  }
  throw malformed(path, 'not a JSON object')
}

/** Whoever reads it sees the old file or the new one; nobody else may read it. */
async function write(path: string, text: string): Promise<void> {
  const partial = `${path}.${randomBytes(4).toString('hex')}`
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await using handle = await open(partial, 'wx', 0o600)
    await handle.writeFile(text)
    await handle.sync()
    await rename(partial, path)
  } catch (error) {
    await rm(partial, { force: true })
    throw wrapError(error, `Cannot write ${path}`)
  }
}
