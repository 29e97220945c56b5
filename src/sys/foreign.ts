/** A program of somebody else, run as if it had been called directly: with our terminal, environment and signals. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { WindlassError } from '../errors.ts'
import { familyOf, hasPending, type ProcessFacts, readProcess } from './tasks.ts'

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
/** Who is there is known as it was so long ago at most: by the time that we hear of a signal, whoever heard it with us may have ended, and what he started is nobody's. */
const acquaintMs = 250

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
  // Before it runs: what it says first may be answered with a signal.
  const relay = new SignalRelay(ignoresHangup)
  const child = await start(path, args, isAside, relay).catch(async (error: NodeJS.ErrnoException) => {
    await relay.end()
    const code = error.code === 'ENOENT' ? 'NOT_FOUND' : 'FAILED'
    const hint = 'check the name of the program'
    throw new WindlassError(code, `Cannot run ${JSON.stringify(path)}: ${error.message}`, { cause: error, hint })
  })
  let isDone = false
  const ended = child.exited.then(async status => {
    await relay.end()
    isDone = true
    return status
  })
  return {
    pid: child.pid,
    ended,
    get isDone() {
      return isDone
    },
  }
}

async function start(path: string, args: readonly string[], isAside: boolean, relay: SignalRelay) {
  const child = spawn(path, args, { stdio: ['inherit', isAside ? 2 : 'inherit', 'inherit'] })
  relay.passTo(child.pid)
  const exited = new Promise<number>(resolve => {
    child.once('exit', (status, signal) => resolve(status ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  })
  await once(child, 'spawn')
  return { pid: child.pid ?? 0, exited }
}

/** Passes the first signal on, to each once: who hears one again may take it for impatience, and our front repeats it. */
class SignalRelay {
  readonly #names: readonly NodeJS.Signals[]
  readonly #witness = new Witness()
  readonly #pass = (name: NodeJS.Signals) => {
    this.#ending ??= this.#endAll(name)
  }
  #program: ProcessFacts | undefined
  #family: readonly ProcessFacts[] = []
  #acquaintance: NodeJS.Timeout | undefined
  #ending: Promise<void> | undefined

  constructor(ignoresHangup: boolean) {
    this.#names = ['SIGTERM', 'SIGINT', ...(ignoresHangup ? [] : (['SIGHUP'] as const))]
    for (const name of this.#names) process.on(name, this.#pass)
  }

  /** To be called in the same turn in which it was started: until then no signal is heard. */
  passTo(pid: number | undefined): void {
    this.#program = pid === undefined ? undefined : readProcess(pid)
    const look = () => {
      if (this.#ending === undefined) this.#family = this.#descendants([this.#program])
    }
    look()
    this.#acquaintance = setInterval(look, acquaintMs).unref()
  }

  /** The program has ended, or never ran. Waits for those that were told to end. */
  async end(): Promise<void> {
    clearInterval(this.#acquaintance)
    // Of what it died of with all of our group we may hear only later: another thread of ours that has no processor yet may be the one that is told.
    const name = this.#names.find(name => this.#witness.hasHeard(name))
    if (name !== undefined) this.#pass(name)
    await this.#ending
    for (const name of this.#names) process.off(name, this.#pass)
    this.#witness.leave()
  }

  async #endAll(name: NodeJS.Signals): Promise<void> {
    const known = new Map<number, ProcessFacts>()
    const meet = (roots: readonly (ProcessFacts | undefined)[]) => {
      const fresh = this.#descendants(roots).filter(({ pid, startTicks }) => known.get(pid)?.startTicks !== startTicks)
      for (const member of fresh) known.set(member.pid, member)
      return fresh
    }
    let fresh = meet([this.#program, ...this.#family])
    await sleep(lookMs) // the kernel tells one member of a group after the other
    if (this.#witness.hasHeard(name)) {
      const ownGroup = readProcess(process.pid)?.group
      fresh = fresh.filter(({ group }) => group !== ownGroup)
    }
    for (let ms = 0; ms < graceMs && [...known.values()].some(isThere); ms += lookMs) {
      for (const member of fresh) if (isThere(member)) send(member.pid, name)
      await sleep(lookMs)
      fresh = meet([...known.values()])
    }
    for (const member of known.values()) if (isThere(member)) send(member.pid, 'SIGKILL')
  }

  #descendants(roots: readonly (ProcessFacts | undefined)[]): ProcessFacts[] {
    const pids = new Set<number>()
    for (const root of roots) {
      if (root === undefined || pids.has(root.pid) || !isThere(root)) continue
      for (const pid of familyOf(root.pid)) pids.add(pid)
    }
    return [...pids].map(pid => readProcess(pid)).filter(found => found !== undefined)
  }
}

/**
 * One of our group who does nothing but wait for our end: what he was told, a terminal (or whoever else) has told all of the group. The kernel shows
 * that from the moment on in which he is told, however long he takes to die of it.
 */
class Witness {
  readonly #process: ChildProcess

  constructor() {
    const small = startWitness('cat', [])
    // Not all systems keep programs there. We ourselves are larger, and know how to wait, too.
    this.#process = small.pid === undefined ? startWitness(process.execPath, ['-e', 'process.stdin.resume()']) : small
    this.#process.unref()
    this.#process.stdin?.on('error', () => {})
    const input = this.#process.stdin as { unref?: () => void } | null
    input?.unref?.()
  }

  hasHeard(name: NodeJS.Signals): boolean {
    const { pid, signalCode } = this.#process
    if (signalCode !== null) return signalCode === name
    return pid !== undefined && hasPending(pid, constants.signals[name])
  }

  leave(): void {
    this.#process.kill('SIGKILL')
  }
}

/** It has nothing of our environment, and ends with its input. */
function startWitness(file: string, args: readonly string[]): ChildProcess {
  const env = { PATH: '/usr/bin:/bin' }
  const started = spawn(file, args, { cwd: '/', env, stdio: ['pipe', 'ignore', 'ignore'] })
  return started.on('error', () => {}) // without a witness all are told
}

function isThere({ pid, startTicks }: ProcessFacts): boolean {
  const process = readProcess(pid)
  return process?.startTicks === startTicks && process.state !== 'Z'
}

function send(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {} // it has ended, or is somebody else's, to whom his parent passes it on
}
