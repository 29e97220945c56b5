import type { HostView } from '../../sys/host-view.ts'
import { readDescriptors } from '../../sys/process-files.ts'
import { findDownloads } from '../downloads.ts'
import { makeFinding } from '../finding.ts'
import { findWriters } from '../writers.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** A writer that waits for a registry is told as a silent download long before. */
const abandonedMs = 60_000

/** Parts of layers that containerd keeps open for a writer who writes nothing, while neither it nor a client has a connection through which anything could come: nobody else may begin that layer. */
export const ingestLocks: CheckOf<'engine'> = {
  name: 'ingest-locks',
  of: 'engine',
  async look(engine, { host, table }) {
    // A record does not have all connections.
    if (engine.kind !== 'containerd' || !engine.isOpen || host.network === undefined) return []
    const held = (await findDownloads(host, engine)).filter(
      ({ idleMs, isSent, isReread }) => idleMs >= abandonedMs && !isSent && !isReread,
    )
    if (held.length === 0) return []
    const { pids, isWhole } = await findWriters(host, engine, table)
    if ([engine.process.pid, ...pids].some(pid => hasConnection(host, pid))) return []
    const evidence = held
      .slice(0, 3)
      .map(
        ({ path, reference, idleMs, bytes }) =>
          `${reference ?? path} is open with ${bytes.toLocaleString('en-US')} bytes, nothing was written for ${Math.floor(idleMs / 1000)} s, and neither it nor a client has a connection to any registry`,
      )
    const facts = { count: held.length }
    const subject = describeEngine(engine)
    if (isWhole) return [makeFinding('INGEST_LOCKED', subject, { evidence, confidence: 'likely', facts })]
    const unseen =
      'who else is connected to it cannot be seen, and one of those may be the writer (ss tells it, to root)'
    return [
      makeFinding('INGEST_LOCKED', subject, {
        evidence: [...evidence, unseen],
        confidence: 'unknown',
        severity: 'note',
        facts,
      }),
    ]
  },
}

const established = '01'

function hasConnection(host: HostView, pid: number): boolean {
  const inodes = new Set(readDescriptors(host, pid).map(({ target }) => /^socket:\[(\d+)\]$/.exec(target)?.[1]))
  const lines = ['tcp', 'tcp6'].flatMap(name => (host.text(`/proc/${pid}/net/${name}`) ?? '').split('\n').slice(1))
  return lines.some(line => {
    const fields = line.trim().split(/\s+/)
    return fields[3] === established && inodes.has(fields[9])
  })
}
