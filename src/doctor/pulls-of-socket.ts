import { realpathSync } from 'node:fs'
import type { HostView } from '../sys/host-view.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { type FoundEngine, isGone, listEngines } from './engines.ts'
import type { Finding } from './finding.ts'
import { examinePulls } from './pulls.ts'

/** What holds up the pulls of the engine that listens on a socket of this host. Takes 1.5 s, and up to 7 s if something stands still. */
export async function examinePullsOf(host: HostView, socket: string, signal: AbortSignal): Promise<readonly Finding[]> {
  const all = listEngines(host, readProcessTable(host)).filter(engine => !isGone(host, engine))
  const engines = all.filter(engine => listensOn(engine, socket))
  if (engines.length === 0) return []
  const { findings } = await examinePulls(host, withContainerd(engines, all), { signal })
  return findings.filter(({ severity }) => severity === 'problem')
}

/** The engine that listens on a socket of this host; undefined if none is seen from here. */
export function findProcessOf(host: HostView, socket: string): number | undefined {
  const found = listEngines(host, readProcessTable(host)).find(engine => listensOn(engine, socket))
  return found?.process.pid
}

/** @param socket a path as we reach it */
export function listensOn({ sockets, rootPrefix }: FoundEngine, socket: string): boolean {
  const path = realOf(socket)
  return sockets.some(own => realOf(`${rootPrefix}${own}`) === path)
}

/** A dockerd of today lets the containerd that it has started unpack. */
export function withContainerd<Found extends FoundEngine>(engines: readonly Found[], all: readonly Found[]): Found[] {
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
