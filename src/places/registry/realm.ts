import { isLoopback } from './http.ts'

/**
 * What a token service may be given: `credentials`, only the request itself (`anonymous`), or nothing at all (`refused`).
 *
 * A registry names its token service in a header, so a stranger's text decides where a password would go (CVE-2026-48978). The
 * rule, in this order:
 * 1. From an https registry only an https realm is asked at all; from another host nothing on this machine's loopback.
 * 2. Credentials go to the registry's own host name, on any port: GitLab's registry and its token service differ in port.
 *    Over plain http that holds only for a registry that is itself on plain http, and so was allowed to be.
 * 3. Between two names on loopback they pass freely: both are this machine.
 * 4. Credentials go over https to another host of the same owner: same registrable domain (registry-1.docker.io and
 *    auth.docker.io), unless unrelated people own names below it.
 * 5. Credentials go over https to the hosts that the user trusts by name.
 * Everybody else gets an anonymous request.
 */
export function judgeRealm(
  registry: URL,
  realm: URL,
  trustedRealms: readonly string[],
): 'credentials' | 'anonymous' | 'refused' {
  const secure = realm.protocol === 'https:'
  if (!secure && (realm.protocol !== 'http:' || registry.protocol === 'https:')) return 'refused'
  if (isLoopback(realm.hostname)) return isLoopback(registry.hostname) ? 'credentials' : 'refused'
  if (realm.hostname === registry.hostname) return 'credentials'
  if (!secure) return 'anonymous'
  if (trustedRealms.includes(realm.host)) return 'credentials'
  const domain = registrableDomain(registry.hostname)
  return domain !== undefined && domain === registrableDomain(realm.hostname) ? 'credentials' : 'anonymous'
}

/** Domains that give each customer a name of its own, so that two names below them may have two owners. */
const sharedDomains: ReadonlySet<string> = new Set(
  (
    'amazonaws.com amazonaws.com.cn appspot.com azurecr.cn azurecr.io azurecr.us azurewebsites.net cloudapp.azure.com ' +
    'cloudfront.net duckdns.org fly.dev github.io githubusercontent.com gitlab.io herokuapp.com jfrog.io netlify.app ' +
    'ngrok.app ngrok.io ngrok-free.app nip.io onrender.com pages.dev pkg.dev r2.dev run.app sslip.io trycloudflare.com ' +
    'ts.net vercel.app web.app windows.net workers.dev'
  ).split(' '),
)

const countryLabels: ReadonlySet<string> = new Set(
  'ac co com edu go gob gouv gov govt mil ne net nom or org sch'.split(' '),
)

/**
 * The part of a host name that one owner registered, or undefined where that cannot be told: addresses, single labels, shared
 * domains. Without the public suffix list: the usual second labels below a country's domain (co.uk, com.cn) count as part of the
 * suffix.
 */
function registrableDomain(hostname: string): string | undefined {
  const labels = hostname.replace(/\.$/, '').split('.')
  const top = labels.at(-1) ?? ''
  if (labels.length < 2 || hostname.includes(':') || /^\d+$/.test(top)) return undefined
  for (let from = 0; from < labels.length; from += 1) {
    if (sharedDomains.has(labels.slice(from).join('.'))) return undefined
  }
  const second = labels.at(-2) ?? ''
  const suffixLength = top.length === 2 && countryLabels.has(second) ? 2 : 1
  return labels.length > suffixLength ? labels.slice(-suffixLength - 1).join('.') : undefined
}
