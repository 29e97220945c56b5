import type { HostView } from '../../sys/host-view.ts'
import { findMountOf, isServed, type MountPoint, parseMountInfo } from '../../sys/mounts.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine, type EngineDirectory } from './check.ts'

/** Less than this fails the next middling pull. */
const bytesMin = 512 * 1024 * 1024
const shareMin = 0.03
const inodeShareMin = 0.01

/** Whether the filesystem under a directory answers, may be written to, and has room: blocks and inodes. */
export const diskSpace: CheckOf<'directory'> = {
  name: 'disk-space',
  of: 'directory',
  boundMs: 15_000,
  async look(directory, { host }) {
    const { path } = directory
    const subject = describeDirectory(directory)
    const space = await host.disk.filesystem(path)
    if (host.disk.silent.has(path))
      return [makeFinding('DISK_SILENT', subject, { evidence: [`statfs of ${path} did not return`] })]
    if (space === undefined) {
      const evidence = [
        host.disk.unasked?.has(path)
          ? `${path} was not asked: other files have not answered yet`
          : `statfs of ${path} failed: it is not there, or only root may look there`,
      ]
      return [makeFinding('DISKS_UNSEEN', subject, { evidence, severity: 'note' })]
    }
    return judge(subject, space, await findMount(host, directory))
  },
}

type Space = NonNullable<Awaited<ReturnType<HostView['disk']['filesystem']>>>

function judge(subject: string, space: Space, mount: MountPoint | undefined): Finding[] {
  const { bytesTotal, bytesFree, inodesTotal, inodesFree } = space
  const facts = { bytesTotal, bytesFree, inodesTotal, inodesFree, filesystem: mount?.type ?? '' }
  const room = `${formatBytes(bytesFree)} of ${formatBytes(bytesTotal)} free`
  const inodes = `${inodesFree.toLocaleString('en-US')} of ${inodesTotal.toLocaleString('en-US')} inodes free`
  const findings: Finding[] = []
  if (bytesFree < bytesMin || bytesFree < bytesTotal * shareMin) {
    const severity = bytesFree < bytesMin / 8 ? 'problem' : 'warning'
    findings.push(makeFinding('DISK_FULL', subject, { evidence: [room], facts, severity }))
  }
  if (inodesTotal > 0 && inodesFree < inodesTotal * inodeShareMin)
    findings.push(makeFinding('INODES_EXHAUSTED', subject, { evidence: [inodes], facts }))
  const at = `${mount?.type} on ${mount?.target}, ${mount?.options.join(',')}, ${mount?.superOptions.join(',')}`
  if (mount?.options.includes('ro') || mount?.superOptions.includes('ro'))
    findings.push(makeFinding('DISK_READ_ONLY', subject, { evidence: [at], facts }))
  if (isServed(mount?.type ?? '')) findings.push(makeFinding('DISK_ON_NETWORK', subject, { evidence: [at], facts }))
  if (findings.length > 0) return findings
  const evidence = [`${room}, ${inodes}, ${mount?.type ?? 'filesystem unknown'}`]
  return [makeFinding('DISK_FINE', subject, { evidence, facts })]
}

export function describeDirectory({ engine, name }: EngineDirectory): string {
  return `${describeEngine(engine)}: ${name}`
}

/** statfs(2). */
const magics: ReadonlyMap<number, RegExp> = new Map([
  [0xef53, /^ext[234]$/],
  [0x58465342, /^xfs$/],
  [0x9123683e, /^btrfs$/],
  [0x794c7630, /^overlay$/],
  [0x01021994, /^tmpfs$/],
  [0x6969, /^nfs/],
  [0x65735546, /^fuse/],
  [0x01021997, /^9p$/],
])

/**
 * The mount under a directory, as the engine sees it. Undefined where the names do not fit together, since an engine may live in a root of its own: what the
 * filesystem itself says it is decides.
 */
export async function findMount(
  host: HostView,
  { engine, name, path }: EngineDirectory,
): Promise<MountPoint | undefined> {
  const pid = path === name ? 'self' : String(engine.process.pid)
  const mount = findMountOf(name, parseMountInfo(host.text(`/proc/${pid}/mountinfo`) ?? ''))
  const { magic } = (await host.disk.filesystem(path)) ?? {}
  const wanted = magic === undefined ? undefined : magics.get(magic)
  return mount === undefined || wanted?.test(mount.type) === false ? undefined : mount
}

function formatBytes(bytes: number): string {
  const GiB = 1024 ** 3
  return bytes >= GiB ? `${(bytes / GiB).toFixed(1)} GiB` : `${(bytes / 1024 ** 2).toFixed(0)} MiB`
}
