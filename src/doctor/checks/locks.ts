import type { HostView } from '../../sys/host-view.ts'
import { type ProcessTable, readDescriptors } from '../../sys/process-files.ts'
import { readTask } from '../../sys/tasks.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { describeProcess } from '../secrets.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'

/** Engines hold such locks for milliseconds; whoever still waits for the same one then is held up. */
const watchMs = 2000

/** One line of proc_locks(5) for somebody who waits, with the line of who holds it. */
interface LockWait {
  readonly waiter: number
  /** -1 for a lock of an open file description, which no process owns. */
  readonly holder: number
  readonly inode: number
}

/** Which engines wait for a lock on a file, and who has it: podman's storage lock, containerd's database, docker's. */
export const locks: CheckOf<'host'> = {
  name: 'locks',
  of: 'host',
  async look(_, context) {
    const { host, signal } = context
    const first = findWaits(context)
    if (first.length === 0) return []
    const start = host.elapsed()
    const before = new Map(first.map(wait => [keyOf(wait), readHolder(context, wait)]))
    await host.pause(watchMs, signal)
    // A record may end before.
    const ms = host.elapsed() - start
    if (ms < watchMs / 2) return []
    const still = findWaits(context).filter(wait => before.has(keyOf(wait)))
    return still.map(wait => tell(context, wait, { ms, before: before.get(keyOf(wait)) }))
  },
}

function keyOf({ waiter, inode }: LockWait): string {
  return `${waiter} ${inode}`
}

/** Who has a lock, and in which state its main thread is: it has not run as long as both are the same. */
interface Holder {
  readonly pid: number
  readonly state: string | undefined
  readonly switches: number | undefined
}

function readHolder({ host, table }: CheckContext, { waiter, holder, inode }: LockWait): Holder | undefined {
  const pid = holder > 0 ? holder : findOwner(host, table, waiter, inode)
  if (pid === undefined) return undefined
  const task = readTask(pid, pid, host)
  return { pid, state: task?.state, switches: task?.switches }
}

function findWaits({ host, engines }: CheckContext): LockWait[] {
  const ours = new Set(engines.map(({ process }) => process.pid))
  return parseLocks(host.text('/proc/locks') ?? '').filter(({ waiter }) => ours.has(waiter))
}

/** `1: POSIX  ADVISORY  WRITE 12 fe:00:34 0 EOF`, then for each who waits `1: -> POSIX  ADVISORY  WRITE 13 fe:00:34 0 EOF`. */
export function parseLocks(text: string): LockWait[] {
  let holder = -1
  return text.split('\n').flatMap(line => {
    const [, arrow, pid = '', inode = ''] =
      /^\d+: (-> )?\S+ +\S+ +\S+ +(-?\d+) [0-9a-f]+:[0-9a-f]+:(\d+) /.exec(line) ?? []
    if (inode === '') return []
    if (arrow !== undefined) return [{ waiter: Number(pid), holder, inode: Number(inode) }]
    holder = Number(pid)
    return []
  })
}

interface Seen {
  readonly ms: number
  /** Who had it when it was first looked at. */
  readonly before: Holder | undefined
}

function tell(context: CheckContext, wait: LockWait, { ms, before }: Seen): Finding {
  const { host, engines } = context
  const { waiter, inode } = wait
  const engine = engines.find(({ process }) => process.pid === waiter)
  const subject = engine === undefined ? String(waiter) : describeEngine(engine)
  const path = findPath(host, waiter, inode)
  const owner = readHolder(context, wait)
  const who =
    owner === undefined
      ? 'a process that cannot be seen'
      : `${describeProcess(host, owner.pid)}${owner.state === undefined ? '' : ` (state ${owner.state})`}`
  const evidence = [
    `it waits for the lock on ${path ?? `inode ${inode}`}, which ${who} has, for more than ${Math.floor(ms / 1000)} s`,
  ]
  const facts = { waiter, holder: owner?.pid ?? -1, inode, path: path ?? '' }
  return makeFinding('LOCK_WAIT', subject, {
    evidence,
    facts,
    severity: isStuck(before, owner) ? 'problem' : 'warning',
  })
}

/** Whoever is at work waits for a disk at many a look, and runs between them. */
function isStuck(before: Holder | undefined, now: Holder | undefined): boolean {
  if (before === undefined || now?.state === undefined || !/[TtDZ]/.test(now.state)) return false
  return now.pid === before.pid && now.state === before.state && now.switches === before.switches
}

/** The file that a process has open with that inode. */
function findPath(host: HostView, pid: number, inode: number): string | undefined {
  return readDescriptors(host, pid)
    .filter(({ target }) => target.startsWith('/'))
    .find(({ fd }) => new RegExp(`^ino:\\s+${inode}$`, 'm').test(host.text(`/proc/${pid}/fdinfo/${fd}`) ?? ''))?.target
}

/** Whose descriptor shows the lock, for locks that belong to no process. */
function findOwner(host: HostView, table: ProcessTable, waiter: number, inode: number): number | undefined {
  const shows = (pid: number, fd: string) => {
    const text = host.text(`/proc/${pid}/fdinfo/${fd}`) ?? ''
    return new RegExp(`^lock:\\s.*:${inode} `, 'm').test(text)
  }
  return [...table.keys()].find(pid => pid !== waiter && host.names(`/proc/${pid}/fd`).some(fd => shows(pid, fd)))
}
