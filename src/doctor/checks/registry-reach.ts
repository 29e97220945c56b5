import type { ErrorCode } from '../../errors.ts'
import type { FindingCode } from '../catalogue.ts'
import { makeFinding } from '../finding.ts'
import type { RegistryVisit } from '../registry-visit.ts'
import type { CheckOf } from './check.ts'
import { afterName } from './registry-name.ts'
import { describeVisit, evidenceOf, formatMs } from './registry-words.ts'

const codes: Readonly<Partial<Record<ErrorCode, FindingCode>>> = {
  TLS: 'REGISTRY_TLS',
  STALLED: 'REGISTRY_SILENT',
  USAGE: 'PROXY_INVALID',
  DENIED: 'PROXY_REFUSES',
  PROTOCOL: 'REGISTRY_STRANGE',
}

/** Why the engine may trust whom we do not. */
function describeUnread({ strangeness, engine }: RegistryVisit): string | undefined {
  if (strangeness !== undefined) return 'it has mounts of its own: whose certificates it trusts was not looked at'
  return engine?.kind === 'containerd' || engine?.kind === 'buildkitd'
    ? 'what its own configuration says of this registry (hosts.toml) was not read: it may not ask for a certificate'
    : undefined
}

/** What leaves nothing to be tried of a registry. */
const unreachable: readonly FindingCode[] = [
  'NETWORK_UNSEEN',
  'NAME_UNKNOWN',
  'NAME_SERVERS_SILENT',
  'REGISTRY_UNREACHABLE',
  ...Object.values(codes),
]

/** For what asks it more. */
export const afterReach = [{ check: 'registry-reach', unless: unreachable }] as const

/** Whether the registry answers at all, by the engine's proxy, authorities and exceptions. */
export const registryReach: CheckOf<'registry'> = {
  name: 'registry-reach',
  of: 'registry',
  after: afterName,
  boundMs: 20_000,
  async look(visit) {
    const subject = describeVisit(visit)
    const outcome = await visit.reach()
    if (outcome.error !== undefined) {
      const code = codes[outcome.error.code] ?? 'REGISTRY_UNREACHABLE'
      const evidence = evidenceOf(outcome.error, visit)
      const unread = code === 'REGISTRY_TLS' ? describeUnread(visit) : undefined
      if (unread === undefined) return [makeFinding(code, subject, { evidence })]
      return [makeFinding(code, subject, { evidence: [unread, ...evidence], severity: 'note' })]
    }
    const { origin, status, tookMs, isRegistry } = outcome.value
    const way = visit.proxy === undefined ? '' : ` through the proxy ${visit.proxy}`
    const evidence = [`${origin} answered with status ${status} in ${formatMs(tookMs)}${way}`]
    if (!isRegistry) return [makeFinding('REGISTRY_STRANGE', subject, { evidence })]
    const facts = { origin, status, tookMs: Math.round(tookMs) }
    return [makeFinding('REGISTRY_ANSWERS', subject, { evidence, facts })]
  },
}
