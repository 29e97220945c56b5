import type { HostView } from '../../sys/host-view.ts'
import { type ProcessTable, readDescriptors } from '../../sys/process-files.ts'
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
    await host.pause(watchMs, signal)
    // A record may end before.
    const ms = host.elapsed() - start
    if (ms < watchMs / 2) return []
    const second = findWaits(context)
    const still = second.filter(({ waiter, inode }) =>
      first.some(wait => wait.waiter === waiter && wait.inode === inode),
    )
    return still.map(wait => tell(context, wait, ms))
  },
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

function tell({ host, engines, table }: CheckContext, { waiter, holder, inode }: LockWait, ms: number): Finding {
  const engine = engines.find(({ process }) => process.pid === waiter)
  const subject = engine === undefined ? String(waiter) : describeEngine(engine)
  const path = findPath(host, waiter, inode)
  const owner = holder > 0 ? holder : findOwner(host, table, waiter, inode)
  const state = owner === undefined ? undefined : table.get(owner)?.state
  const who =
    owner === undefined
      ? 'a process that cannot be seen'
      : `${describeProcess(host, owner)}${state === undefined ? '' : ` (state ${state})`}`
  const evidence = [
    `it waits for the lock on ${path ?? `inode ${inode}`}, which ${who} has, for more than ${Math.floor(ms / 1000)} s`,
  ]
  const isStuck = state !== undefined && /[TtDZ]/.test(state)
  const facts = { waiter, holder: owner ?? -1, inode, path: path ?? '' }
  return makeFinding('LOCK_WAIT', subject, { evidence, facts, severity: isStuck ? 'problem' : 'warning' })
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
