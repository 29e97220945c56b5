import { WindlassError } from '../../errors.ts'
import { hostAndPort, matchHosts } from './host-list.ts'
import { isLoopback } from './http.ts'

/** The proxy through which an address is reached; undefined for none. */
export type ProxyChoice = (url: URL) => URL | undefined

/**
 * Reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the same in lower case, as Go's programs do, docker among them. This machine's own loopback is
 * never reached through a proxy.
 * @throws WindlassError USAGE if a proxy is no http or https address
 */
export function parseProxies(env: Readonly<Record<string, string | undefined>>): ProxyChoice {
  const read = (name: string): string => env[name] || env[name.toLowerCase()] || ''
  const plain = parseProxy('HTTP_PROXY', read('HTTP_PROXY'))
  const secure = parseProxy('HTTPS_PROXY', read('HTTPS_PROXY'))
  const isExempt = matchHosts(read('NO_PROXY').split(','))
  return url => {
    if (isLoopback(url.hostname) || isExempt(hostAndPort(url))) return undefined
    return url.protocol === 'https:' ? secure : plain
  }
}

function parseProxy(name: string, text: string): URL | undefined {
  if (text === '') return undefined
  const url = URL.parse(/^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `http://${text}`)
  if (url !== null && url.hostname !== '' && /^https?:$/.test(url.protocol)) return url
  // Not shown: a password may be in it.
  const message = `Cannot use the proxy of ${name}: it is no http or https address; wanted http://host:port`
  throw new WindlassError('USAGE', message, { hint: `correct or unset ${name}` })
}
