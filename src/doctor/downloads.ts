/** Layers that an engine is downloading, seen by the files that it writes them to. */
import { join } from 'node:path'
import type { HostView } from '../sys/host-view.ts'
import type { Engine } from './engines.ts'
import { readDescriptorState, readDescriptors } from './processes.ts'

/** One layer on its way. */
export interface Download {
  readonly engine: Engine
  /** The file, as the engine names it. */
  readonly path: string
  readonly bytes: number
  /** Where the engine writes it down. */
  readonly total: number | undefined
  /** What the engine calls it: a digest, where that can be seen. */
  readonly reference: string | undefined
  /** Since the last byte was written. */
  readonly idleMs: number
}

const temporary: Readonly<Partial<Record<Engine['kind'], RegExp>>> = {
  dockerd: /\/tmp\/GetImageBlob\d+$/,
  podman: /\/container_images_storage[^/]*\/\d+$/,
  buildah: /\/container_images_storage[^/]*\/\d+$/,
  skopeo: /\/container_images_storage[^/]*\/\d+$/,
  crio: /\/container_images_storage[^/]*\/\d+$/,
}

export function findDownloads(host: HostView, engine: Engine): Download[] {
  const { kind, process, dataRoot, rootPrefix } = engine
  const opened = readDescriptors(host, process.pid)
  const pattern = temporary[kind]
  if (pattern !== undefined) {
    return opened
      .filter(({ target }) => pattern.test(target))
      .flatMap(({ fd, target }) => readTemporary(host, engine, fd, target))
  }
  if (kind !== 'containerd' || dataRoot === undefined) return []
  const ingests = join(dataRoot, 'io.containerd.content.v1.content/ingest')
  const written = new Set(opened.map(({ target }) => target))
  return host
    .names(rootPrefix + ingests)
    .filter(name => written.has(join(ingests, name, 'data')))
    .flatMap(name => readIngest(host, engine, join(ingests, name)))
}

/** While it downloads the engine stands at the end of the file; to wait for the layer below, and to unpack, it goes back to the beginning. */
function readTemporary(host: HostView, engine: Engine, fd: number, path: string): Download[] {
  const state = readDescriptorState(host, engine.process.pid, fd)
  const file = host.file(`/proc/${engine.process.pid}/fd/${fd}`)
  if (file === undefined || state === undefined || state.position !== file.size) return []
  const idleMs = Math.max(0, host.now() - file.mtimeMs)
  return [{ engine, path, bytes: file.size, total: undefined, reference: undefined, idleMs }]
}

/** containerd writes down beside the data what it is, and how much it will be. */
function readIngest(host: HostView, engine: Engine, directory: string): Download[] {
  const { rootPrefix } = engine
  const file = host.file(join(rootPrefix + directory, 'data'))
  if (file === undefined) return []
  const total = Number(host.text(join(rootPrefix + directory, 'total')) ?? Number.NaN)
  const reference = host.text(join(rootPrefix + directory, 'ref'))
  const common = { engine, path: join(directory, 'data'), bytes: file.size, reference }
  if (total === file.size) return []
  const idleMs = Math.max(0, host.now() - file.mtimeMs)
  return [{ ...common, total: Number.isNaN(total) || total === 0 ? undefined : total, idleMs }]
}
