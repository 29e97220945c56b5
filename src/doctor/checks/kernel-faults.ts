import { findMountOf, parseMountInfo } from '../../sys/mounts.ts'
import { makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** Linux 5.15.63 to .86: ext4 and its journal wait for each other under load, and every writer with them. */
const release = /^5\.15\.(\d+)/
const [first, last] = [63, 86]

/** Whether the kernel is one on which the filesystem under the data root is known to hang by itself. A distribution that counts its kernels in its own way is not judged. */
export const kernelFaults: CheckOf<'engine'> = {
  name: 'kernel-faults',
  of: 'engine',
  look(engine, { host }) {
    const text = host.text('/proc/sys/kernel/osrelease')?.trim() ?? ''
    const patch = Number(release.exec(text)?.[1] ?? 0)
    if (engine.dataRoot === undefined || patch < first || patch > last) return []
    const mounts = parseMountInfo(host.text(`/proc/${engine.process.pid}/mountinfo`) ?? '')
    if (findMountOf(engine.dataRoot, mounts)?.type !== 'ext4') return []
    const evidence = [`this is Linux ${text}, and ${engine.dataRoot} is on ext4`]
    return [makeFinding('KERNEL_KNOWN_FAULT', describeEngine(engine), { evidence })]
  },
}
