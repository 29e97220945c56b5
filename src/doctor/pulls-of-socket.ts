import { realpathSync } from 'node:fs'
import type { HostView } from '../sys/host-view.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { type Engine, findEngines } from './engines.ts'
import type { Finding } from './finding.ts'
import { examinePulls } from './pulls.ts'

/** What holds up the pulls of the engine that listens on a socket of this host. Takes 1.5 s, and up to 7 s if something stands still. */
export async function examinePullsOf(host: HostView, socket: string, signal: AbortSignal): Promise<readonly Finding[]> {
  const path = realOf(socket)
  const all = await findEngines(host, readProcessTable(host))
  const engines = all.filter(engine => engine.sockets.some(own => realOf(`${engine.rootPrefix}${own}`) === path))
  if (engines.length === 0) return []
  const { findings } = await examinePulls(host, withContainerd(engines, all), { signal })
  return findings.filter(({ severity }) => severity === 'problem')
}

/** A dockerd of today lets the containerd that it has started unpack. */
function withContainerd(engines: readonly Engine[], all: readonly Engine[]): Engine[] {
  const pids = new Set(engines.map(({ process }) => process.pid))
  return [...engines, ...all.filter(({ process }) => pids.has(process.parent) && !pids.has(process.pid))]
}

function realOf(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}
