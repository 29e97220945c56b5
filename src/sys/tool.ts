/** Programs with no input, bounded in time and in what they say. */
import { spawn } from 'node:child_process'

interface ToolOptions {
  readonly timeoutMs: number
  readonly withStderr?: boolean | undefined
  /** Ends the wait before. */
  readonly signal?: AbortSignal | undefined
}

export interface ToolResult {
  readonly status: number | null
  /** What it said; with its stderr in it, if that was asked for. */
  readonly stdout: string
}

const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' }
export const stdoutMax = 1024 * 1024

/**
 * Runs a program and gives what it said. After the time it is killed with its group, and nobody waits for what the kernel holds.
 * @returns undefined if it could not be started or did not end in time, or before the signal
 */
export function runTool(
  file: string,
  args: readonly string[],
  { timeoutMs, withStderr = false, signal }: ToolOptions,
): Promise<ToolResult | undefined> {
  const { promise, resolve } = Promise.withResolvers<ToolResult | undefined>()
  const child = spawn(file, args, {
    cwd: '/',
    env: environment,
    detached: true,
    stdio: ['ignore', 'pipe', withStderr ? 'pipe' : 'ignore'],
  })
  const outputs = [child.stdout, child.stderr].filter(output => output !== null)
  let stdout = ''
  for (const output of outputs) {
    output.on('data', (data: Buffer) => {
      stdout += data.toString('utf8', 0, Math.max(0, stdoutMax - stdout.length))
    })
    output.on('error', () => {})
  }
  const giveUp = () => {
    kill(child.pid)
    for (const output of outputs) output.destroy()
    child.unref()
    resolve(undefined)
  }
  const timer = setTimeout(giveUp, timeoutMs)
  signal?.addEventListener('abort', giveUp, { once: true })
  child.on('error', () => resolve(undefined))
  child.on('close', status => resolve({ status, stdout }))
  return promise.finally(() => {
    clearTimeout(timer)
    signal?.removeEventListener('abort', giveUp)
  })
}

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {} // it has just ended
}
