import type { HostView } from '../../sys/host-view.ts'
import { formatAge } from '../../sys/process-age.ts'
import {
  ancestorsOf,
  nearestOf,
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
  const workerIds = new Set(workers.map(({ pid }) => pid))
  const isEngine = ({ pid, name }: ProcessFacts) => isEngineName(name) && !workerIds.has(pid)
  const ownerOf = nearestOf(table, isEngine)
  const orphans = workers.filter(worker => ownerOf(worker) === undefined)
  const forgotten = findForgotten(context, workers, { isEngine, ownerOf })
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

interface Owners {
  readonly isEngine: (entry: ProcessFacts) => boolean
  readonly ownerOf: (entry: ProcessFacts) => ProcessFacts | undefined
}

/** Those of an engine whose pipes neither it nor whoever else of an engine runs holds an end of any more. */
function findForgotten(context: CheckContext, workers: readonly ProcessFacts[], owners: Owners): Finding[] {
  const { host, engines, table } = context
  const known = new Map(engines.map(engine => [engine.process.pid, engine]))
  // What else they inherited is no part of the line.
  const pipes = new Map(workers.map(({ pid }) => [pid, pipesOf(host, pid, fd => fd <= 1)]))
  const fellows = Map.groupBy(
    [...pipes.values()].flatMap(its => [...its]),
    pipe => pipe,
  )
  let others: Others | undefined
  return workers.flatMap(worker => {
    const { pid } = worker
    const its = [...(pipes.get(pid) ?? [])]
    // Who has closed its own output is waited for: the engine holds its pipes no more, and has not forgotten it.
    if (its.length === 0 || host.link(`/proc/${pid}/fd/1`) === undefined) return []
    const engine = known.get(owners.ownerOf(worker)?.pid ?? 0)
    if (engine?.isOpen !== true || its.some(pipe => (fellows.get(pipe)?.length ?? 0) > 1)) return []
    others ??= readOthers(host, table, pipes, owners)
    const { held } = others
    if (its.some(pipe => held.has(pipe)) || isHiddenAbove(table, worker, others, owners)) return []
    return [tellForgotten(host, worker, engine)]
  })
}

/** What the engines, and all that they have started, have open. */
interface Others {
  readonly held: ReadonlySet<string>
  /** Of whom nothing is seen. */
  readonly hidden: ReadonlySet<number>
}

/**
 * A containerd that a dockerd has started unpacks for it, and a podman or buildah of an ordinary user runs itself again in a user namespace, under whatever name: any of them may be the one that
 * feeds.
 */
function readOthers(
  host: HostView,
  table: ProcessTable,
  workers: ReadonlyMap<number, unknown>,
  { isEngine, ownerOf }: Owners,
): Others {
  const others = [...table.values()].filter(
    entry => !workers.has(entry.pid) && (isEngine(entry) || ownerOf(entry) !== undefined),
  )
  const held = new Set<string>()
  const hidden = new Set<number>()
  for (const { pid } of others) {
    const targets = readDescriptors(host, pid).map(({ target }) => target)
    if (targets.every(target => target === '')) hidden.add(pid)
    for (const target of targets) held.add(target)
  }
  return { held, hidden }
}

/** No engine is so far above what it has started. */
const ancestorsMax = 64

/** Of whom nothing is seen nothing is known. */
function isHiddenAbove(table: ProcessTable, worker: ProcessFacts, { hidden }: Others, { isEngine }: Owners): boolean {
  const all = ancestorsOf(table, worker, ancestorsMax)
  const top = all.findLastIndex(isEngine)
  return all.length === ancestorsMax || all.some(({ pid }, at) => at <= top && hidden.has(pid))
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
