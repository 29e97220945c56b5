import type { HostView } from '../../sys/host-view.ts'
import { formatAge, secondsSince } from '../../sys/process-age.ts'
import type { ProcessFacts } from '../../sys/tasks.ts'
import { type Finding, makeFinding } from '../finding.ts'
import type { CheckContext, CheckOf } from './check.ts'

/** One that wakes a keychain takes a second or two. */
const patientSeconds = 10

/** Programs that clients ask for credentials and that do not answer: they wait for a keyring, a pinentry, a network. Seen by their processes alone; none is started. */
export const credentialHelpers: CheckOf<'host'> = {
  name: 'credential-helpers',
  of: 'host',
  look: (_, { host, table }: CheckContext) =>
    [...table.values()]
      // The kernel keeps fifteen letters of a name.
      .filter(({ name, state }) => name.startsWith('docker-credent') && state !== 'Z')
      .filter(({ startTicks }) => secondsSince(host, startTicks) >= patientSeconds)
      .map(helper => tell(host, helper, table.get(helper.parent))),
}

function tell(
  host: HostView,
  { pid, name, startTicks, parent }: ProcessFacts,
  client: ProcessFacts | undefined,
): Finding {
  const program = host.link(`/proc/${pid}/exe`) ?? name
  const evidence = [
    `${program} (process ${pid}) runs for ${formatAge(host, startTicks)}, and ${client?.name ?? 'process'} ${parent} waits for it`,
  ]
  return makeFinding('CREDENTIAL_HELPER_SILENT', `${name} ${pid}`, {
    evidence,
    confidence: 'likely',
    facts: { pid, client: parent },
  })
}
