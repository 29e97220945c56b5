/** A program of somebody else, run as if it had been called directly: with our terminal, environment and signals. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { WindlassError } from '../errors.ts'
import { parseStat } from './stat-line.ts'
import { familyOf, readProcess } from './tasks.ts'

export interface Foreign {
  readonly pid: number
  /** The exit status as a shell gives it: 128 and the number of a signal. */
  readonly ended: Promise<number>
  /** True once it has ended. */
  readonly isDone: boolean
}

export interface ForeignOptions {
  /** Its stdout goes to our stderr, since ours is for something else. */
  readonly isAside?: boolean
  /** Hangups are nothing to it, as after nohup. */
  readonly ignoresHangup?: boolean
}

/** Who is told to end has so long to do it: we ourselves have three seconds. */
const graceMs = 1500
const lookMs = 50
/** Who has heard a terminal's ^C is on his way out by then; a signal that was meant for us alone nobody else has heard. */
const heardMs = 500

/**
 * A signal to end that we are given is passed on to it and to what it has started; what has not ended then is killed, and none of it outlives us.
 * @param path is there no slash in the name, it is looked for in the PATH
 * @throws WindlassError NOT_FOUND, PERMISSION or FAILED if it cannot be started
 */
export async function startForeign(
  path: string,
  args: readonly string[],
  { isAside = false, ignoresHangup = false }: ForeignOptions = {},
): Promise<Foreign> {
  const child = spawn(path, args, { stdio: ['inherit', isAside ? 2 : 'inherit', 'inherit'] })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  child.once('spawn', resolve)
  child.once('error', reject)
  let isDone = false
  const exited = new Promise<number>(resolve => {
    child.once('exit', (status, signal) => resolve(status ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  })
  const stopPassing = passSignals(child, ignoresHangup)
  const ended = exited.then(async status => {
    await stopPassing()
    isDone = true
    return status
  })
  try {
    await promise
  } catch (error) {
    void stopPassing()
    const code = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'NOT_FOUND' : 'FAILED'
    const hint = 'check the name of the program'
    throw new WindlassError(code, `Cannot run ${JSON.stringify(path)}: ${(error as Error).message}`, {
      cause: error,
      hint,
    })
  }
  return {
    pid: child.pid ?? 0,
    ended,
    get isDone() {
      return isDone
    },
  }
}

/** @returns what ends it, and waits for those that were told to end */
function passSignals(child: ChildProcess, ignoresHangup: boolean): () => Promise<void> {
  const told = new Map<number, number>()
  const unsent = new Set<number>()
  let ending: Promise<void> | undefined
  const pass = (name: NodeJS.Signals) => {
    const group = name === 'SIGINT' ? foregroundGroup() : undefined
    for (const pid of child.pid === undefined ? [] : familyOf(child.pid)) {
      const process = readProcess(pid)
      if (process === undefined) continue
      told.set(pid, process.startTicks)
      // A terminal tells its whole group by itself, and who hears it twice may take it for impatience.
      if (process.group === group) unsent.add(pid)
      else send(pid, name)
    }
    ending ??= endAll(told, unsent)
  }
  const names = ['SIGTERM', 'SIGINT', ...(ignoresHangup ? [] : (['SIGHUP'] as const))] as const
  for (const name of names) process.on(name, pass)
  return async () => {
    for (const name of names) process.off(name, pass)
    await ending
  }
}

/** @param unsent who has been sent no SIGINT by us, and perhaps by nobody */
async function endAll(told: ReadonlyMap<number, number>, unsent: ReadonlySet<number>): Promise<void> {
  const left = () => [...told].filter(([pid, startTicks]) => isThere(pid, startTicks)).map(([pid]) => pid)
  for (let ms = 0; ms < graceMs && left().length > 0; ms += lookMs) {
    if (ms === heardMs) for (const pid of left()) if (unsent.has(pid)) send(pid, 'SIGINT')
    await sleep(lookMs)
  }
  for (const pid of left()) send(pid, 'SIGKILL')
}

function isThere(pid: number, startTicks: number): boolean {
  const process = readProcess(pid)
  return process?.startTicks === startTicks && process.state !== 'Z'
}

function send(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {} // it has ended, or is somebody else's, to whom his parent passes it on
}

/** Our group, if it is the one that a terminal sends its signals to. */
function foregroundGroup(): number | undefined {
  const { field } = parseStat(readFileSync('/proc/self/stat', 'utf8')) ?? {}
  const [group, foreground] = [5, 8]
  return field?.(group) === field?.(foreground) ? field?.(group) : undefined
}
