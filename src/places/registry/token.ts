import { WindlassError } from '../../errors.ts'
import { readSmall } from './body.ts'
import type { Challenge } from './challenge.ts'
import type { Credential } from './credentials.ts'
import { type HttpRequest, type HttpResponse, type Send, withRedirects } from './http.ts'
import { tokenBytesMax, tokenLengthMax } from './limits.ts'
import { statusError } from './status.ts'

/** An access token, and until when it is worth sending, in milliseconds since the epoch. */
export interface Token {
  readonly value: string
  readonly expiresAt: number
}

export interface TokenRequest {
  readonly realm: URL
  readonly challenge: Challenge
  /** What to ask for where the challenge names no scope. */
  readonly scope: string
  /** Undefined asks anonymously. */
  readonly credential: Credential | undefined
  readonly signal: AbortSignal
}

/** Distribution's token specification: without `expires_in` a token lives 60 seconds. */
const lifetimeSeconds = 60

/**
 * Asks a token service for access: by GET with or without Basic credentials, or, with an identity token, by OAuth2's POST with
 * grant_type=refresh_token (distribution's auth/oauth).
 * @throws WindlassError DENIED if the service refuses, PROTOCOL if its answer holds no token
 */
export async function fetchToken(send: Send, options: TokenRequest): Promise<Token> {
  const { realm, credential } = options
  const doing = `Cannot get a token from ${realm.host}`
  const identityToken = credential?.identityToken
  const request = identityToken === undefined ? planGet(options, doing) : planPost(options, identityToken, doing)
  // A POST is not repeated elsewhere, since its body is the secret.
  const exchange = identityToken === undefined ? withRedirects(withBasic(send, realm, credential)) : send
  const askedAt = Date.now()
  const response = await exchange(request)
  if (response.status !== 200) throw await tokenError(response, request, credential)
  return parseToken(await readSmall(response, request, tokenBytesMax), doing, askedAt)
}

function tokenError(
  response: HttpResponse,
  request: HttpRequest,
  credential: Credential | undefined,
): Promise<WindlassError> {
  const refused = response.status === 400 || response.status === 401 || response.status === 403
  if (!refused || credential === undefined) return statusError(response, request)
  return statusError({ ...response, status: 401 }, request, {
    hint: 'the stored credentials are refused: log in again',
  })
}

function withBasic(send: Send, realm: URL, credential: Credential | undefined): Send {
  const authorization = basicAuthorization(credential)
  if (authorization === undefined) return send
  return request => {
    const isRealm = request.url.origin === realm.origin
    return send(isRealm ? { ...request, headers: { ...request.headers, authorization } } : request)
  }
}

/** The Basic header of a credential, or undefined if it has no user name. */
export function basicAuthorization(credential: Credential | undefined): string | undefined {
  if (credential?.username === undefined) return undefined
  return `Basic ${Buffer.from(`${credential.username}:${credential.password ?? ''}`).toString('base64')}`
}

function tokenParameters({ challenge, scope }: TokenRequest): [string, string][] {
  const service = challenge.parameters.get('service')
  const asked = challenge.parameters.get('scope') ?? scope
  return [...(service === undefined ? [] : [['service', service] as [string, string]]), ['scope', asked]]
}

function planGet(options: TokenRequest, doing: string): HttpRequest {
  const url = new URL(options.realm)
  for (const [name, value] of tokenParameters(options)) url.searchParams.append(name, value)
  const account = options.credential?.username
  if (account !== undefined) url.searchParams.append('account', account)
  return { method: 'GET', url, headers: { accept: 'application/json' }, signal: options.signal, doing }
}

function planPost(options: TokenRequest, identityToken: string, doing: string): HttpRequest {
  const form = new URLSearchParams([
    ['grant_type', 'refresh_token'],
    ...tokenParameters(options),
    ['client_id', 'windlass'],
    ['refresh_token', identityToken],
  ])
  const headers = { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' }
  return { method: 'POST', url: options.realm, headers, body: form.toString(), signal: options.signal, doing }
}

function parseToken(bytes: Buffer, doing: string, askedAt: number): Token {
  const fields = parseObject(bytes)
  const value = fields?.['token'] || fields?.['access_token']
  // Anything but visible ASCII could break out of the header that it is put into.
  if (typeof value !== 'string' || value.length > tokenLengthMax || !/^[\x21-\x7e]+$/.test(value)) {
    throw new WindlassError('PROTOCOL', `${doing}: its answer holds no usable token`)
  }
  const stated = fields?.['expires_in']
  const seconds = typeof stated === 'number' && stated > 0 ? stated : lifetimeSeconds
  // A tenth early, so that a token does not expire between here and the registry.
  return { value, expiresAt: askedAt + seconds * 900 }
}

function parseObject(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
