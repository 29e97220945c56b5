/** Programs that only tell something: short, with no input, bounded in time and in what they say. */
import { spawn } from 'node:child_process'

export interface ToolResult {
  readonly status: number | null
  readonly stdout: string
}

const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' }
const stdoutMax = 1024 * 1024

/**
 * Runs a program and gives what it said. After the time it is killed with its group, and nobody waits for what the kernel holds.
 * @returns undefined if it could not be started or did not end in time
 */
export function runTool(file: string, args: readonly string[], timeoutMs: number): Promise<ToolResult | undefined> {
  const { promise, resolve } = Promise.withResolvers<ToolResult | undefined>()
  const child = spawn(file, args, {
    cwd: '/',
    env: environment,
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let stdout = ''
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString('utf8', 0, Math.max(0, stdoutMax - stdout.length))
  })
  child.stdout.on('error', () => {})
  const timer = setTimeout(() => {
    kill(child.pid)
    child.stdout.destroy()
    child.unref()
    resolve(undefined)
  }, timeoutMs)
  child.on('error', () => resolve(undefined))
  child.on('close', status => resolve({ status, stdout }))
  return promise.finally(() => clearTimeout(timer))
}

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {} // it has just ended
}
