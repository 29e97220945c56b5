import { BlockList, isIP } from 'node:net'

/** Where an address leads: a name or IP address without brackets, in lower case, and a port. */
export interface HostAndPort {
  readonly hostname: string
  readonly port: string
}

type Matcher = (host: HostAndPort) => boolean

/** The host of an http or https address, its port always given. */
export function hostAndPort(url: URL): HostAndPort {
  const hostname = url.hostname.toLowerCase().replace(/^\[(.*)\]$/, '$1')
  return { hostname, port: url.port || (url.protocol === 'https:' ? '443' : '80') }
}

/**
 * Matches hosts as NO_PROXY lists them in Go's programs (golang.org/x/net/http/httpproxy): `*`, an address, a block of addresses (CIDR), a name, which
 * means what is below it too, `.name` or `*.name`, which means only that; each but the block with `:port`, if wanted. Names are not resolved.
 */
export function matchHosts(patterns: readonly string[]): Matcher {
  const matchers = patterns.map(pattern => matchHost(pattern.trim().toLowerCase()))
  return host => matchers.some(matches => matches(host))
}

function matchHost(pattern: string): Matcher {
  if (pattern === '') return () => false
  if (pattern === '*') return () => true
  const block = parseBlock(pattern)
  if (block !== undefined) {
    return ({ hostname }) => isIP(hostname) !== 0 && block.check(hostname, isIP(hostname) === 6 ? 'ipv6' : 'ipv4')
  }
  const { name, port } = splitPort(pattern)
  const isPort = (host: HostAndPort): boolean => port === undefined || port === host.port
  if (isIP(name) !== 0) {
    const address = new BlockList()
    address.addAddress(name, isIP(name) === 6 ? 'ipv6' : 'ipv4')
    return host =>
      isPort(host) &&
      isIP(host.hostname) !== 0 &&
      address.check(host.hostname, isIP(host.hostname) === 6 ? 'ipv6' : 'ipv4')
  }
  const below = `.${name.replace(/^\*?\./, '')}`
  const isBelowOnly = /^\*?\./.test(name)
  return host => isPort(host) && (host.hostname.endsWith(below) || (!isBelowOnly && host.hostname === name))
}

/** `10.0.0.0/8`, or undefined if it is no block. */
function parseBlock(pattern: string): BlockList | undefined {
  const [, address = '', bits = ''] = /^([\da-f.:]+)\/(\d{1,3})$/.exec(pattern) ?? []
  const family = isIP(address)
  if (family === 0 || Number(bits) > (family === 6 ? 128 : 32)) return undefined
  const block = new BlockList()
  block.addSubnet(address, Number(bits), family === 6 ? 'ipv6' : 'ipv4')
  return block
}

function splitPort(pattern: string): { name: string; port: string | undefined } {
  const [, bracketed, port] = /^\[([^\]]+)\](?::(\d+))?$/.exec(pattern) ?? []
  if (bracketed !== undefined) return { name: bracketed, port }
  if (isIP(pattern) !== 0) return { name: pattern, port: undefined }
  const [, name = pattern, number] = /^(.*):(\d+)$/.exec(pattern) ?? []
  return { name, port: number }
}
