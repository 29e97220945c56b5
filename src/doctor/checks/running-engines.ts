import { proxiesOf } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { describeStranger } from '../own-programs.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'

/** Which engines run, as they really run. */
export const runningEngines: CheckOf<'host'> = {
  name: 'running-engines',
  of: 'host',
  look: (_, context) => lookAtAll(context),
}

function lookAtAll({ host, engines }: CheckContext): Finding[] {
  if (engines.length === 0) return [makeFinding('NO_ENGINE', '')]
  return engines.flatMap(engine => {
    const { kind, version, stranger, dataRoot, sockets, environment, program, process } = engine
    const subject = describeEngine(engine)
    if (!engine.isOpen) {
      const path = `/proc/${process.pid}/${environment === undefined ? 'environ' : 'fd'}`
      const evidence = [host.denied.has(path) ? `${path}: permission denied` : `${path} cannot be read`]
      return [makeFinding('ENGINE_HIDDEN', subject, { evidence })]
    }
    const unknown = stranger === undefined ? 'unknown' : `unknown (${describeStranger(stranger)})`
    const evidence = [
      `version ${version ?? unknown}, data in ${dataRoot ?? 'an unknown place'}`,
      ...(sockets.length === 0 ? [] : [`listens on ${sockets.join(', ')}`]),
      ...proxiesOf(engine).map(([name, value]) => `${name}=${value}`),
    ]
    const facts = { kind, pid: process.pid, version: version ?? '', dataRoot: dataRoot ?? '' }
    const findings = [makeFinding('ENGINE_RUNS', subject, { evidence, facts })]
    if (program?.endsWith(' (deleted)')) findings.push(makeFinding('ENGINE_REPLACED', subject, { evidence: [program] }))
    // Who listens nowhere that we see was asked nothing, and neither was who ended a record before its time, or had no curl.
    const wasAsked = sockets.some(socket => host.wasAsked(engine.rootPrefix + socket, '/version'))
    if (kind === 'dockerd' && version === undefined && wasAsked) findings.push(makeFinding('ENGINE_SILENT', subject))
    return findings
  })
}
