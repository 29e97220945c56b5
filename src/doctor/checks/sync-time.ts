import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'
import { describeDirectory } from './disk-space.ts'

/** A hard disk does it in 20 ms. An engine syncs some times for each layer, podman for each file. */
const slowMs = 150

/** How long the disk takes to make a small file durable. Writes one without a name, and so only where the user allowed it. */
export const syncTime: CheckOf<'directory'> = {
  name: 'sync-time',
  of: 'directory',
  after: [{ check: 'disk-space', unless: ['DISK_SILENT', 'DISK_READ_ONLY', 'DISK_ON_NETWORK', 'INODES_EXHAUSTED'] }],
  async look(directory, { host, mayTry }) {
    const { path, role } = directory
    if (!mayTry || role !== 'images' || host.disk.measureSync === undefined) return []
    const subject = describeDirectory(directory)
    const ms = await host.disk.measureSync(path)
    if (ms === undefined) {
      const evidence = [
        host.disk.silent.has(path)
          ? `a small file under ${path} was not on the disk after 5 s`
          : `no file without a name can be made under ${path}: the filesystem cannot, or it is not ours to write to`,
      ]
      return [makeFinding(host.disk.silent.has(path) ? 'SYNC_SLOW' : 'DISKS_UNSEEN', subject, { evidence })]
    }
    const evidence = [`4 KiB were on the disk after ${ms.toFixed(1)} ms (median of 5)`]
    return [makeFinding(ms > slowMs ? 'SYNC_SLOW' : 'SYNC_FAST', subject, { evidence, facts: { ms } })]
  },
}
