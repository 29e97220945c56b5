/** Where the compressed bytes of a layer can be had while its decompressor is stuck. */
import type { FileHandle } from 'node:fs/promises'
import { openFile } from '../../sys/disk-path.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readDescriptorState, readDescriptors } from '../../sys/process-files.ts'
import type { FoundEngine } from '../engines.ts'
import { temporaryLayers } from '../layer-names.ts'

/** A layer that may be the one. */
export interface LayerFile extends AsyncDisposable {
  /** For people: a path, a reference. */
  readonly name: string
  readonly size: number
  /** What it must hash to, where its name says so. */
  readonly digest: string | undefined
  /** How far the engine has read it; undefined where that cannot be seen. */
  readonly position: number | undefined
  /** The engine has it open no more: it is had again from a registry, under a name that may mean something else by now. */
  readonly isFetched: boolean
  /** From its first byte on, as often as asked. */
  read(): AsyncIterable<Uint8Array>
}

const { dockerd, podman, crio } = temporaryLayers
const kept: Readonly<Partial<Record<FoundEngine['kind'], RegExp>>> = {
  ...{ dockerd, podman, crio },
  containerd: /\/io\.containerd\.content\.v1\.content\/blobs\/sha256\/([0-9a-f]{64})$/,
}

/** A layer that the engine has open. */
export interface LayerDescriptor {
  readonly fd: number
  /** As the kernel names it. */
  readonly target: string
  /** Of containerd, which names the file so. */
  readonly digest: string | undefined
  /** How far the engine has read; undefined where that cannot be seen, as where it reads from places of its own choice. */
  readonly position: number | undefined
}

/** Each layer once, also if it has no name any more. */
export function listLayerDescriptors(host: HostView, { kind, process: { pid } }: FoundEngine): LayerDescriptor[] {
  const pattern = kept[kind]
  const found = new Map<string, LayerDescriptor>()
  for (const { fd, target } of pattern === undefined ? [] : readDescriptors(host, pid)) {
    const [, name] = pattern?.exec(target.replace(/ \(deleted\)$/, '')) ?? []
    if (name === undefined || found.has(name)) continue
    const digest = kind === 'containerd' ? `sha256:${name}` : undefined
    found.set(name, { fd, target, digest, position: positionOf(kind, readDescriptorState(host, pid, fd)?.position) })
  }
  return [...found.values()]
}

/** containerd reads with pread. Of dockerd, 0 says that it has not begun: the layer waits for another one. */
function positionOf(kind: FoundEngine['kind'], position: number | undefined): number | undefined {
  return kind === 'containerd' && position === 0 ? undefined : position
}

/** The layers that the engine has open. They are opened through its descriptors: also what has no name any more. */
export async function openLayerFiles(host: HostView, engine: FoundEngine): Promise<LayerFile[]> {
  const files = listLayerDescriptors(host, engine).map(({ fd, target, digest, position }) =>
    openLayer(`/proc/${engine.process.pid}/fd/${fd}`, { name: target, digest, position }),
  )
  return (await Promise.all(files)).filter(file => file !== undefined)
}

async function openLayer(
  path: string,
  facts: Pick<LayerFile, 'name' | 'digest' | 'position'>,
): Promise<LayerFile | undefined> {
  const file = await openFile(path).catch(() => undefined) // closed meanwhile, or no file
  if (file === undefined) return undefined
  const { size } = file.facts
  return { ...facts, size, isFetched: false, read: () => readAll(file), [Symbol.asyncDispose]: () => file.close() }
}

/** Large reads: each is one trip through libuv's pool. */
const pieceSize = 1 << 20

async function* readAll(file: FileHandle): AsyncGenerator<Uint8Array, void, void> {
  for (let at = 0; ; ) {
    const piece = Buffer.allocUnsafe(pieceSize)
    const { bytesRead } = await file.read(piece, 0, pieceSize, at)
    if (bytesRead === 0) return
    at += bytesRead
    yield piece.subarray(0, bytesRead)
  }
}

/** The same, telling of each piece that comes: a disk may not answer, and a layer may be large. */
export function whileReading(layer: LayerFile, moved: () => void): LayerFile {
  const read = async function* () {
    for await (const piece of layer.read()) {
      moved()
      yield piece
    }
  }
  return { ...layer, read }
}
