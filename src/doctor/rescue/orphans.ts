/**
 * What a rescue that was broken off has left stopped when its engine is gone: nobody waits for it any more, and nobody else would ever look at it. In whose place something was written, it is ended; of any other it is as
 * if the rescue had never been: it goes on.
 */
import { readdirSync } from 'node:fs'
import { HeldProcess } from '../../sys/held-process.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readProcess } from '../../sys/tasks.ts'
import { Journal, type JournalRecord, readJournals } from '../cures/journal.ts'
import { Claim, type Identity, parseClaim, readClaimed } from './claim.ts'
import { letGoOfLeft } from './let-go.ts'
import { findUnfinished, recordsOf } from './unfinished.ts'

interface Places {
  /** Where claims are. */
  readonly claims: string
  /** Where our own journals are. */
  readonly journals: string
}

export interface Orphan extends Identity {
  readonly result: 'ended' | 'let go'
}

/** @returns the processes that were ended, with what they had started, or let go */
export async function endOrphans(host: HostView, { claims, journals }: Places): Promise<Orphan[]> {
  const orphans: Orphan[] = []
  for (const one of namesIn(claims).flatMap(name => parseClaim(name) ?? [])) {
    const records = recordsFor(host, one, { claims, journals })
    if (!isOrphan(host, one, records)) continue
    const result = wasWritten(records) ? 'ended' : 'let go'
    const settle = result === 'ended' ? end : letGo
    if (await settle(host, one, records, { claims, journals })) orphans.push({ ...one, result })
  }
  return orphans
}

/** None where they cannot be read: one bad place must not keep all others from being looked at. */
function recordsFor(host: HostView, one: Identity, { claims, journals }: Places): readonly JournalRecord[] {
  try {
    return recordsOf(host, one, readClaimed(claims, one, journals).flatMap(readJournals))
  } catch {
    return []
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return [] // nobody has claimed anything yet
  }
}

/** It stands, as a rescue has left it, and every engine that it was to be rescued for has ended. */
function isOrphan(host: HostView, one: Identity, records: readonly JournalRecord[]): boolean {
  if (!isThere(host, one) || readProcess(one.pid, host)?.state !== 'T') return false
  const engines = records.flatMap(({ steps: [begin] }) => (begin?.['engine'] as Identity | undefined) ?? [])
  return engines.length > 0 && !engines.some(engine => isThere(host, engine))
}

/** Or may have been. */
function wasWritten(records: readonly JournalRecord[]): boolean {
  const has = ({ steps }: JournalRecord, name: string) => steps.some(({ step }) => step === name)
  return records.some(record => has(record, 'written') || (has(record, 'write') && !has(record, 'let-go')))
}

/** @returns false, too, if it was not a rescue that had stopped it */
function letGo(
  host: HostView,
  one: Identity,
  records: readonly JournalRecord[],
  { claims, journals }: Places,
): boolean {
  try {
    const unfinished = findUnfinished(host, one, records)
    if (unfinished?.leftStopped.has(one.pid) !== true) return false
    using claim = Claim.take(claims, one, journals)
    letGoOfLeft(host, { unfinished, waited: one, journalDirectory: journals })
    claim.forget()
    return true
  } catch {
    return false // somebody else is at work on it: the next look comes
  }
}

function isThere(host: HostView, { pid, startTicks }: Identity): boolean {
  return readProcess(pid, host)?.startTicks === startTicks
}

async function end(
  host: HostView,
  one: Identity,
  records: readonly JournalRecord[],
  { claims, journals }: Places,
): Promise<boolean> {
  const others = records.flatMap(({ steps: [begin] }) => (begin?.['others'] ?? []) as readonly Identity[])
  try {
    using claim = Claim.take(claims, one, journals)
    using journal = new Journal(journals, 'orphan')
    journal.write('begin', { kind: 'orphan', processes: [one, ...others] })
    for (const { pid, startTicks } of [...others, one]) await kill(pid, startTicks)
    if (isThere(host, one)) return false // it could not be held: the next look comes
    journal.note('killed')
    claim.forget()
    return true
  } catch {
    return false // somebody else is at work on it, or there is no room: the next look comes
  }
}

/** What cannot be held has ended by itself, or is another process by now. */
async function kill(pid: number, startTicks: number): Promise<void> {
  try {
    using held = await HeldProcess.hold(pid, startTicks)
    await held.kill()
  } catch {}
}
