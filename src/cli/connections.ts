import { homedir } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions } from '../places/registry/connection.ts'
import type { Context, OptionTable, OptionValues } from './command.ts'

/** How registries are reached, for each command that speaks to one. */
export const connectionOptions = {
  'tls-ca': {
    type: 'string',
    value: 'FILE',
    summary: "trust the authorities in this PEM file, too, besides those of the system and of docker's certs.d",
  },
  cert: {
    type: 'string',
    value: 'FILE',
    summary: 'show this PEM certificate to the registry, and to nobody that it leads to; wants --key',
  },
  key: { type: 'string', value: 'FILE', summary: 'the key of --cert' },
  'insecure-registry': {
    type: 'string',
    value: 'HOST[:PORT]',
    multiple: true,
    summary: 'do not check the certificate of this host, or of a block of addresses, and let it speak plain http',
  },
} as const satisfies OptionTable

/** As docker and podman have it: the user's own first. */
const certificateDirectories = (home: string): string[] => [
  join(home, '.config/docker/certs.d'),
  join(home, '.config/containers/certs.d'),
  '/etc/docker/certs.d',
  '/etc/containers/certs.d',
]

/** What they are where a command has none of these. */
export const plainConnections: OptionValues<typeof connectionOptions> = {
  'tls-ca': undefined,
  cert: undefined,
  key: undefined,
  'insecure-registry': [],
}

/**
 * Reads the options, and the proxies from the environment.
 * @throws WindlassError USAGE if a proxy is none
 */
export async function readConnections(
  { env }: Pick<Context, 'env'>,
  options: OptionValues<typeof connectionOptions>,
): Promise<ConnectionOptions> {
  const { parseProxies } = await import('../places/registry/proxy.ts')
  return {
    proxy: parseProxies(env),
    caFile: options['tls-ca'],
    certFile: options.cert,
    keyFile: options.key,
    insecure: options['insecure-registry'],
    certificateDirectories: certificateDirectories(env['HOME'] || homedir()),
  }
}
