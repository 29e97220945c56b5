import { readdirSync, readFileSync, statSync } from 'node:fs'
import { arch, availableParallelism, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { hasDType, hasTrustedXattr, readDiskSpace } from '../../sys/disk.ts'
import { findMountOf, readMounts } from '../../sys/mounts.ts'
import type { StoreContext } from './context.ts'
import { listImageMounts } from './image-mounts.ts'
import type { StoreInfo } from './types.ts'

/** Gathers what `info` shows. Counts and sizes are the database's; only partials are looked up on the disk. */
export async function readStoreInfo(context: StoreContext): Promise<StoreInfo> {
  const { layout, database } = context
  const mounts = readMounts()
  const space = await readDiskSpace(layout.root)
  const partials = readdirSync(layout.partials)
  return {
    root: layout.root,
    driver: 'overlay2',
    backingFilesystem: findMountOf(layout.root, mounts)?.type ?? 'unknown',
    supportsDType: hasDType(layout.root),
    supportsTrustedXattr: hasTrustedXattr(layout.ingests),
    ...database.readTotals(),
    partials: partials.length,
    bytesPartials: partials.reduce((sum, name) => sum + sizeOf(join(layout.partials, name)), 0),
    mounts: listImageMounts(context, mounts).length,
    filesystemBytes: space.bytes,
    filesystemBytesFree: space.bytesFree,
    kernel: release(),
    operatingSystem: readOperatingSystem(),
    architecture: architectures[arch()] ?? arch(),
    cores: availableParallelism(),
    memoryBytes: totalmem(),
  }
}

/** Node's names to the kernel's, which `docker info` shows. */
const architectures: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' }

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

/** os-release(5): shell-like assignments. */
function readOperatingSystem(): string {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    try {
      const name = /^PRETTY_NAME=(?:"([^"\n]*)"|'([^'\n]*)'|(.*))$/m.exec(readFileSync(path, 'utf8'))
      const text = name?.[1] ?? name?.[2] ?? name?.[3]
      if (text !== undefined) return text
    } catch {} // the other place may have it
  }
  return 'Linux'
}
