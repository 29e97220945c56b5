import { flushCompileCache } from 'node:module'
import { homedir, constants as osConstants } from 'node:os'
import { resolve } from 'node:path'
import { WindlassError, wrapError } from '../errors.ts'
import { parseArguments, parseGlobals, splitArguments, suggest } from './args.ts'
import type { Context, globalOptions, LogLevel, OptionTable, OptionValues, Output, ProgressMode } from './command.ts'
import { commandTable, findCommand } from './commands.ts'
import { formatFailure, toWindlassError } from './failure.ts'
import { readUser } from './namespace.ts'
import type { LastReport } from './report/last.ts'
import { watchSignals } from './signals.ts'

/** A main thread in one system call: told after this long, and no longer waited for after the other. */
const blockedTellMs = 3_000
const leaveSeconds = 300

/** The parts of the process that a run needs. */
export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: Output
  readonly stderr: Output
  readonly signal: AbortSignal
  readonly uid: number
  /** The process that waits for this one in the place of whoever started it. */
  readonly front: number | undefined
}

/** Runs the command line of this process, and ends the process with its exit status. */
export async function start(process: NodeJS.Process): Promise<never> {
  const { env, stdout, stderr } = process
  const front = takeFront(env)
  const watch = watchSignals(process, front)
  const args = process.argv.slice(2)
  const uid = readUser(env, process.geteuid?.() ?? 0)
  const host: Host = { env, stdout, stderr, signal: watch.signal, uid, front }
  const leave = (status: number): Promise<never> => leaveWith(status, front)
  stdout.on('error', error => void leave(lostOutput(error, host, args)))
  // Without a stderr the work goes on unseen.
  stderr.on('error', () => {})
  process.on('uncaughtException', error => void leave(printFailure(error, host, args)))
  const status = await run(args, host)
  // A full disk behind stdout shows only now.
  await new Promise(resolve => stdout.write('', resolve))
  return await leave(watch.status() ?? status)
}

/**
 * Ends the process without waiting for its threads. One of them may sit in a system call of a disk that does not answer; and `process.exit`
 * itself may hang: it joins V8's compiler threads while one of them waits for a garbage collection of the thread that joins it
 * (https://github.com/nodejs/node/issues/54918). What is written to stdout and stderr is with the kernel by now: such writes are synchronous.
 */
async function leaveWith(status: number, front: number | undefined): Promise<never> {
  if (status === 0) flushCompileCache()
  const { exitThroughFront } = await import('../sys/front.ts')
  return await exitThroughFront(front, status)
}

/** Who the front is concerns this process alone, not what it starts. */
function takeFront(env: NodeJS.ProcessEnv): number | undefined {
  const front = env['WINDLASS_FRONT']
  delete env['WINDLASS_FRONT']
  return front !== undefined && /^\d+$/.test(front) ? Number(front) : undefined
}

/** Runs one command line. Resolves to the exit status; never throws. */
export async function run(argv: readonly string[], host: Host): Promise<number> {
  try {
    const { name, rest } = splitArguments(argv)
    if (name === undefined) return await runWithoutCommand(rest, host)
    if (name === 'help') return await runHelp(rest, host)
    return await runCommand(name, rest, host)
  } catch (error) {
    return printFailure(error, host, argv)
  }
}

/** Where the store is: the option, else `WINDLASS_ROOT`, else the system's place for root and the user's for others. */
export function storeRoot(option: string | undefined, env: Host['env'], uid: number): string {
  const chosen = option ?? (env['WINDLASS_ROOT'] || undefined)
  if (chosen === '') throw new WindlassError('USAGE', 'Cannot use option --root: it is empty; wanted a directory')
  if (chosen !== undefined) return resolve(chosen)
  if (uid === 0) return '/var/lib/windlass'
  return resolve(env['XDG_DATA_HOME'] || resolve(env['HOME'] || homedir(), '.local/share'), 'windlass')
}

async function runCommand(name: string, rest: readonly string[], host: Host): Promise<number> {
  const { command } = await loadCommand(name)
  const { globals, options, operands } = parseArguments(rest, name, command)
  if (globals.help) return await runHelp([name], host)
  if (globals.version) return await runCommand('version', [], host)
  const context = openContext(globals, host)
  const { geteuid, getegid, execPath, execArgv, argv } = process
  const rootFor = geteuid?.() === 0 ? undefined : command.rootFor?.(options, operands)
  if (rootFor !== undefined) {
    const { enterNamespace } = await import('./namespace.ts')
    const again = [execPath, ...execArgv, ...argv.slice(1)]
    const makesOwners = rootFor === 'making owners'
    await enterNamespace(context, { ...host, gid: getegid?.() ?? 0, makesOwners, command: again })
  }
  using _watchdog = command.watched === false ? undefined : await watch(context, { name, options, operands }, host)
  return (await command.run(context, operands, options)) ?? 0
}

/** Ties this process to its front, and watches over its main thread. */
async function watch(
  context: Context,
  { name, options, operands }: { name: string; options: OptionValues<OptionTable>; operands: readonly string[] },
  { front }: Host,
): Promise<Disposable> {
  const { joinFront } = await import('../sys/front.ts')
  if (front !== undefined) await joinFront(front)
  const { startWatchdog } = await import('./watchdog.ts')
  const { 'stall-timeout': seconds = leaveSeconds, report: path } = options
  const { jsonErrors: json, quiet } = context
  const report = typeof path === 'string' ? await planLastReport(resolve(path), name, options, operands) : undefined
  return startWatchdog({ front, tellMs: blockedTellMs, leaveMs: Number(seconds) * 1000, json, quiet, report })
}

async function planLastReport(
  path: string,
  name: string,
  options: OptionValues<OptionTable>,
  references: readonly string[],
): Promise<LastReport> {
  const { formatCommand } = await import('./report/report.ts')
  return { path, command: formatCommand(name, options, references), references, startedAt: Date.now() }
}

async function runWithoutCommand(rest: readonly string[], host: Host): Promise<number> {
  const globals = parseGlobals(rest)
  if (globals.version) return await runCommand('version', globals.json ? ['--json'] : [], host)
  const { formatOverview } = await import('./help.ts')
  const overview = formatOverview(commandTable)
  if (globals.help) host.stdout.write(overview)
  else host.stderr.write(overview)
  return globals.help ? 0 : new WindlassError('USAGE', '').exitStatus
}

async function runHelp(operands: readonly string[], host: Host): Promise<number> {
  const { formatHelp, formatOverview } = await import('./help.ts')
  const name = operands.find(operand => !operand.startsWith('-'))
  host.stdout.write(
    name === undefined ? formatOverview(commandTable) : formatHelp(name, (await loadCommand(name)).command),
  )
  return 0
}

async function loadCommand(name: string) {
  const entry = findCommand(name)
  if (entry !== undefined) return await entry.load()
  const names = commandTable.map(({ name }) => name)
  throw new WindlassError('USAGE', `Cannot run ${JSON.stringify(name)}: no such command${suggest(name, names)}`, {
    hint: "run 'windlass --help' for the commands",
  })
}

function openContext(globals: OptionValues<typeof globalOptions>, host: Host): Context {
  const { json, quiet } = globals
  const logLevel = (globals['log-level'] ?? 'info') as LogLevel
  const mode = progressMode(globals, host)
  return {
    root: storeRoot(globals.root, host.env, host.uid),
    env: host.env,
    stdout: host.stdout,
    stderr: host.stderr,
    signal: host.signal,
    json,
    jsonErrors: json || mode === 'json',
    quiet,
    logLevel,
    openProgress: async name => {
      const { openProgress } = await import('./progress/progress.ts')
      return openProgress(name, { mode, stream: host.stderr, env: host.env, logLevel })
    },
  }
}

/** With --json and nobody watching, stderr is left to the error document. */
function progressMode(
  { progress = 'auto', quiet, json }: OptionValues<typeof globalOptions>,
  host: Host,
): ProgressMode {
  if (progress !== 'auto') return progress as ProgressMode
  if (quiet) return 'none'
  if (host.stderr.isTTY) return host.env['TERM'] === 'dumb' ? 'plain' : 'tty'
  return json ? 'none' : 'plain'
}

/** A reader that went away ends the run as SIGPIPE would have; anything else that keeps the result from its reader is a failure. */
function lostOutput(error: NodeJS.ErrnoException, host: Host, argv: readonly string[]): number {
  if (error.code === 'EPIPE') return 128 + osConstants.signals.SIGPIPE
  const { code, message } = wrapError(error, 'Cannot write the result to stdout')
  const hint = 'what was to be done is done; look at the file that stdout goes to, and its disk'
  return printFailure(new WindlassError(code, message, { cause: error, hint }), host, argv)
}

/** The arguments may be what is wrong, so the options that matter are looked for by eye. */
function printFailure(thrown: unknown, { stderr }: Host, argv: readonly string[]): number {
  const error = toWindlassError(thrown)
  const line = argv.join(' ')
  const debug = /(^|\s)--log-level[= ]debug(\s|$)/.test(line)
  const json = argv.includes('--json') || /(^|\s)--progress[= ]json(\s|$)/.test(line)
  stderr.write(formatFailure(error, { json, debug }))
  return error.exitStatus
}
