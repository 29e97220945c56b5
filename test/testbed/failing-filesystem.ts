/** A filesystem that answers as it is told: with errors, late, or not at all. */
import { readFileSync, statfsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, statfs, writeFile } from 'node:fs/promises'
import type { constants } from 'node:os'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startDaemon } from './command.ts'
import { unmountAll } from './mounts.ts'

/** Which requests of the kernel's to answer otherwise, and how; without an answer, all as it is. */
export interface FuseOrders {
  /** Names as in fuse.h: `WRITE`, `CREATE`, … */
  readonly requests?: readonly string[]
  /** The first of them, counted from 1, that meets it, and how many; default all. */
  readonly from?: number
  readonly count?: number
  readonly error?: keyof typeof constants.errno
  /** They are answered when the orders change. */
  readonly hang?: boolean
  readonly slowMs?: number
}

export interface FailingFilesystem extends AsyncDisposable {
  /** Where it is mounted. */
  readonly directory: string
  /** @returns how many requests the orders before were about */
  order(orders: FuseOrders): Promise<number>
  /** True if a request has met the orders. */
  hasMet(): boolean
}

/** Requests that change something, or bring it down. */
export const changes = [
  'WRITE',
  'CREATE',
  'MKDIR',
  'MKNOD',
  'SYMLINK',
  'LINK',
  'RENAME',
  'RENAME2',
  'SETATTR',
  'SETXATTR',
  'UNLINK',
  'RMDIR',
  'FSYNC',
  'FSYNCDIR',
] as const

export async function openFailingFilesystem(): Promise<FailingFilesystem> {
  const base = await mkdtemp(join(tmpdir(), 'windlass-fuse-'))
  const [backing, directory] = [join(base, 'backing'), join(base, 'fs')]
  const [orders, tally] = [join(base, 'orders'), join(base, 'tally')]
  await mkdir(backing)
  await mkdir(directory)
  const give = async (text: string): Promise<void> => {
    await writeFile(`${orders}.new`, text)
    await rename(`${orders}.new`, orders)
  }
  await give('{}')
  const isMounted = (): boolean => statfsSync(directory).type === 0x65735546
  const args = [join(import.meta.dirname, 'fuse-server.ts'), backing, directory, orders, tally]
  const server = await startDaemon(process.execPath, args, { logFile: join(base, 'log'), isReady: isMounted })
  const tallyOf = (when: 'now' | 'last'): { matched: number; met: number } =>
    JSON.parse(readFileSync(`${tally}.${when}`, 'utf8'))
  return {
    directory,
    async order(wanted) {
      await give(JSON.stringify(wanted))
      await statfs(directory) // it looks at its orders with each request
      return tallyOf('last').matched
    },
    hasMet: () => tallyOf('now').met > 0,
    async [Symbol.asyncDispose]() {
      await give('{}')
      await statfs(directory)
      unmountAll(directory)
      await server[Symbol.asyncDispose]()
      await rm(base, { recursive: true, force: true })
    },
  }
}
