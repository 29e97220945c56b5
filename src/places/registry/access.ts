import { type ErrorDetails, WindlassError } from '../../errors.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import type { Credential, CredentialSource } from './credentials.ts'
import { drain, type Send, untilAborted } from './http.ts'
import { judgeRealm } from './realm.ts'
import { basicAuthorization, fetchToken, type Token } from './token.ts'

export interface AccessOptions {
  /** The registry. Its credentials and tokens never go to another origin, but for what `judgeRealm` allows. */
  readonly origin: URL
  /** The registry's name in references and in credential stores. */
  readonly host: string
  readonly scope: string
  readonly credentials: CredentialSource
  readonly trustedRealms: readonly string[]
  readonly send: Send
  readonly tokenMs: number
  /** Ends with the source: a token that several requests wait for is not the business of one of them. */
  readonly lifetime: AbortSignal
}

/**
 * What is sent in Authorization to one registry for one repository. Nothing is sent before the registry asks for it; then the
 * challenge is remembered, so that an expired token is renewed without another refusal.
 */
export class Access {
  readonly #options: AccessOptions
  #header: string | undefined
  #expiresAt = Number.POSITIVE_INFINITY
  #bearer: Challenge | undefined
  #renewal: Promise<string | undefined> | undefined
  #withheld: string | undefined
  #hasCredential = false
  #credentialFailure: WindlassError | undefined

  constructor(options: AccessOptions) {
    this.#options = options
  }

  get origin(): string {
    return this.#options.origin.origin
  }

  /** The header to send now, if any is known to be wanted. */
  async current(signal: AbortSignal): Promise<string | undefined> {
    const bearer = this.#bearer
    if (bearer === undefined || Date.now() < this.#expiresAt) return this.#header
    return this.#renew(() => this.#answerBearer(bearer), signal)
  }

  /**
   * The header that answers a refusal, or undefined if there is nothing better to send.
   * @param failed the header that was refused
   */
  async answer(
    challenge: string | readonly string[] | undefined,
    failed: string | undefined,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    // Another request has renewed it in the meantime.
    if (this.#renewal === undefined && this.#header !== failed) return this.#header
    const header = await this.#renew(() => this.#answerFirst(parseChallenges(challenge)), signal)
    return header === failed ? undefined : header
  }

  /** Why a refusal may be the user's to solve: what was not sent, or could not be read. */
  get denial(): ErrorDetails {
    if (this.#credentialFailure !== undefined) {
      return { cause: this.#credentialFailure, hint: this.#credentialFailure.message }
    }
    if (this.#withheld === undefined) return { hint: this.#plainHint() }
    const hint = `the credentials were not sent to the token service at ${this.#withheld}, a stranger to ${this.#options.host}`
    return { hint, facts: { realm: this.#withheld } }
  }

  /** Many registries answer the same for what is not there and for what is not to be seen. */
  #plainHint(): string {
    const { host } = this.#options
    return this.#hasCredential
      ? `the stored credentials for ${host} do not give access to it; check the name, or log in again`
      : `either it does not exist there, or it needs 'docker login ${host}'`
  }

  /** One renewal at a time, shared by all who wait for it, each of whom may leave. */
  async #renew(start: () => Promise<string | undefined>, signal: AbortSignal): Promise<string | undefined> {
    this.#renewal ??= start().finally(() => {
      this.#renewal = undefined
    })
    return untilAborted(this.#renewal, signal, `Cannot get access to ${this.#options.host}`)
  }

  async #answerFirst(challenges: readonly Challenge[]): Promise<string | undefined> {
    const bearer = challenges.find(challenge => challenge.scheme === 'bearer')
    if (bearer !== undefined) return this.#answerBearer(bearer)
    if (!challenges.some(challenge => challenge.scheme === 'basic')) return undefined
    this.#header = basicAuthorization(await this.#findCredential())
    return this.#header
  }

  async #answerBearer(challenge: Challenge): Promise<string | undefined> {
    const credential = await this.#findCredential()
    const token = credential?.registryToken
      ? { value: credential.registryToken, expiresAt: Number.POSITIVE_INFINITY }
      : await this.#askRealm(challenge, credential)
    this.#bearer = challenge
    this.#expiresAt = token.expiresAt
    this.#header = `Bearer ${token.value}`
    return this.#header
  }

  async #askRealm(challenge: Challenge, credential: Credential | undefined): Promise<Token> {
    const { origin, host, scope, trustedRealms, send, tokenMs, lifetime } = this.#options
    const realm = URL.parse(challenge.parameters.get('realm') ?? '')
    const verdict = realm === null ? 'refused' : judgeRealm(origin, realm, trustedRealms)
    if (realm === null || verdict === 'refused') {
      const shown = realm === null ? 'not an address' : realm.origin
      const message = `Cannot get access to ${host}: its token service is ${shown}; wanted an https address`
      throw new WindlassError('PROTOCOL', message, { facts: { host } })
    }
    this.#withheld = verdict === 'anonymous' && credential !== undefined ? realm.host : undefined
    return fetchToken(send, {
      realm: new URL(realm.pathname + realm.search, realm.origin),
      challenge,
      scope,
      credential: verdict === 'credentials' ? credential : undefined,
      signal: AbortSignal.any([lifetime, AbortSignal.timeout(tokenMs)]),
    })
  }

  /** A broken store of credentials does not stop what is public anyway; it is told if access is denied in the end. */
  async #findCredential(): Promise<Credential | undefined> {
    try {
      const credential = await this.#options.credentials.find(this.#options.host, this.#options.lifetime)
      this.#hasCredential = credential !== undefined
      return credential
    } catch (error) {
      if (!(error instanceof WindlassError) || error.code === 'CANCELLED') throw error
      this.#credentialFailure = error
      return undefined
    }
  }
}

/** Sends Authorization to the registry's own origin only, and answers one refusal, also that of an expired token. */
export function withAccess(send: Send, access: Access): Send {
  return async request => {
    if (request.url.origin !== access.origin) return send(request)
    const attempt = (authorization: string | undefined) => {
      return send(
        authorization === undefined ? request : { ...request, headers: { ...request.headers, authorization } },
      )
    }
    const known = await access.current(request.signal)
    const response = await attempt(known)
    if (response.status !== 401) return response
    const answer = await access.answer(response.headers['www-authenticate'], known, request.signal).catch(error => {
      response.body.destroy()
      throw error
    })
    if (answer === undefined) return response
    await drain(response)
    return attempt(answer)
  }
}
