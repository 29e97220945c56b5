/** Whether a name or an address is that of the host that we run on. */
import * as os from 'node:os'
import { isLoopback } from '../places/registry/http.ts'
import { parseHosts } from './hosts-file.ts'

/** Whoever connects to none comes to himself. */
const none = ['0.0.0.0', '[::]']

/** What tells of a host how it is called, and asks nobody. */
interface Names {
  /** What stands in its /etc/hosts. */
  readonly hosts: string
  /** That of this host if it is not said. */
  readonly hostname?: string
}

/**
 * Only a name server knows more names of ours. The domains that resolv.conf searches are no part of one: they say where short names are looked for, and another host may be called there as we are.
 * @param name as it stands in an address, IPv6 in brackets
 */
export function isOwnHost(name: string, { hosts, hostname = os.hostname() }: Names): boolean {
  const wanted = canonicalOf(name)
  if (wanted === undefined) return false
  const own = hostname.toLowerCase()
  if (isOwnAddress(wanted) || [own, own.replace(/\..*/, '')].includes(wanted)) return true
  const listed = parseHosts(hosts).filter(([, ...names]) => names.includes(wanted))
  return listed.some(([address]) => isOwnAddress(canonicalOf(inBrackets(address))))
}

function isOwnAddress(address: string | undefined): boolean {
  if (address === undefined) return false
  if (isLoopback(address) || none.includes(address)) return true
  const own = Object.values(os.networkInterfaces()).flatMap(found => found ?? [])
  return own.some(one => canonicalOf(inBrackets(one.address)) === address)
}

function inBrackets(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}

/** As URL writes it: an address can be written in many ways. */
function canonicalOf(host: string): string | undefined {
  return URL.parse(`http://${host.replace(/%.*(?=\]$)/, '')}`)?.hostname.replace(/\.$/, '')
}
