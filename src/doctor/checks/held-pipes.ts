import type { HostView } from '../../sys/host-view.ts'
import { type Descriptor, descendantsOf, readDescriptors } from '../../sys/process-files.ts'
import type { Engine } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { describeProcess } from '../secrets.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'

/** What ends within that time holds up nobody. */
const watchMs = 2000
/** What stays beside containers and holds pipes of the engine by right. */
const strangers = /^(containerd-shim|conmon|runc|crun|docker-init|docker-proxy)/
/** In fdinfo: O_WRONLY or O_RDWR, and O_CLOEXEC, which a descriptor that was inherited cannot have. */
const [accessMode, writeModes, closeOnExec] = [0o3, 0o3, 0o2000000]

/**
 * Pipes of which the engine waits for the end, held open by a process that is no child of it any more: what a decompressor left behind. dockerd and
 * containerd believe in the end of a program only when nobody holds its output and its stderr.
 */
export const heldPipes: CheckOf<'engine'> = {
  name: 'held-pipes',
  of: 'engine',
  async look(engine, context) {
    if (!engine.isOpen) return []
    const first = findHeld(engine, context)
    if (first.length === 0) return []
    await context.host.pause(watchMs, context.signal)
    const still = findHeld(engine, context).filter(({ pid, pipe }) =>
      first.some(one => one.pid === pid && one.pipe === pipe),
    )
    return still.map(holder => tell(context.host, describeEngine(engine), holder))
  },
}

interface Holder {
  readonly pid: number
  readonly parent: number
  readonly pipe: string
}

function findHeld({ process: { pid } }: Engine, context: CheckContext): Holder[] {
  const { host, table } = context
  const awaited = findAwaited(host, pid)
  if (awaited.size === 0) return []
  const own = [pid, ...descendantsOf(table, pid).map(child => child.pid)]
  for (const member of own) for (const pipe of writtenBy(host, member)) awaited.delete(pipe)
  return awaited.size === 0 ? [] : findHolders(context, new Set(own), awaited)
}

/** Pipes that it made itself, and reads. */
function findAwaited(host: HostView, pid: number): Set<string> {
  const made = pipesOf(host, pid).filter(({ fd }) => {
    const flags = flagsOf(host, pid, fd)
    return (flags & accessMode) === 0 && (flags & closeOnExec) !== 0
  })
  return new Set(made.map(({ target }) => target))
}

function writtenBy(host: HostView, pid: number): string[] {
  return pipesOf(host, pid)
    .filter(({ fd }) => (flagsOf(host, pid, fd) & writeModes) !== 0)
    .map(({ target }) => target)
}

function findHolders({ host, table }: CheckContext, own: ReadonlySet<number>, awaited: ReadonlySet<string>): Holder[] {
  const others = [...table.values()].filter(({ pid, name }) => !own.has(pid) && !strangers.test(name))
  return others.flatMap(({ pid, parent }) => {
    const pipe = pipesOf(host, pid).find(
      ({ fd, target }) => awaited.has(target) && (flagsOf(host, pid, fd) & writeModes) !== 0,
    )
    return pipe === undefined ? [] : [{ pid, parent, pipe: pipe.target }]
  })
}

function tell(host: HostView, subject: string, { pid, parent, pipe }: Holder): Finding {
  const evidence = [
    `${describeProcess(host, pid)}, whose parent is ${parent}, can write to ${pipe}, of which ${subject} waits for the end`,
    'the engine made that pipe, and none of its children holds it any more',
  ]
  return makeFinding('PIPE_HELD', subject, { evidence, confidence: 'likely', facts: { pid, pipe } })
}

function pipesOf(host: HostView, pid: number): Descriptor[] {
  return readDescriptors(host, pid).filter(({ target }) => target.startsWith('pipe:['))
}

function flagsOf(host: HostView, pid: number, fd: number): number {
  const [, flags] = /^flags:\s+([0-7]+)/m.exec(host.text(`/proc/${pid}/fdinfo/${fd}`) ?? '') ?? []
  return Number.parseInt(flags ?? '0', 8)
}
