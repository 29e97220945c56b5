/** Did it help? What the engine itself shows after a rescue, and had not shown before it. */
import { join } from 'node:path'
import { isWindlassError } from '../../errors.ts'
import { isDigest } from '../../oci/digest.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readDescriptors } from '../../sys/process-files.ts'
import { readProcess } from '../../sys/tasks.ts'
import { holdSocketOf } from '../engines.ts'
import type { RescuePlan } from './rescue.ts'

export interface Proof {
  readonly isProven: boolean
  /** The engine has come to the end of the layer, whether or not it can be seen that it has verified it. */
  readonly hasEnded: boolean
  readonly text: string
}

interface ProofOptions {
  readonly signal: AbortSignal
  /** Told at each look: the proof takes its own time at most. */
  readonly moved?: (() => void) | undefined
  /** What `readTaken` gave before the rescue. */
  readonly before: ReadonlySet<string> | undefined
}

/** The end of a large layer is put on the disk. */
const proofMs = 60_000
const lookMs = 250
/** containerd notes that it has verified a layer right after it has closed it. */
const notedMs = 5000
const answerMs = 2000

export async function proveEnd(
  host: HostView,
  plan: RescuePlan,
  { signal, before, moved }: ProofOptions,
): Promise<Proof> {
  const { engine, untar } = plan.subject.line
  const name = `${engine.kind} ${engine.process.pid}`
  let isOver: number | undefined
  for (const start = host.elapsed(); host.elapsed() - start < proofMs; ) {
    moved?.()
    if (readProcess(engine.process.pid, host)?.startTicks !== engine.process.startTicks)
      return { isProven: false, hasEnded: false, text: `${name} has ended meanwhile` }
    const isUnpacking = untar !== undefined && readProcess(untar.pid, host)?.startTicks === untar.startTicks
    const taken = isUnpacking || before === undefined ? undefined : await readTaken(host, plan, signal)
    if ([...(taken ?? [])].some(one => before?.has(one) === false))
      return {
        isProven: true,
        hasEnded: true,
        text: `${name} has taken the layer, checked its digest and registered it`,
      }
    if (engine.kind !== 'dockerd' && !isReading(host, engine.process.pid, plan.choice.layer.name))
      isOver ??= host.elapsed()
    if (isOver !== undefined && host.elapsed() - isOver > notedMs)
      return {
        isProven: false,
        hasEnded: true,
        text: `${name} has come to the end of the layer; ${before === undefined || before.size === 0 ? 'whether it has verified it cannot be seen' : 'the layer was registered before, so that nothing new is to be seen'}`,
      }
    await host.pause(lookMs, signal)
  }
  return {
    isProven: false,
    hasEnded: false,
    text: `${name} has all bytes of the layer, but has not registered it within ${proofMs / 1000} s: whoever waits for it may have got an error`,
  }
}

function isReading(host: HostView, pid: number, path: string): boolean {
  return readDescriptors(host, pid).some(({ target }) => target === path)
}

/** Where the engine shows that it has unpacked and verified this layer; undefined if it does not tell. */
export async function readTaken(
  host: HostView,
  plan: RescuePlan,
  signal: AbortSignal,
): Promise<ReadonlySet<string> | undefined> {
  const { kind } = plan.subject.line.engine
  if (kind === 'dockerd') return await readRegistered(host, plan)
  return kind === 'containerd' ? await readNoted(host, plan, signal) : new Set()
}

/** dockerd keeps a directory for each layer that it has verified, with its diffId in it. */
async function readRegistered(host: HostView, { subject, choice }: RescuePlan): Promise<Set<string>> {
  const found = new Set<string>()
  const { dataPath } = subject.line.engine
  if (dataPath === undefined) return found
  const image = join(dataPath, 'image')
  for (const driver of await host.disk.names(image)) {
    const layers = join(image, driver, 'layerdb', 'sha256')
    for (const chain of await host.disk.names(layers)) {
      if ((await host.disk.text(join(layers, chain, 'diff')))?.trim() === choice.diffId) found.add(join(layers, chain))
    }
  }
  return found
}

/** What clients of containerd put on a layer's content once it is verified and its snapshot committed. It outlives the snapshot. */
const verifiedLabel = 'containerd.io/uncompressed'
const snapshotterDirectory = /^io\.containerd\.snapshotter\.v1\.(.+)$/

/** Among the sockets of a containerd there are some that speak another protocol, and do not answer. */
async function readNoted(
  host: HostView,
  { subject, choice }: RescuePlan,
  signal: AbortSignal,
): Promise<Set<string> | undefined> {
  const { engine } = subject.line
  const { sockets, dataPath } = engine
  const names = dataPath === undefined ? [] : await host.disk.names(dataPath)
  if (dataPath !== undefined && names.length === 0) return undefined // its disk does not answer
  const snapshotters = names.flatMap(name => snapshotterDirectory.exec(name)?.[1] ?? [])
  for (const socket of sockets.filter(path => !path.endsWith('.ttrpc'))) {
    await using held = await holdSocketOf(host, engine, socket)
    const noted = held && (await askForNoted(held.place, { ...choice, snapshotters }, signal))
    if (noted !== undefined) return noted
  }
  return undefined
}

interface Wanted extends Pick<RescuePlan['choice'], 'digest' | 'diffId'> {
  readonly snapshotters: readonly string[]
}

/** @returns the namespaces in which its content is noted, and the snapshots in which it is; undefined if nobody answers there */
async function askForNoted(
  socket: string,
  { digest, diffId, snapshotters }: Wanted,
  signal: AbortSignal,
): Promise<Set<string> | undefined> {
  const [{ ContainerdClient }, { findContent }, { listNamespaces }, { findLayers }] = await Promise.all([
    import('../../places/containerd/client.ts'),
    import('../../places/containerd/content.ts'),
    import('../../places/containerd/namespaces.ts'),
    import('../../places/containerd/snapshots.ts'),
  ])
  const inTime = AbortSignal.any([signal, AbortSignal.timeout(answerMs)])
  const open = (namespace: string) => new ContainerdClient({ socket, namespace })
  const found = new Set<string>()
  try {
    using first = open('default')
    for (const namespace of await listNamespaces(first, inTime)) {
      using client = open(namespace)
      const content = isDigest(digest) ? await findContent(client, digest, inTime) : undefined
      if (content?.labels[verifiedLabel] === diffId) found.add(namespace)
      for (const snapshotter of snapshotters) {
        const layers = isDigest(diffId) ? await findLayers(client, snapshotter, { diffId, signal: inTime }) : []
        for (const layer of layers) found.add(`${namespace} ${snapshotter} ${layer}`)
      }
    }
  } catch (error) {
    signal.throwIfAborted()
    if (!inTime.aborted && !isWindlassError(error)) throw error
    return undefined
  }
  return found
}
