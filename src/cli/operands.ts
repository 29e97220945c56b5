import type { Context } from './command.ts'
import { formatFailure, toWindlassError } from './failure.ts'

/**
 * Does the same for each operand, as docker does: one that fails is told and does not keep the others from being done.
 * @returns the exit status of the first failure, or 0
 */
export async function eachOperand(
  { stderr, jsonErrors, logLevel, signal }: Context,
  operands: readonly string[],
  run: (operand: string) => Promise<void>,
): Promise<number> {
  let status = 0
  for (const operand of operands) {
    try {
      await run(operand)
    } catch (thrown) {
      const error = toWindlassError(thrown)
      stderr.write(formatFailure(error, { json: jsonErrors, debug: logLevel === 'debug' }))
      status ||= error.exitStatus
      if (signal.aborted) break
    }
  }
  return status
}
