/**
 * Carries out a rescue. Until the first byte is written nothing has been taken from anybody: whatever happens, the process goes on as before. From then on it stays stopped
 * until it leaves, or is ended where nobody reads any more; if we die in between, the journal and the writer's count say from where the next rescue goes on.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { elfMachineOf, machineOf } from '../../sys/exit-registers.ts'
import { drainPipe, type ForeignPipe } from '../../sys/foreign-pipes.ts'
import { HeldProcess, HoldFailure, type HoldProblem, type PreparedExit } from '../../sys/held-process.ts'
import type { HostView } from '../../sys/host-view.ts'
import { openForeignPipe, Replaced } from '../../sys/open-foreign-pipe.ts'
import { OutlivingWriter } from '../../sys/outliving-writer.ts'
import { readProcessTable, readTraffic } from '../../sys/process-files.ts'
import { type ProcessFacts, readProcess } from '../../sys/tasks.ts'
import type { WrittenSoFar } from '../../sys/written-count.ts'
import type { Journal } from '../cures/journal.ts'
import { readNamespace } from './claim.ts'
import { decodeFrom, PrefixDiffers } from './examine.ts'
import { Refusal, type RefusalCode } from './refusal.ts'
import { checkUnchanged, type RescuePlan } from './rescue.ts'
import { type Given, readBoot } from './unfinished.ts'

export interface CarryOutOptions {
  readonly journal: Journal
  readonly signal: AbortSignal
  /** Told, in half a sentence, what is done next. */
  readonly tell?: ((text: string) => void) | undefined
  /** Told that the engine has taken something. */
  readonly moved?: (() => void) | undefined
}

export interface Rescued {
  /** Bytes that were written in its place. */
  readonly written: number
  /** Bytes of its input that were thrown away. */
  readonly drained: number
}

/**
 * @throws Refusal nothing has changed then · Interrupted the process stands, and a later rescue goes on, or is gone: see `left`
 *   · WindlassError NO_SPACE, PERMISSION if the journal cannot be written before the first byte; nothing has changed then either
 */
export async function carryOut(host: HostView, plan: RescuePlan, options: CarryOutOptions): Promise<Rescued> {
  const { journal } = options
  journal.write('begin', describe(host, plan))
  try {
    return await rescueHeld(host, plan, options)
  } catch (error) {
    if (!(error instanceof Interrupted)) journal.note('let-go', { because: (error as Error).message })
    throw error
  }
}

/** Whatever is thrown before the first byte, the process goes on as it was. */
async function rescueHeld(host: HostView, plan: RescuePlan, options: CarryOutOptions): Promise<Rescued> {
  const { subject } = plan
  const { journal, signal, tell = () => {}, moved = () => {} } = options
  signal.throwIfAborted()
  using stack = new DisposableStack()
  const { waited, others, exit } = await refusing(async () => {
    tell(`stop ${[subject.waited, ...subject.others].map(({ name, pid }) => `${name} ${pid}`).join(', ')}`)
    const hold = async ({ pid, startTicks }: ProcessFacts) =>
      stack.use(await HeldProcess.hold(pid, startTicks, isOursToLetGo(plan, pid)))
    const waited = await hold(subject.waited)
    const others: HeldProcess[] = []
    for (const other of subject.others) others.push(await hold(other))
    const exit = waited.prepareExit(knownMachine(host, subject.waited.pid))
    checkUnchanged(host, plan, readProcessTable(host))
    return { waited, others, exit }
  })
  const all = [waited, ...others]
  const wereStopped = all.filter(({ wasStopped }) => wasStopped).map(({ pid }) => pid)
  journal.write('held', { wereStopped, given: readGiven(host, subject.writer) })
  const written = await writeRest(plan, all, options).catch(async (error: unknown) => {
    if (!(error instanceof Interrupted) || error.left !== 'unread') throw error
    // Nobody waits for what it would give: it must not stand here for ever.
    for (const one of all) await one.kill()
    journal.note('killed', { because: error.message })
    throw error
  })
  // From here on a full disk must hold up nothing: the layer is there, and what the writer counted says so to whoever comes after us.
  journal.note('written', { bytes: written })
  moved()
  tell('take what is left of its input')
  for (const process of all) process.stayStopped() // what is taken it could not read any more
  const drained = subject.stdin === undefined ? 0 : await drain(subject.stdin, { signal, moved })
  moved()
  tell('let it leave with status 0')
  journal.note('leave', { drained })
  await leave(waited, others, exit)
  journal.note('left')
  return { written, drained }
}

/** The engine forgives a program that ends well without having read everything. */
async function drain(pipe: ForeignPipe, options: { readonly signal: AbortSignal; readonly moved: () => void }) {
  try {
    return (await drainPipe(pipe, options)).bytes
  } catch (error) {
    if (!options.signal.aborted) return 0
    throw new Interrupted(`all was written, but its input was not taken to the end: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function readGiven(host: HostView, { pid: writer }: RescuePlan['subject']['writer']): Given | undefined {
  const bytes = readTraffic(host, writer)?.written
  return bytes === undefined ? undefined : { writer, bytes }
}

/** Stopped by a rescue that died before it had written anything; after that a process must not write itself any more. */
function isOursToLetGo({ unfinished }: RescuePlan, pid: number): boolean {
  return unfinished?.position === undefined && unfinished?.leftStopped.has(pid) === true
}

async function leave(waited: HeldProcess, others: readonly HeldProcess[], exit: PreparedExit): Promise<void> {
  const hasLeft = await endAll(waited, others, exit).catch((cause: unknown) => {
    const isGone = (cause as NodeJS.ErrnoException).code === 'ESRCH'
    throw new Interrupted(
      isGone
        ? `all was given, but process ${waited.pid} was ended before it could leave, by its engine or by somebody else: whoever waits for it may have got an error`
        : `process ${waited.pid} could not be told to leave: ${(cause as Error).message}`,
      { left: isGone ? 'gone' : 'standing', cause },
    )
  })
  if (!hasLeft) throw new Interrupted(`process ${waited.pid} was told to leave and is still there`)
}

async function endAll(waited: HeldProcess, others: readonly HeldProcess[], exit: PreparedExit): Promise<boolean> {
  for (const other of others) await other.kill()
  return await waited.leave(exit)
}

function describe(host: HostView, plan: RescuePlan) {
  const { subject, choice } = plan
  const identify = ({ pid, startTicks }: { readonly pid: number; readonly startTicks: number }) => ({ pid, startTicks })
  return {
    kind: 'rescue',
    boot: readBoot(host),
    pidNamespace: readNamespace(),
    process: identify(subject.waited),
    others: subject.others.map(identify),
    wereStopped: [subject.waited, ...subject.others]
      .map(({ pid }) => pid)
      .filter(pid => readProcess(pid, host)?.state === 'T' && !isOursToLetGo(plan, pid)),
    engine: { kind: subject.line.engine.kind, ...identify(subject.line.engine.process) },
    layer: { name: choice.layer.name, digest: choice.digest, diffId: choice.diffId, total: choice.total },
    position: choice.position.bytes,
    evidence: choice.position.evidence,
  }
}

/** Holding fails in ways that are refusals: whatever was held is let go by then. */
async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof HoldFailure) throw new Refusal(refusals[error.problem], error.message, error)
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EPERM' || code === 'EACCES') throw new Refusal('RESCUE_DENIED', message, error)
    if (code === 'ENOENT' || code === 'ESRCH') throw new Refusal('RESCUE_GONE', message, error)
    throw error
  }
}

const refusals: Readonly<Record<HoldProblem, RefusalCode>> = {
  gone: 'RESCUE_GONE',
  another: 'RESCUE_PROCESS_CHANGED',
  denied: 'RESCUE_DENIED',
  'in-kernel': 'RESCUE_IN_KERNEL',
  architecture: 'RESCUE_ARCHITECTURE',
}

function knownMachine(host: HostView, pid: number) {
  const machine = machineOf(host.arch)
  const head = Buffer.alloc(20)
  const fd = openSync(`/proc/${pid}/exe`, 'r')
  try {
    readSync(fd, head)
  } finally {
    closeSync(fd)
  }
  const its = elfMachineOf(head)
  if (machine === undefined || its !== machine.elfMachine)
    throw new Refusal(
      'RESCUE_ARCHITECTURE',
      `process ${pid} is a program for machine ${its ?? 'unknown'}, and this is ${host.arch}`,
    )
  return machine
}

/** Thrown when it was broken off after the first byte. */
export class Interrupted extends Error {
  /** `standing`: a later rescue goes on. `unread`: the engine does not read any more, so that there is nothing to go on with, and it is ended. `gone`: it has ended. */
  readonly left: 'standing' | 'unread' | 'gone'
  constructor(
    message: string,
    { left = 'standing', cause }: { readonly left?: Interrupted['left']; readonly cause?: unknown } = {},
  ) {
    super(message, { cause })
    this.left = left
  }
}

/** A writer whose engine reads has given all that it has by then. */
const endMs = 5000

async function writeRest(
  { subject, choice, before, unfinished }: RescuePlan,
  held: readonly HeldProcess[],
  { journal, signal, tell = () => {}, moved = () => {} }: CarryOutOptions,
): Promise<number> {
  const { layer, position, total } = choice
  const owed = total - position.bytes
  if (unfinished?.written !== undefined) return 0
  const rest = decodeFrom(layer, { position: position.bytes, before, signal })
  let first: IteratorResult<Uint8Array>
  try {
    first = await rest.next()
  } catch (error) {
    if (error instanceof PrefixDiffers)
      throw new Refusal(
        'RESCUE_PREFIX_DIFFERS',
        `what stands before byte ${position.bytes} of the layer is not what the engine has`,
      )
    throw error
  }
  before[Symbol.dispose]() // containerd cannot unmount what somebody has a file open in
  if (owed === 0) return 0
  if (subject.stdout === undefined || first.done === true)
    throw new Refusal('RESCUE_LAYER_DAMAGED', `${layer.name} is shorter than it was when it was looked at`)
  tell(`write ${owed.toLocaleString('en-US')} bytes in its place`)
  const countFile = journal.pathOf('count')
  journal.write('write', { position: position.bytes, owed, countFile })
  using writer = new OutlivingWriter(openOutput(subject.stdout), countFile)
  if (writer.pid === 0) throw new Error('the process that would write could not be started')
  journal.write('writer', { pid: writer.pid })
  if (!writer.mark())
    throw new Refusal('RESCUE_CONSUMER_BUSY', 'what waits in its output is in the way of a mark there that outlives us')
  for (const process of held) process.stayStopped()
  try {
    await writer.write(first.value, signal)
    for await (const chunk of rest) {
      moved()
      await writer.write(chunk, signal)
    }
  } catch (error) {
    const far = await writer.end(AbortSignal.timeout(endMs))
    const more = far?.state === 'writing' ? `; process ${writer.pid} gives the engine what it still has` : ''
    throw brokenOff(far, owed, `${(error as Error).message}${more}`, error)
  }
  const far = await writer.end(signal)
  if (far?.bytes !== owed || far.state !== 'done')
    throw brokenOff(far, owed, `its writer says ${far?.state ?? 'nothing'}`)
  return far.bytes
}

/** The pipe that was looked at, and nothing that was put in its place since. */
function openOutput({ path, inode }: ForeignPipe): number {
  try {
    return openForeignPipe(path, constants.O_WRONLY, inode)
  } catch (error) {
    if (error instanceof Replaced) throw new Refusal('RESCUE_MOVES', error.message, error)
    throw error
  }
}

function brokenOff(far: WrittenSoFar | undefined, owed: number, because: string, cause?: unknown): Interrupted {
  const isUnread = far?.state === 'EPIPE'
  const state = isUnread ? 'the engine does not read any more; the process was ended' : because
  const message = `broken off after ${far?.bytes ?? 'an unknown number'} of ${owed} bytes: ${state}`
  return new Interrupted(message, { left: isUnread ? 'unread' : 'standing', cause })
}
