/** Programs as the tests run them: once with a result, or in the background until disposed of. Every wait is bounded. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export interface CommandOptions {
  cwd?: string
  env?: Record<string, string | undefined>
  /** The program is killed after this, default two minutes. */
  timeoutMs?: number
}

export interface CommandResult {
  status: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** Runs a program to its end and gives what came of it; only a program that cannot be started rejects. */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(program, args, spawnOptions(options))
  const result = collectResult(child)
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 120_000)
  try {
    return await result
  } finally {
    clearTimeout(timer)
  }
}

export function spawnOptions(options: CommandOptions): SpawnOptions {
  return {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin`, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  }
}

export async function collectResult(child: ChildProcess): Promise<CommandResult> {
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  child.stdout?.on('data', (chunk: Buffer) => output.stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => output.stderr.push(chunk))
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return {
    status,
    signal,
    stdout: Buffer.concat(output.stdout).toString(),
    stderr: Buffer.concat(output.stderr).toString(),
  }
}

/** Runs a program that must succeed. @returns its stdout without the last newline */
export async function run(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { status, signal, stdout, stderr } = await runCommand(program, args, options)
  if (status === 0) return stdout.trimEnd()
  throw new Error(`${program} ${args.join(' ')}: ${signal ?? `exit status ${status}`}\n${stderr.slice(-4000)}`)
}

/** Runs a shell script that must succeed; `set -e` is on, `$1` and so on are `args`. */
export function runScript(script: string, args: readonly string[] = [], options: CommandOptions = {}): Promise<string> {
  return run('sh', ['-ec', script, 'sh', ...args], options)
}

/** Asks `probe` every 20 ms until it says yes. */
export async function waitUntil(
  what: string,
  timeoutMs: number,
  probe: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await sleep(20)
  }
}

export interface Daemon extends AsyncDisposable {
  readonly pid: number
  /** Everything it has said so far. */
  log(): string
}

export interface DaemonOptions extends CommandOptions {
  logFile: string
  isReady: () => boolean | Promise<boolean>
}

/** Starts a program that stays, and waits until it is ready. Disposing ends it: SIGTERM, after ten seconds SIGKILL. */
export async function startDaemon(program: string, args: readonly string[], options: DaemonOptions): Promise<Daemon> {
  const log = openSync(options.logFile, 'a')
  const child = spawn(program, args, { ...spawnOptions(options), stdio: ['ignore', log, log] })
  closeSync(log)
  await once(child, 'spawn')
  const daemon: Daemon = {
    pid: child.pid as number,
    log: () => readFileSync(options.logFile, 'utf8'),
    [Symbol.asyncDispose]: () => stopChild(child),
  }
  try {
    await waitUntil(`${program} is ready`, options.timeoutMs ?? 30_000, () => {
      if (hasEnded(child)) throw new Error(`${program} ended at its start: ${daemon.log().slice(-4000)}`)
      return options.isReady()
    })
  } catch (error) {
    await stopChild(child)
    throw error
  }
  return daemon
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
  await ended
  clearTimeout(timer)
}
