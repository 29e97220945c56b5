/** Room kept back on the store's filesystem, so that a full one can still be opened and cleared out. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { syncDirectoryNow } from '../../sys/disk.ts'
import { isInUserNamespace } from '../../sys/user-namespace.ts'
import type { Layout } from './layout.ts'

/** Opening needs an inode each for the database's WAL and its index, a session one for its directory; hence several files. */
const fileCount = 8

/** In all 1 MiB: the WAL's index takes 32 KiB, the removal of an image of 130 layers some 200 KiB of WAL, a collection of many images more. */
const fileSize = 128 * 1024

/** Free space from which on a reserve is made: a small filesystem is not filled for its sake. */
const roomMin = 16 * 1024 * 1024

/** True if what is left is not enough to work with. */
export function isNearlyFull(path: string): boolean {
  const { bytes, inodes } = readFree(path)
  return bytes < fileCount * fileSize || inodes < fileCount
}

/**
 * Root may also use the blocks that ext4 holds back from others, but not those that it keeps for itself (ext4_calculate_resv_clusters: 2 %, at most
 * 4096) and counts as free. A filesystem without a fixed number of inodes says it has 0.
 */
function readFree(path: string): { bytes: number; inodes: number } {
  const { bsize, blocks, bfree, bavail, files, ffree } = statfsSync(path)
  const usable =
    process.getuid?.() === 0 && !isInUserNamespace
      ? Math.max(0, bfree - Math.min(Math.floor(blocks / 50), 4096))
      : bavail
  return { bytes: bsize * usable, inodes: files === 0 ? Infinity : ffree }
}

/** Makes what is missing of the reserve if there is plenty of room. */
export function keepReserve(layout: Layout): void {
  if (!isWhole(layout) && readFree(layout.root).bytes >= roomMin) makeReserve(layout)
}

function listFiles({ reserve }: Layout): string[] {
  return Array.from({ length: fileCount }, (_, n) => join(reserve, String(n)))
}

function isWhole(layout: Layout): boolean {
  return listFiles(layout).every(path => statSync(path, { throwIfNoEntry: false })?.size === fileSize)
}

/** As much of the reserve as there is room for; who cannot make it works on without. Random bytes, since a filesystem may compress zeros to nothing. */
export function makeReserve(layout: Layout): void {
  try {
    mkdirSync(layout.reserve, { recursive: true, mode: 0o700 })
    for (const path of listFiles(layout)) writeFileSync(path, randomBytes(fileSize), { mode: 0o600 })
  } catch {}
}

/** Gives the reserve up. False if there was none. */
export function dropReserve(layout: Layout): boolean {
  const there = listFiles(layout).filter(path => statSync(path, { throwIfNoEntry: false }) !== undefined)
  for (const path of there) rmSync(path, { force: true })
  // ext4 hands blocks out again only when the transaction that freed them is on the disk
  if (there.length > 0) syncDirectoryNow(layout.reserve)
  return there.length > 0
}
