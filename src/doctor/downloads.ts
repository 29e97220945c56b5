/** Layers that an engine is downloading, seen by the files that it writes them to. */
import { join } from 'node:path'
import type { HostView } from '../sys/host-view.ts'
import { readDescriptorState, readDescriptors } from '../sys/process-files.ts'
import { asEngineNames, type FoundEngine } from './engines.ts'
import { temporaryLayers } from './layer-names.ts'

/** One layer on its way. */
export interface Download {
  readonly engine: FoundEngine
  /** The file, as the engine names it. */
  readonly path: string
  readonly bytes: number
  /** Where the engine writes it down. */
  readonly total: number | undefined
  /** What the engine calls it: a digest, where that can be seen. */
  readonly reference: string | undefined
  /** Since the last byte was written, by the time of the file: below 0 where one of the clocks is wrong. */
  readonly idleMs: number
  /** Since the engine has begun with it, or an earlier pull has, where it writes something beside it; since the last byte was written where that is not told. */
  readonly openedMs?: number
  /** It is all there, and the engine is in the middle of it: it unpacks it, or makes it durable. */
  readonly isUnpacked: boolean
  /** Where the engine stands in it, as far as it reads or writes one byte after the other. */
  readonly position?: number
  /** A client writes it into the engine: what comes late does not come late from a registry. */
  readonly isSent: boolean
  /** It is read from its beginning, to go on where an earlier pull has stopped: nobody is asked for the rest meanwhile. */
  readonly isReread: boolean
}

/** From here on a silent body is called so: as long as our own pulls wait for one. */
export const silentMs = 15_000

const temporary: Readonly<Partial<Record<FoundEngine['kind'], RegExp>>> = temporaryLayers
/** A content store of containerd, also within buildkitd. */
const ingest = /^(\/.*\/ingest\/[^/]+)\/data$/

export async function findDownloads(host: HostView, engine: FoundEngine): Promise<Download[]> {
  return (await findLayerFiles(host, engine)).filter(({ isUnpacked }) => !isUnpacked)
}

/** Those that are all there, too. */
export async function findLayerFiles(host: HostView, engine: FoundEngine): Promise<Download[]> {
  const { kind, process } = engine
  const opened = readDescriptors(host, process.pid)
  const pattern = temporary[kind]
  if (pattern !== undefined) {
    const files = opened.filter(({ target }) => pattern.test(target))
    return await collect(files.map(({ fd, target }) => readTemporary(host, engine, fd, target)))
  }
  if (kind !== 'containerd' && kind !== 'buildkitd') return []
  // Whether somebody only reads there.
  const named = new Map<string, boolean>()
  for (const { fd, target } of opened) {
    const [, open] = ingest.exec(target) ?? []
    if (open === undefined) continue
    const directory = asEngineNames(host, process.pid, open)
    const isReader = readDescriptorState(host, process.pid, fd)?.isWriter === false
    named.set(directory, isReader || named.get(directory) === true)
  }
  const found = [...named].map(([directory, isReread]) => ({ directory: placeOf(engine, directory), isReread }))
  return await collect(found.map(({ directory, isReread }) => readIngest(host, engine, directory, isReread)))
}

/** The same directory as we reach it. */
function placeOf({ dataRoot, dataPath, rootPrefix }: FoundEngine, directory: string): string {
  const isBelow = dataRoot !== undefined && dataPath !== undefined && directory.startsWith(`${dataRoot}/`)
  return isBelow ? dataPath + directory.slice(dataRoot.length) : rootPrefix + directory
}

async function collect(found: readonly Promise<Download | undefined>[]): Promise<Download[]> {
  return (await Promise.all(found)).filter(download => download !== undefined)
}

/**
 * While it downloads the engine stands at the end of the file; to wait for the layer below, and to unpack, it goes back to the beginning, or opens it anew to read.
 * Who has read all of it stands at the end once more.
 */
async function readTemporary(
  host: HostView,
  engine: FoundEngine,
  fd: number,
  path: string,
): Promise<Download | undefined> {
  // The size first: who writes stands at the end, or beyond the end that was seen.
  const file = await host.disk.file(`/proc/${engine.process.pid}/fd/${fd}`)
  const state = readDescriptorState(host, engine.process.pid, fd)
  if (file === undefined || state?.isWriter !== true) return undefined
  const isUnpacked = state.position < file.size
  if (isUnpacked && state.position === 0) return undefined
  const idleMs = host.now() - file.mtimeMs
  const { position } = state
  const common = { engine, path, bytes: file.size, total: undefined, reference: undefined }
  return { ...common, idleMs, isUnpacked, position, isSent: false, isReread: false }
}

/** The kernel has told where it is: if there is a symlink now, somebody wants to have something else read. */
const asTold = { isPlain: true }
/** `NAMESPACE/NUMBER/KIND-ALGORITHM:HEX`, from a file that anybody may have written: nothing else of it is told. */
const referenceOf = /^[\w./-]{0,200}?sha(?:256|384|512):[0-9a-f]{64,128}(?=\s*$)/
/** What is fetched from a registry is called by its digest (remotes.MakeRefKey of containerd), an archive's part `tar-NAME`; other names are those of whoever makes layers. */
const fetched = /^(?!(?:[^/\n]*\/\d+\/)?tar-)[^\n]*sha(?:256|384|512):[0-9a-f]{64,128}\s*$/

/** containerd writes down beside the data what it is, and how much it will be. */
async function readIngest(
  host: HostView,
  engine: FoundEngine,
  directory: string,
  isReread: boolean,
): Promise<Download | undefined> {
  const file = await host.disk.file(join(directory, 'data'))
  if (file === undefined) return undefined
  const begun = await host.disk.file(join(directory, 'ref'))
  const total = Number((await host.disk.text(join(directory, 'total'), asTold)) ?? Number.NaN)
  const name = await host.disk.text(join(directory, 'ref'), asTold)
  const [reference] = referenceOf.exec(name ?? '') ?? []
  const isSent = name !== undefined && !fetched.test(name)
  const path = join(directory, 'data')
  const isUnpacked = total > 0 && total === file.size
  const idleMs = host.now() - file.mtimeMs
  const times = { idleMs, openedMs: begun === undefined ? idleMs : host.now() - begun.mtimeMs }
  const size = { bytes: file.size, total: total > 0 ? total : undefined }
  return { engine, path, ...size, ...times, reference, isUnpacked, isSent, isReread }
}
