/** What is written down of rescues does not grow without an end: it is kept for those who want to know what was done, and as long as a rescue could go on with it. */
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { HostView } from '../../sys/host-view.ts'
import { readProcess } from '../../sys/tasks.ts'
import { type JournalRecord, readJournals } from '../cures/journal.ts'
import { type Identity, readNamespace } from './claim.ts'
import { readBoot } from './unfinished.ts'

/** More are not kept, the newest first. */
const keptMax = 200
const keptMs = 30 * 24 * 60 * 60_000

/** Nothing that can be taken back: a rescue, and what it has left behind. */
const ofRescue = /^((?:rescue|orphan)-\d+(?:-\d+)?)\.\w+$/

/** Never throws: nothing depends on it. */
export function pruneRescues(host: HostView, directory: string): void {
  try {
    const records = new Map(readJournals(directory).map(record => [record.id, record]))
    const names = readdirSync(directory)
    const ids = new Set(names.flatMap(name => ofRescue.exec(name)?.[1] ?? []))
    const kept = new Set([...records.keys()].filter(id => ids.has(id)).slice(-keptMax))
    for (const id of ids) {
      const record = records.get(id)
      if (record !== undefined && (isNeeded(host, record) || (kept.has(id) && !isOld(host, record)))) continue
      removeAll(
        host,
        directory,
        names.filter(name => ofRescue.exec(name)?.[1] === id),
        record === undefined,
      )
    }
  } catch {} // it is not there yet, or not ours
}

/** A process of it is still there, or may be where it is not seen: the next rescue goes on where this one says. */
function isNeeded(host: HostView, { steps: [begin] }: JournalRecord): boolean {
  if (begin?.['boot'] !== readBoot(host)) return false
  const namespace = begin['pidNamespace'] ?? readNamespace()
  if (namespace !== readNamespace()) return true
  const all = [begin['process'], ...((begin['others'] ?? []) as readonly unknown[])] as readonly Partial<Identity>[]
  return all.some(one => one?.pid !== undefined && readProcess(one.pid, host)?.startTicks === one.startTicks)
}

function isOld(host: HostView, { steps: [begin] }: JournalRecord): boolean {
  return host.now() - Date.parse(String(begin?.['time'])) > keptMs
}

/** @param ifOld of which nothing was written down: it may be just about to be */
function removeAll(host: HostView, directory: string, names: readonly string[], ifOld: boolean): void {
  const paths = names.map(name => join(directory, name))
  if (ifOld && paths.some(path => host.now() - statSync(path).mtimeMs <= keptMs)) return
  for (const path of paths) rmSync(path, { force: true })
}
