import { constants, type Dirent } from 'node:fs'
import { access, lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { PackRoot } from '../../layer/pack.ts'

/** One layer of the demo image: what goes in, and how much it is. */
export interface ChosenLayer {
  readonly title: string
  readonly roots: readonly PackRoot[]
  readonly bytes: number
}

/** Where every Linux has files by the hundred megabytes, and how much of the image each may be. */
const origins = [
  { title: 'programs', directories: ['/usr/bin', '/usr/sbin'], share: 0.25 },
  { title: 'libraries', directories: ['/usr/lib', '/usr/lib64'], share: 0.5 },
  { title: 'data', directories: ['/usr/share'], share: 0.25 },
] as const

/** Links at the root without which no program of the image would start. */
const rootLinks = ['/bin', '/sbin', '/lib', '/lib32', '/lib64']

/** Chooses about `bytesMax` of this machine's own files, split into layers as an image is. */
export async function chooseFiles(bytesMax: number, signal: AbortSignal): Promise<ChosenLayer[]> {
  const layers: ChosenLayer[] = []
  for (const { title, directories, share } of origins) {
    const roots: PackRoot[] = layers.length === 0 ? await listRootLinks() : []
    let left = bytesMax * share
    for (const directory of directories) {
      for (const entry of await listDirectory(directory)) {
        signal.throwIfAborted()
        const path = join(directory, entry.name)
        const bytes = await measure(path, entry, left).catch(leaveOut)
        if (bytes > left) continue
        left -= bytes
        roots.push({ from: path, to: path.slice(1) })
      }
    }
    if (roots.length > 0) layers.push({ title, roots, bytes: Math.round(bytesMax * share - left) })
  }
  return layers
}

async function listRootLinks(): Promise<PackRoot[]> {
  const links: PackRoot[] = []
  for (const path of rootLinks) {
    const stat = await lstat(path).catch(() => undefined)
    if (stat?.isSymbolicLink()) links.push({ from: path, to: path.slice(1) })
  }
  return links
}

async function listDirectory(directory: string): Promise<Dirent[]> {
  const stat = await lstat(directory).catch(() => undefined)
  if (stat === undefined || !stat.isDirectory()) return []
  const entries = await readdir(directory, { withFileTypes: true })
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** What an ordinary user may not read, with all that it stands in. */
function leaveOut(error: NodeJS.ErrnoException): number {
  if (error.code !== 'EACCES') throw error
  return Infinity
}

/** Bytes of the files at and below a path; no further than just above `bytesMax`. */
async function measure(path: string, entry: Dirent, bytesMax: number): Promise<number> {
  if (entry.isFile()) {
    await access(path, constants.R_OK)
    return (await lstat(path)).size
  }
  if (!entry.isDirectory()) return 0
  let bytes = 0
  for (const child of await readdir(path, { withFileTypes: true })) {
    bytes += await measure(join(path, child.name), child, bytesMax - bytes)
    if (bytes > bytesMax) break
  }
  return bytes
}
