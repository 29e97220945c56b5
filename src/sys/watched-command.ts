import { type ChildProcess, spawn } from 'node:child_process'
import { basename } from 'node:path'
import { engineSpaceHint, WindlassError } from '../errors.ts'
import { quote } from '../oci/quote.ts'
import { keep, markName } from './keeper.ts'
import { within } from './processes.ts'
import { familyOf, readTasks, type TaskFacts } from './tasks.ts'

export interface WatchedCommand {
  readonly program: string
  readonly args: readonly string[]
  /** All of its environment. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** It is ended when neither it nor what it started reads or writes anything for that long. */
  readonly idleMs: number
  /** True while it waits for us: that counts as no idleness. */
  readonly isExcused?: () => boolean
  readonly signal: AbortSignal
  /** For messages: "Cannot deliver into podman". */
  readonly doing: string
}

/** A result is a few lines, or an inspection; of complaints the last ones matter. */
const outputMax = 8 * 1024 * 1024
const stderrMax = 4096
const lookMs = 500
/** After SIGTERM a program may put its house in order for so long. */
const graceMs = 5000
const joinMs = 2000

/**
 * Runs a program of somebody else's to its end, in a group of its own. It does not outlive this process.
 * @returns its stdout
 * @throws WindlassError FAILED with its last words, STALLED, CANCELLED, NOT_FOUND if there is no such program
 */
export async function runWatched(command: WatchedCommand): Promise<string> {
  const { program, args, env, signal, doing } = command
  signal.throwIfAborted()
  const kept = keep()
  const child = spawn(program, args, {
    env: { ...env, [markName]: kept.mark },
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (child.pid !== undefined) kept.started(child.pid)
  const output = { chunks: [] as Buffer[], size: 0, stderr: '' }
  child.stdout.on('data', (data: Buffer) => {
    output.size += data.length
    if (output.size <= outputMax) output.chunks.push(data)
  })
  child.stderr.on('data', (data: Buffer) => {
    output.stderr = (output.stderr + data.toString()).slice(-stderrMax)
  })
  const stop = Promise.withResolvers<never>()
  stop.promise.catch(() => {})
  const cancel = () => stop.reject(signal.reason)
  signal.addEventListener('abort', cancel, { once: true })
  const timer = watchIdle(child, command, stop.reject)
  try {
    const status = await Promise.race([ended(child, program, doing), stop.promise])
    if (status === 0) return Buffer.concat(output.chunks).toString()
    throw programError(command, output.stderr.trim().split('\n').at(-1) || `it ended with ${status}`)
  } finally {
    clearInterval(timer)
    signal.removeEventListener('abort', cancel)
    await end(child)
    kept.end()
  }
}

/** What it said is a chain of reasons, of which a full disk is the last one. */
function programError({ program, doing }: WatchedCommand, words: string): WindlassError {
  const facts = { engine: basename(program) }
  const space = /[^:]*(?:no space left on device|disk quota exceeded)/i.exec(words)?.[0].trim()
  if (space === undefined)
    return new WindlassError('FAILED', `${doing}: ${basename(program)} says ${quote(words)}`, { facts })
  const details = { facts, hint: engineSpaceHint }
  return new WindlassError('NO_SPACE', `${doing}: ${basename(program)} says ${quote(space)}`, details)
}

async function ended(child: ChildProcess, program: string, doing: string): Promise<number | string> {
  const { promise, resolve, reject } = Promise.withResolvers<number | string>()
  child.once('close', (status, signal) => resolve(status ?? signal ?? 'an unknown signal'))
  child.once('error', (error: NodeJS.ErrnoException) => {
    const state = error.code === 'ENOENT' ? `there is no program ${program}` : error.message
    const hint = `install ${program}, or put it on the PATH`
    const isMissing = error.code === 'ENOENT'
    const details = { cause: error, ...(isMissing && { hint }) }
    reject(new WindlassError(isMissing ? 'NOT_FOUND' : 'FAILED', `${doing}: ${state}`, details))
  })
  return await promise
}

function watchIdle(
  { pid }: ChildProcess,
  { program, idleMs, isExcused, doing }: WatchedCommand,
  fail: (error: unknown) => void,
): NodeJS.Timeout {
  let [last, movedAt] = ['', performance.now()]
  return setInterval(() => {
    const now = pid === undefined ? '' : describe(pid)
    if (now !== last || isExcused?.()) movedAt = performance.now()
    last = now
    if (performance.now() - movedAt < idleMs) return
    const task = pid === undefined ? undefined : readTasks(pid)[0]
    const state = `${basename(program)} (process ${pid}) has read and written nothing for ${idleMs / 1000} s${placeOf(task)}`
    fail(new WindlassError('STALLED', `${doing}: ${state}`, { facts: { engine: basename(program), idleMs } }))
  }, lookMs)
}

function placeOf(task: TaskFacts | undefined): string {
  if (task === undefined) return ''
  if (task.state === 'T') return ', it is stopped by a signal'
  return task.wchan === undefined ? '' : `, it waits in ${task.wchan}`
}

/**
 * What changes when the program does something: who of its family is there, and what they have read and written. Where the kernel does not tell that,
 * processor time stands in.
 */
function describe(pid: number): string {
  const family = familyOf(pid)
  const tasks = family.flatMap(member => readTasks(member))
  return `${family} ${tasks.reduce((sum, { ioBytes, cpuTicks }) => sum + (ioBytes ?? cpuTicks), 0)}`
}

/** SIGTERM first: a storage that is left in the middle has to be repaired by the next user. */
async function end(child: ChildProcess): Promise<void> {
  const { pid } = child
  if (pid === undefined) return
  const gone = new Promise(resolve => child.once('exit', resolve))
  const isGone = () => child.exitCode !== null || child.signalCode !== null
  if (!isGone()) {
    killGroup(pid, 'SIGTERM')
    // One that is stopped would not hear it.
    killGroup(pid, 'SIGCONT')
    if (!isGone()) await within(gone, graceMs)
  }
  killGroup(pid, 'SIGKILL')
  if (!isGone()) await within(gone, joinMs)
  child.stdout?.destroy()
  child.stderr?.destroy()
  child.unref()
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {} // nobody is left
}
