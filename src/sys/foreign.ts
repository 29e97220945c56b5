/** A program of somebody else, run as if it had been called directly: with our terminal, environment and signals. */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { WindlassError } from '../errors.ts'

export interface Foreign {
  readonly pid: number
  /** The exit status as a shell gives it: 128 and the number of a signal. */
  readonly ended: Promise<number>
  /** True once it has ended. */
  readonly isDone: boolean
}

/**
 * @param path is there no slash in the name, it is looked for in the PATH
 * @throws WindlassError NOT_FOUND, PERMISSION or FAILED if it cannot be started
 */
export async function startForeign(path: string, args: readonly string[]): Promise<Foreign> {
  const child = spawn(path, args, { stdio: 'inherit' })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  child.once('spawn', resolve)
  child.once('error', reject)
  let isDone = false
  const ended = new Promise<number>(resolve => {
    child.once('exit', (status, signal) => {
      isDone = true
      resolve(status ?? 128 + constants.signals[signal ?? 'SIGKILL'])
    })
  })
  try {
    await promise
  } catch (error) {
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
