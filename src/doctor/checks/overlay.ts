import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'
import { describeDirectory, findMount } from './disk-space.ts'

/** Whether the kernel offers overlayfs. */
export const overlaySupport: CheckOf<'host'> = {
  name: 'overlay-support',
  of: 'host',
  look(_, { host }) {
    const text = host.text('/proc/filesystems')
    if (text === undefined || /\boverlay$/m.test(text)) return []
    const evidence = ['/proc/filesystems does not list overlay; it may be a module that is not loaded yet']
    return [makeFinding('OVERLAY_MISSING', 'kernel', { evidence, confidence: 'likely' })]
  },
}

/** Filesystems that cannot hold the upper directory of an overlay, or only with tricks. */
const unfit = /^(overlay|ecryptfs|ramfs|vfat|exfat|ntfs)/

/** Whether overlayfs works on the filesystem under an engine's images. */
export const overlayPlace: CheckOf<'directory'> = {
  name: 'overlay-place',
  of: 'directory',
  after: [{ check: 'disk-space', unless: ['DISK_SILENT', 'DISK_ON_NETWORK'] }],
  async look(directory, { host }) {
    const mount = await findMount(host, directory)
    if (directory.role !== 'images' || mount === undefined || !unfit.test(mount.type)) return []
    const evidence = [`${directory.name} is on ${mount.type} (${mount.target})`]
    return [makeFinding('OVERLAY_UNFIT', describeDirectory(directory), { evidence })]
  },
}
