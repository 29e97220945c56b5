/** Ends one stuck decompressor: every pull that waits for it gets an error and is free. Only when the next pull will not meet the same program. */
import { WindlassError, wrapError } from '../../errors.ts'
import { HeldProcess } from '../../sys/held-process.ts'
import type { HostView } from '../../sys/host-view.ts'
import { startOf } from '../../sys/process-age.ts'
import { descendantsOf, readDescriptors, readProcessTable, readTraffic } from '../../sys/process-files.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import { askEngines, type Engine, type FoundEngine, listEngines, remembersDecompressor } from '../engines.ts'
import { describeFinding, type Finding } from '../finding.ts'
import { findLines, type Line } from '../lines.ts'
import { findStuck } from '../rescue/find-stuck.ts'
import { findWriters, readPipesToEngine } from '../rescue/subject.ts'
import { describeProcess } from '../secrets.ts'
import { nameOf } from './cure.ts'
import { Journal } from './journal.ts'
import { isShim } from './shim-file.ts'

type Identity = Pick<ProcessFacts, 'pid' | 'startTicks'>

export interface KillPlan {
  readonly lines: readonly string[]
  /** Those that will be ended. */
  readonly processes: readonly Identity[]
  carryOut(): Promise<{ readonly isProven: boolean; readonly message: string }>
}

interface KillOptions {
  readonly signal: AbortSignal
  /** Where the journals are. */
  readonly directory: string
}

/** @throws WindlassError NOT_FOUND if it is no decompressor of an engine; FAILED if the doctor does not call it stuck, or no workaround is in place */
export async function killStuck(host: HostView, pid: number, options: KillOptions): Promise<KillPlan> {
  const line = findLineOf(host, pid)
  const { engine: found, program } = line
  const [engine] = await askEngines(host, [found])
  if (engine === undefined || !(await hasWorkaround(host, engine)))
    throw new WindlassError(
      'FAILED',
      `Cannot end ${program} ${pid}: the next pull would start the same program and hang again`,
      {
        hint: 'put a workaround in place first, and restart the engine if it takes effect only then: windlass doctor --fixes lists them; or rescue the pull: windlass doctor --rescue',
      },
    )
  const before = readMoves(host, line)
  const finding = await checkStuck(host, line, pid, options.signal)
  const { waited, all } = findEnded(host, line)
  const lines = [
    `kill-${pid}: end ${program} ${pid} of ${nameOf(found)}, by SIGKILL to each of`,
    ...all.map(
      ({ pid }) =>
        `  process  ${describeProcess(host, pid)}${pid === waited.pid ? ', which the engine waits for' : ''}`,
    ),
    '           and to what these start until then, if it holds their output',
    `  because  ${describeFinding(finding)}: windlass explain ${finding.code}`,
    '  reaches  every pull that waits for this layer gets an error (unexpected EOF) and is free; what was downloaded of it may be lost',
    '  undo     there is none; pull again',
  ]
  return {
    lines,
    processes: all,
    carryOut: async () => {
      // An answer may have taken its time.
      if (readMoves(host, line) !== before) await checkStuck(host, line, pid, options.signal)
      return await carryOut(host, line, options)
    },
  }
}

/** An engine's own number names none of its decompressors. */
function findLineOf(host: HostView, pid: number): Line {
  const table = readProcessTable(host)
  const lines = findLines(host, listEngines(host, table), table)
  const line = lines.find(({ decompressor }) => decompressor.some(member => member.pid === pid))
  if (line !== undefined) return line
  throw new WindlassError('NOT_FOUND', `Cannot end process ${pid}: it is no decompressor of an engine`, {
    hint: 'windlass doctor names the one that is stuck',
  })
}

/** @throws WindlassError FAILED if the doctor, which looks for some seconds, does not say that this very line hangs for want of its decompressor */
async function checkStuck(host: HostView, line: Line, pid: number, signal: AbortSignal): Promise<Finding> {
  const { stuck } = await findStuck(host, { signal, pid: line.engine.process.pid })
  signal.throwIfAborted()
  const finding = stuck.find(one => one.line.key === line.key)?.finding
  if (finding !== undefined) return finding
  throw new WindlassError('FAILED', `Cannot end ${line.program} ${pid}: the doctor does not find that it is stuck`, {
    hint: 'a pull that waits for something else, or is slow, needs no end: windlass doctor tells what it sees',
  })
}

/** What each has read and written: it does not change in who is stuck, or the doctor has to look again. */
function readMoves(host: HostView, { decompressor }: Line): string {
  return JSON.stringify(decompressor.map(({ pid }) => readTraffic(host, pid)))
}

/** All that are ended: the decompressor, and what it has started and holds its output. */
function findEnded(host: HostView, line: Line) {
  const { decompressor, engine } = line
  const waited = decompressor.find(({ parent }) => parent === engine.process.pid) ?? decompressor[0]
  if (waited === undefined) throw new WindlassError('NOT_FOUND', 'Cannot end the decompressor: there is none')
  const table = readProcessTable(host)
  const pipes = readPipesToEngine(host, line, waited).all
  const isThere = table.get(waited.pid)?.startTicks === waited.startTicks
  const below = new Set(isThere ? descendantsOf(table, waited.pid).map(({ pid }) => pid) : [])
  const holders = findWriters(host, table, pipes).filter(({ pid }) => below.has(pid))
  const all = new Map([...decompressor, ...holders].map(({ pid, startTicks }) => [pid, { pid, startTicks }]))
  return { waited, pipes, all: [...all.values()] }
}

async function carryOut(host: HostView, line: Line, { signal, directory }: KillOptions) {
  const { engine } = line
  const { waited, pipes, all } = findEnded(host, line)
  using journal = new Journal(directory, 'kill')
  journal.write('begin', { kind: 'kill', processes: all })
  await endAll(host, all)
  journal.note('killed')
  const proof = await proveEnd(host, { engine, waited, pipes }, signal)
  journal.note('proof', { ...proof })
  return proof
}

/** Held first, then ended: a script whose program ends would go on with its next line. */
async function endAll(host: HostView, processes: readonly Identity[]): Promise<void> {
  using stack = new DisposableStack()
  const held: HeldProcess[] = []
  for (const process of processes) {
    try {
      held.push(stack.use(await HeldProcess.hold(process.pid, process.startTicks)))
    } catch (error) {
      if (!hasEnded(host, process)) throw wrapError(error, `Cannot end process ${process.pid}`)
    }
  }
  for (const one of held) await one.kill()
}

/** Also one of which nobody has taken notice yet. */
function hasEnded(host: HostView, { pid, startTicks }: Identity): boolean {
  const now = readProcess(pid, host)
  return now?.startTicks !== startTicks || /[ZX]/.test(now.state)
}

interface Ended {
  readonly engine: FoundEngine
  readonly waited: Identity
  readonly pipes: readonly string[]
}

/** An engine hears of it at once, unless it stands still itself. */
const heardMs = 10_000
const lookMs = 100

/** What counts is what the engine has seen: the end of the process that it waits for, and that of the pipes that it reads. */
async function proveEnd(host: HostView, { engine, waited, pipes }: Ended, signal: AbortSignal) {
  for (const start = host.elapsed(); ; await host.pause(lookMs, signal)) {
    if (readProcess(engine.process.pid, host)?.startTicks !== engine.process.startTicks)
      return { isProven: true, message: `${nameOf(engine)} has ended itself; start it, and pull again` }
    const isReaped = readProcess(waited.pid, host)?.startTicks !== waited.startTicks
    const isRead = readDescriptors(host, engine.process.pid).some(({ target }) => pipes.includes(target))
    if (isReaped && !isRead)
      return { isProven: true, message: `it has ended, and ${nameOf(engine)} has seen that; pull again` }
    if (host.elapsed() - start < heardMs) continue
    return { isProven: false, message: whyUnseen(host, { engine, waited, pipes }) }
  }
}

function whyUnseen(host: HostView, { engine, waited, pipes }: Ended): string {
  if (!hasEnded(host, waited)) return 'the kernel holds it: it has not ended'
  const [holder] = findWriters(host, readProcessTable(host), pipes)
  if (holder !== undefined)
    return `it has ended, but process ${holder.pid} (${holder.name}) holds its output open: ${nameOf(engine)} waits for that one`
  return `it has ended, but ${nameOf(engine)} has not taken notice within ${heardMs / 1000} s`
}

/** What the start of a process may be wrong by. */
const startErrorMs = 50

/**
 * The engine decompresses by itself, or with what we have put in the place of its decompressors: before it was started, if it is one that remembers where it
 * found them.
 */
export async function hasWorkaround(host: HostView, engine: Engine): Promise<boolean> {
  const used = engine.decompressors.filter(({ use }) => use !== 'disabled' && use !== 'not-found')
  const startedMs = startOf(host, engine.process.startTicks) - startErrorMs
  const shims = await Promise.all(
    used.map(async ({ path = '' }) => {
      const place = engine.rootPrefix + path
      if (!(await isShim(host, place))) return false
      const { ctimeMs } = (await host.disk.file(place)) ?? {}
      return !remembersDecompressor(engine) || (ctimeMs !== undefined && ctimeMs < startedMs)
    }),
  )
  return shims.every(Boolean)
}
