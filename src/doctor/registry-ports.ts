/** The ports at which registries may be asked, as far as that can be known from here. */
import { registryHost } from '../oci/reference.ts'
import type { HostView } from '../sys/host-view.ts'
import { type ProcessTable, readArguments, readEnvironment } from '../sys/process-files.ts'
import { imagesOf, isClient } from './clients.ts'
import { isEngineName } from './engines.ts'
import { readProxies } from './registry-settings.ts'

/** Of https and http, and of the registry that everybody runs himself. */
const usual = ['443', '80', '5000']

/**
 * Besides the usual ones those that a client on the host has named, whoever's it is, and those of the proxies that clients and engines have in their environment or are told on their command line.
 * What a kubelet asks for, or a file leads to, is not known.
 */
export function findRegistryPorts(host: HostView, table: ProcessTable): ReadonlySet<string> {
  // Whoever else there is may hang, and so may who asks for his command line.
  const asked = [...table.values()].filter(({ name }) => isClient(name) || isEngineName(name))
  const found = asked.flatMap(({ pid, name }) => {
    const args = readArguments(host, pid)
    const images = imagesOf(name, args)
    if (images.length === 0 && !isEngineName(name)) return []
    const { NO_PROXY: _, ...proxies } = readProxies(readEnvironment(host, pid))
    return [...images.map(registryHost), ...Object.values(proxies), ...args.filter(isProxy)]
  })
  return new Set([...usual, ...found.flatMap(text => /:(\d+)\/?$/.exec(text)?.[1] ?? [])])
}

function isProxy(word: string): boolean {
  return /^(?:--https?-proxy=)?https?:\/\//.test(word)
}
