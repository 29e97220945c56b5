import { makeFinding } from '../finding.ts'
import type { CheckOf } from './check.ts'
import { describeDirectory, findMount } from './disk-space.ts'

/** Whether the filesystem tells the types of a directory's entries, which overlayfs needs. */
export const dType: CheckOf<'directory'> = {
  name: 'd-type',
  of: 'directory',
  after: [{ check: 'disk-space', unless: ['DISK_SILENT', 'DISK_ON_NETWORK'] }],
  async look(directory, { host }) {
    if (directory.role !== 'images') return []
    if (host.disk.hasTypes === undefined) return []
    if ((await host.disk.hasTypes(directory.path)) !== false) return []
    const mount = await findMount(host, directory)
    const evidence = [
      `the entries of ${directory.path} have no type (${mount?.type ?? 'filesystem unknown'} on ${mount?.target ?? '?'})`,
    ]
    return [makeFinding('D_TYPE_MISSING', describeDirectory(directory), { evidence })]
  },
}
