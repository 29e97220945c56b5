/** The ports at which an engine may ask a registry, as far as that can be known from here. */
import { registryHost } from '../oci/reference.ts'
import type { HostView } from '../sys/host-view.ts'
import { readEnvironment } from '../sys/process-files.ts'
import { findClientPulls } from './clients.ts'
import type { FoundEngine } from './engines.ts'
import { readProxies } from './registry-settings.ts'

/** Of https and http, and of the registry that everybody runs himself. */
const usual = ['443', '80', '5000']

/** Besides the usual ones those that its clients have named, and those of proxies: what a kubelet asks for, or a configuration leads to, is not known. */
export async function findRegistryPorts(host: HostView, { kind, sockets, process, environment }: FoundEngine) {
  const clients = await findClientPulls(host, { kind, sockets, process })
  const named = clients.map(({ reference }) => registryHost(reference))
  const environments = [environment, ...clients.map(({ pid }) => readEnvironment(host, pid))]
  const { NO_PROXY: _, ...proxies } = Object.assign({}, ...environments.map(readProxies))
  const ports = [...named, ...Object.values<string>(proxies)].flatMap(text => /:(\d+)\/?$/.exec(text)?.[1] ?? [])
  return new Set([...usual, ...ports])
}
