/** Asks before something is changed. */
import { createReadStream } from 'node:fs'
import { isatty } from 'node:tty'
import { WindlassError } from '../errors.ts'
import type { Context } from './command.ts'

/** @throws WindlassError USAGE where nobody can be asked */
export async function confirm({ stderr, signal }: Context, question: string): Promise<boolean> {
  if (!isatty(0) || stderr.isTTY !== true)
    throw new WindlassError('USAGE', `Cannot ask "${question}": there is no terminal; wanted --yes, or --dry-run`)
  stderr.write(`${question} [y/N] `)
  for await (const chunk of createReadStream('', { fd: 0, autoClose: false, signal })) {
    return /^\s*y(es)?\s*$/i.test(String(chunk))
  }
  return false
}
