/** What a rescue that died has left stopped goes on, where the next one comes to nothing. */
import type { HostView } from '../../sys/host-view.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import { Journal } from '../cures/journal.ts'
import { readNamespace } from './claim.ts'
import { readBoot, type Unfinished } from './unfinished.ts'

export interface LeftStopped {
  readonly unfinished: Unfinished | undefined
  /** The process that was to be rescued. */
  readonly waited: Pick<ProcessFacts, 'pid' | 'startTicks'>
  /** Where it is written down: whoever stops them from now on is somebody else. */
  readonly journalDirectory: string
}

/** Where bytes were written in its place it stays stopped: what it would write itself they would have twice. */
export function letGoOfLeft(host: HostView, { unfinished, waited, journalDirectory }: LeftStopped): void {
  if (unfinished === undefined || unfinished.position !== undefined) return
  const stands = ([pid, startTicks]: readonly [number, number]) => {
    const now = readProcess(pid, host)
    return now?.state === 'T' && now.startTicks === startTicks
  }
  const standing = [...unfinished.leftStopped].filter(stands)
  if (standing.length === 0) return
  for (const [pid] of standing) goOn(pid)
  noteLetGo(host, waited, journalDirectory)
}

function goOn(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT')
  } catch {} // it has ended, or is not ours
}

function noteLetGo(host: HostView, { pid, startTicks }: LeftStopped['waited'], directory: string): void {
  try {
    using journal = new Journal(directory, 'rescue')
    const places = { boot: readBoot(host), pidNamespace: readNamespace() }
    journal.write('begin', { kind: 'rescue', ...places, process: { pid, startTicks }, wereStopped: [] })
    journal.write('let-go', { because: 'an earlier rescue had left it stopped, and this one was refused' })
  } catch {} // a full disk holds up nobody who stands still for us
}
