import { join } from 'node:path'
import type { Context } from '../command.ts'

/** Where the cures of this host are written down. */
export function journalDirectory({ root }: Pick<Context, 'root'>): string {
  return join(root, 'cures')
}
