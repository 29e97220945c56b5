import { homedir } from 'node:os'
import { join } from 'node:path'
import type { CredentialSource } from '../places/registry/credentials.ts'
import type { Context } from './command.ts'

/** The credentials that docker's own command line would use: `DOCKER_AUTH_CONFIG`, `DOCKER_CONFIG`, `~/.docker/config.json`. */
export async function openCredentials({ env }: Pick<Context, 'env'>): Promise<CredentialSource> {
  const { openDockerCredentials } = await import('../places/registry/docker-credentials.ts')
  const configDirectory = dockerDirectory({ env })
  const authConfig = env['DOCKER_AUTH_CONFIG'] || undefined
  return await openDockerCredentials({ configDirectory, env, ...(authConfig !== undefined && { authConfig }) })
}

/** Where docker's command line keeps its configuration. */
export function dockerDirectory({ env }: Pick<Context, 'env'>): string {
  return env['DOCKER_CONFIG'] || join(env['HOME'] || homedir(), '.docker')
}
