/** What a user has for one registry. Which fields are there decides how access is asked for. */
export interface Credential {
  readonly username?: string
  readonly password?: string
  /** OAuth2 refresh token, changed into an access token at the token service. */
  readonly identityToken?: string
  /** Ready to be sent to the registry as it is. */
  readonly registryToken?: string
}

export interface CredentialSource {
  /**
   * The credential for a registry, named as in a reference (`docker.io`, `host:5000`), or undefined.
   * @throws WindlassError if the place where it should be cannot be read
   */
  find(host: string, signal: AbortSignal): Promise<Credential | undefined>
}

/** Always anonymous. */
export const noCredentials: CredentialSource = { find: async () => undefined }
