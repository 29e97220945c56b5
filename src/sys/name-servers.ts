/** One question to one name server. */
import { Resolver } from 'node:dns/promises'

/** `silent` where nobody answered in time, `unknown` where the server says that there is no such name, `failed` for any other answer. */
export interface Lookup {
  readonly outcome: 'found' | 'unknown' | 'silent' | 'failed'
  readonly addresses: readonly string[]
  /** The code of the failure, as c-ares names it. */
  readonly code?: string
  readonly tookMs: number
}

/** As long as the C library and Go wait for a server before they ask the next one. */
const answerMs = 5000

/** Asks for IPv4 and IPv6 addresses at once, as engines do. Never throws. @param server address, with `:port` if it is not 53 */
export async function lookUp(name: string, server: string, signal: AbortSignal): Promise<Lookup> {
  const start = performance.now()
  const resolver = new Resolver({ timeout: answerMs, tries: 1 })
  const stop = () => resolver.cancel()
  signal.addEventListener('abort', stop, { once: true })
  try {
    resolver.setServers([server])
    const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
    const addresses = answers.flatMap(answer => (answer.status === 'fulfilled' ? answer.value : []))
    const codes = answers.flatMap(answer => (answer.status === 'rejected' ? [codeOf(answer.reason)] : []))
    const tookMs = performance.now() - start
    if (addresses.length > 0) return { outcome: 'found', addresses, tookMs }
    const code = codes.find(code => code !== 'ENODATA') ?? codes[0] ?? 'ENODATA'
    return { outcome: outcomeOf(code), addresses, code, tookMs }
  } catch (error) {
    return { outcome: 'failed', addresses: [], code: codeOf(error), tookMs: performance.now() - start }
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function outcomeOf(code: string): Lookup['outcome'] {
  if (code === 'ENOTFOUND' || code === 'ENODATA') return 'unknown'
  return code === 'ETIMEOUT' || code === 'ECONNREFUSED' || code === 'ECANCELLED' ? 'silent' : 'failed'
}

function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : 'unknown'
}
