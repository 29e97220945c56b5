/** Processes that are kept from us as a whole: where nothing is seen nothing may be called well. */
import type { HostView } from '../sys/host-view.ts'
import type { ProcessTable } from '../sys/process-files.ts'
import type { FoundEngine } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'

/** The kernel's own number of the first namespace of process IDs (include/linux/proc_ns.h, PROC_PID_INIT_INO). */
const firstNamespace = 'pid:[4026531836]'

/** What is said of a host on which nothing of the kind is to be seen. */
const assurances: readonly string[] = ['NO_ENGINE', 'NO_PULL', 'SECURITY_CLEAR']

/** @param engines those that were found: who sees some in a container has come for these */
export function findHiddenProcesses(
  host: HostView,
  table: ProcessTable,
  engines: readonly FoundEngine[],
): Finding | undefined {
  const namespace = host.link('/proc/self/ns/pid')
  const evidence =
    table.size === 0
      ? '/proc shows no process at all, not even this one'
      : !table.has(1)
        ? '/proc does not show process 1, which always runs: it is mounted with hidepid, or root alone may look there'
        : namespace !== undefined && namespace !== firstNamespace && engines.length === 0
          ? `process IDs are those of a namespace of its own (${namespace}), as in a container: what runs outside is not in it`
          : undefined
  return evidence === undefined ? undefined : makeFinding('PROCESSES_HIDDEN', '', { evidence: [evidence] })
}

export function withoutAssurance(findings: readonly Finding[], hidden: Finding | undefined): readonly Finding[] {
  return hidden === undefined ? findings : [hidden, ...findings.filter(({ code }) => !assurances.includes(code))]
}
