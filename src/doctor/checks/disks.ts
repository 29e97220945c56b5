import type { HostView } from '../../sys/host-view.ts'
import type { Engine } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type Check, describeEngine } from './check.ts'

/** Less than this fails the next middling pull. */
const bytesMin = 512 * 1024 * 1024
const shareMin = 0.03

/** Where the engines keep their images. */
export const checkDisks: Check = async ({ host, engines }) => {
  const withRoot = engines.filter(({ dataRoot }) => dataRoot !== undefined)
  const seen = new Set<string>()
  const findings: Finding[] = []
  for (const engine of withRoot) {
    const { dataRoot = '', dataPath = '' } = engine
    if (seen.has(dataPath)) continue
    seen.add(dataPath)
    findings.push(...(await judgeRoot(host, engine, { dataRoot, dataPath })))
  }
  return [...findings, ...judgeOverlay(host)]
}

async function judgeRoot(
  host: HostView,
  engine: Engine,
  { dataRoot, dataPath: path }: { readonly dataRoot: string; readonly dataPath: string },
): Promise<Finding[]> {
  const subject = `${describeEngine(engine)}: ${dataRoot}`
  const space = await host.disk.filesystem(path)
  if (host.disk.silent.has(path))
    return [makeFinding('DISK_SILENT', subject, { evidence: [`statfs of ${path} did not return`] })]
  if (space === undefined) return []
  const mount = findMount(host, path === dataRoot ? 'self' : String(engine.process.pid), dataRoot)
  const findings: Finding[] = []
  const { bytesTotal, bytesFree, inodesTotal, inodesFree } = space
  const facts = { bytesTotal, bytesFree, inodesTotal, inodesFree, filesystem: mount?.type ?? '' }
  const room = `${formatBytes(bytesFree)} of ${formatBytes(bytesTotal)} free`
  const inodes = `${inodesFree.toLocaleString('en-US')} of ${inodesTotal.toLocaleString('en-US')} inodes free`
  if (bytesFree < bytesMin || bytesFree < bytesTotal * shareMin) {
    const severity = bytesFree < bytesMin / 8 ? 'problem' : 'warning'
    findings.push(makeFinding('DISK_FULL', subject, { evidence: [room], facts, severity }))
  }
  if (inodesTotal > 0 && inodesFree < inodesTotal * 0.01)
    findings.push(makeFinding('INODES_EXHAUSTED', subject, { evidence: [inodes], facts }))
  const at = `${mount?.type} on ${mount?.point}, ${mount?.options}`
  if (mount?.options.split(',').includes('ro'))
    findings.push(makeFinding('DISK_READ_ONLY', subject, { evidence: [at], facts }))
  if (/^(nfs|cifs|smb|ceph|glusterfs|9p|fuse)/.test(mount?.type ?? ''))
    findings.push(makeFinding('DISK_ON_NETWORK', subject, { evidence: [at], facts }))
  if (findings.length > 0) return findings
  return [
    makeFinding('DISK_FINE', subject, {
      evidence: [`${room}, ${inodes}, ${mount?.type ?? 'filesystem unknown'}`],
      facts,
    }),
  ]
}

function judgeOverlay(host: HostView): Finding[] {
  const text = host.text('/proc/filesystems')
  if (text === undefined || /\boverlay$/m.test(text)) return []
  const evidence = ['/proc/filesystems does not list overlay; it may be a module that is not loaded yet']
  return [makeFinding('OVERLAY_MISSING', 'kernel', { evidence, confidence: 'likely' })]
}

interface Mount {
  readonly point: string
  readonly type: string
  readonly options: string
}

/** The mount under a path, as the engine sees it: the last of those with the longest mount point. */
function findMount(host: HostView, pid: string, path: string): Mount | undefined {
  const lines = (host.text(`/proc/${pid}/mountinfo`) ?? '').split('\n')
  const mounts = lines.flatMap(line => {
    const [before = '', after = ''] = line.split(' - ')
    const [, , , , point, options] = before.split(' ')
    const [type, , superOptions = ''] = after.split(' ')
    if (point === undefined || type === undefined) return []
    const isReadOnly = superOptions.split(',').includes('ro')
    return [{ point, type, options: isReadOnly ? `ro,${options}` : (options ?? '') }]
  })
  const holding = mounts.filter(({ point }) => point === '/' || path === point || path.startsWith(`${point}/`))
  return holding.reduce<Mount | undefined>(
    (best, mount) => (best === undefined || mount.point.length >= best.point.length ? mount : best),
    undefined,
  )
}

function formatBytes(bytes: number): string {
  const GiB = 1024 ** 3
  return bytes >= GiB ? `${(bytes / GiB).toFixed(1)} GiB` : `${(bytes / 1024 ** 2).toFixed(0)} MiB`
}
