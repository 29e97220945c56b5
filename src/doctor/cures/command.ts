/** Commands that change a host: unlike questions they get the time that they take, and what they say is told. */
import { WindlassError } from '../../errors.ts'
import { runTool } from '../../sys/tool.ts'

/** systemd itself gives a unit 90 s to stop, and 90 s to start, by default. */
const commandMs = 5 * 60_000
const saidMax = 500

export interface CommandOptions {
  readonly signal?: AbortSignal | undefined
  /** Until nobody waits for it any more; minutes if absent. */
  readonly commandMs?: number | undefined
}

/**
 * Runs one after the other.
 * @returns the one that did not end in time, or before the signal: what it has begun may go on, and the others were not run. Undefined if all ended well
 * @throws WindlassError FAILED with what it said; the signal's reason if that came before a command was started
 */
export async function runCommands(
  commands: readonly (readonly string[])[],
  options: CommandOptions,
): Promise<string | undefined> {
  for (const [program = '', ...args] of commands) {
    options.signal?.throwIfAborted()
    const line = [program, ...args].join(' ')
    const timeoutMs = options.commandMs ?? commandMs
    const late = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(options.signal ? [options.signal] : [])])
    const result = await runTool(program, args, { timeoutMs: timeoutMs + 1000, withStderr: true, signal: late })
    if (result === undefined && late.aborted) return line
    if (result?.status !== 0) throw new WindlassError('FAILED', `Cannot run ${line}: ${stateOf(result)}`)
  }
  return undefined
}

function stateOf(result: Awaited<ReturnType<typeof runTool>>): string {
  if (result === undefined) return 'it could not be started'
  const said = result.stdout.trim().replace(/\s+/g, ' ').slice(-saidMax)
  return `it ended with ${result.status === null ? 'a signal' : `status ${result.status}`}${said && `: ${said}`}`
}
