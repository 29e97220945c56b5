/** Whether a name or an address is that of the host that we run on. */
import { hostname, networkInterfaces } from 'node:os'
import { isLoopback } from '../places/registry/http.ts'

/** Whoever connects to none comes to himself. */
const none = ['0.0.0.0', '[::]']

/** @param name as it stands in an address, IPv6 in brackets; one that only a name server knows is none of ours */
export function isOwnHost(name: string): boolean {
  const wanted = canonicalOf(name)
  if (wanted === undefined) return false
  if (isLoopback(wanted) || none.includes(wanted)) return true
  const own = hostname().toLowerCase()
  // With its domain or without.
  if (wanted === own || wanted.startsWith(`${own}.`) || own.startsWith(`${wanted}.`)) return true
  const addresses = Object.values(networkInterfaces()).flatMap(found => found ?? [])
  return addresses.some(({ address }) => canonicalOf(address.includes(':') ? `[${address}]` : address) === wanted)
}

/** As URL writes it: an address can be written in many ways. */
function canonicalOf(host: string): string | undefined {
  return URL.parse(`http://${host.replace(/%.*(?=\]$)/, '')}`)?.hostname.replace(/\.$/, '')
}
