import type { HostView } from '../../sys/host-view.ts'
import { formatAge } from '../../sys/process-age.ts'
import {
  ancestorsOf,
  descendantsOf,
  type ProcessTable,
  readArguments,
  readDescriptors,
  readProcessTable,
} from '../../sys/process-files.ts'
import type { ProcessFacts } from '../../sys/tasks.ts'
import { describeEngine, type Engine, isEngineName } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { describeProcess, hideInWords } from '../secrets.ts'
import type { CheckContext, CheckOf } from './check.ts'

/** What engines start for layers, by what it was called with. */
const decompressor = /(?:^|\/)(?:unpigz|igzip|pigz|xz)(?: -\S+)* -d(?: -c)?(?: -q)?$/
const untars = new Set(['docker-untar', 'docker-applyLayer', 'storage-untar', 'storage-applyLayer'])
/** Names under which such processes are seen: only those are asked for their command lines. */
const names = /^(unpigz|igzip|pigz|xz|exe|docker-untar|docker-applyLa|storage-untar|storage-applyL|dockerd|podman|sh)/

/** What is at its very beginning or end looks the same for a moment. */
const watchMs = 2000

/** Decompressors and untars that no pull holds on to: of a daemon that is gone, or of a pull that the engine forgot. */
export const leftOver: CheckOf<'host'> = {
  name: 'left-over',
  of: 'host',
  async look(_, context) {
    const first = findLeft(context)
    if (first.length === 0) return []
    await context.host.pause(watchMs, context.signal)
    const still = new Set(
      findLeft({ ...context, table: readProcessTable(context.host) }).map(({ facts }) => facts['pid']),
    )
    return first.filter(({ facts }) => still.has(facts['pid']))
  },
}

function findLeft(context: CheckContext): Finding[] {
  const { host, table, engines } = context
  const engineIds = new Set(engines.map(({ process }) => process.pid))
  const workers = [...table.values()].filter(
    entry => names.test(entry.name) && !engineIds.has(entry.pid) && isWorker(host, entry),
  )
  if (workers.length === 0) return []
  const isKept = (worker: ProcessFacts) => ancestorsOf(table, worker).some(({ name }) => isEngineName(name))
  const orphans = workers.filter(worker => !isKept(worker))
  const forgotten = findForgotten(context, workers.filter(isKept), workers)
  const fellows = new Set(orphans.map(({ pid }) => pid))
  return [...orphans.map(entry => tellOrphan(context, entry, fellows)), ...forgotten]
}

function isWorker(host: HostView, { pid, state }: ProcessFacts): boolean {
  const args = readArguments(host, pid)
  return state === 'Z' ? false : untars.has(args[0] ?? '') || decompressor.test(args.join(' '))
}

/** Started by an engine that is gone: somebody else has inherited it. A tool of a user has that user's shell above it. */
function tellOrphan(
  { host, table, engines }: CheckContext,
  { pid, parent, startTicks }: ProcessFacts,
  fellows: ReadonlySet<number>,
): Finding {
  const above = table.get(parent)
  const user = findUser(host, table, pid, fellows)
  const evidence = [
    `${hideInWords(readArguments(host, pid)).join(' ')} belongs to no engine that runs: its parent is ${above?.name ?? 'gone'} ${parent}`,
    ...(user === undefined ? [] : [`${describeProcess(host, user)} holds the other end of one of its pipes`]),
    `it was started ${formatAge(host, startTicks)} ago`,
  ]
  // A shell or a script may run the same program for its own ends, and may end before it.
  const isLeft = (parent === 1 || above === undefined) && user === undefined
  return makeFinding('DECOMPRESSOR_LEFT_OVER', `${nameOf(host, pid)} ${pid}`, {
    evidence,
    severity: isLeft && engines.length > 0 ? 'warning' : 'note',
    confidence: isLeft ? 'certain' : 'likely',
    facts: { pid, parent },
  })
}

/** Somebody who feeds it, or takes what it gives: where an engine that is gone had started it, nobody does. */
function findUser(host: HostView, table: ProcessTable, pid: number, fellows: ReadonlySet<number>): number | undefined {
  const own = pipesOf(host, pid, fd => fd <= 1)
  const isUser = (other: number) => !fellows.has(other) && [...pipesOf(host, other)].some(pipe => own.has(pipe))
  return own.size === 0 ? undefined : [...table.keys()].find(other => other !== pid && isUser(other))
}

/** Those of an engine whose pipes neither it nor whoever else of it runs holds an end of any more. */
function findForgotten(
  { host, engines, table }: CheckContext,
  kept: readonly ProcessFacts[],
  workers: readonly ProcessFacts[],
): Finding[] {
  const known = new Map(engines.map(engine => [engine.process.pid, engine]))
  // What else they inherited is no part of the line.
  const workerPipes = new Map(workers.map(({ pid }) => [pid, pipesOf(host, pid, fd => fd <= 1)]))
  return kept.flatMap(worker => {
    const { pid } = worker
    const pipes = workerPipes.get(pid) ?? new Set()
    // Who has closed its own output is waited for: the engine holds its pipes no more, and has not forgotten it.
    if (pipes.size === 0 || host.link(`/proc/${pid}/fd/1`) === undefined) return []
    const isEngine = ({ pid, name }: ProcessFacts) => isEngineName(name) && !workerPipes.has(pid)
    const owner = known.get(ancestorsOf(table, worker).find(isEngine)?.pid ?? 0)
    if (owner?.isOpen !== true) return []
    const isHeld = [...workerPipes].some(([other, its]) => other !== pid && !its.isDisjointFrom(pipes))
    if (isHeld || mayBeHeldAbove(host, table, worker, { pipes, workerPipes })) return []
    return [tellForgotten(host, worker, owner)]
  })
}

interface Held {
  readonly pipes: ReadonlySet<string>
  readonly workerPipes: ReadonlyMap<number, ReadonlySet<string>>
}

/**
 * A containerd that a dockerd has started unpacks for it, and a podman or buildah of an ordinary user runs itself again in a user namespace, under whatever name: any of them may be the one that
 * feeds. Of whom nothing is seen nothing is known.
 */
function mayBeHeldAbove(host: HostView, table: ProcessTable, worker: ProcessFacts, { pipes, workerPipes }: Held) {
  const all = ancestorsOf(table, worker)
  const above = all.slice(0, all.findLastIndex(({ name }) => isEngineName(name)) + 1)
  const isOther = ({ pid }: ProcessFacts) => !workerPipes.has(pid)
  const opened = above.filter(isOther).map(({ pid }) => readDescriptors(host, pid))
  if (opened.some(descriptors => descriptors.every(({ target }) => target === ''))) return true
  if (opened.flat().some(({ target }) => pipes.has(target))) return true
  const others = descendantsOf(table, above.at(-1)?.pid ?? worker.parent).filter(isOther)
  return others.some(({ pid }) => !pipesOf(host, pid).isDisjointFrom(pipes))
}

function tellForgotten(host: HostView, { pid, parent, startTicks }: ProcessFacts, owner: Engine): Finding {
  const words = hideInWords(readArguments(host, pid)).join(' ')
  const engine = describeEngine(owner)
  const evidence = [
    parent === owner.process.pid
      ? `${words} is a child of ${engine}, which holds no end of its pipes any more`
      : `${words} was started below ${engine}, which holds no end of its pipes any more`,
    `it was started ${formatAge(host, startTicks)} ago`,
  ]
  return makeFinding('DECOMPRESSOR_LEFT_OVER', `${nameOf(host, pid)} ${pid}`, { evidence, facts: { pid, parent } })
}

function pipesOf(host: HostView, pid: number, isWanted: (fd: number) => boolean = () => true): Set<string> {
  const pipes = readDescriptors(host, pid).filter(({ fd, target }) => target.startsWith('pipe:[') && isWanted(fd))
  return new Set(pipes.map(({ target }) => target))
}

function nameOf(host: HostView, pid: number): string {
  return (readArguments(host, pid)[0] ?? 'process').replace(/^.*\//, '')
}
