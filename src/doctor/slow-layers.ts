/** Layers of a containerd that do not grow, and may come all the same: what has come is in no file until it is a piece of 1 MiB, and what waits for its turn has not been asked for. */
import { type Connection, isUnread, isWaitedOn, quietMsOf } from './connections.ts'
import { silentMs } from './downloads.ts'

/** containerd writes what has come in pieces of 1 MiB: what is slower than these 9 KB a second, and cannot be seen to come otherwise, is called silent. */
export const pieceMs = 120_000

/** What has come since the last piece is less than one. A few seconds tell a speed but roughly: four times as much may have been seen. */
const keptBytesMax = 4 * 1024 * 1024

/** What brings less than these bytes a second brings no layer. */
const bytesPerSecondMin = 1024

/** Answers that are no layers are smaller, altogether. */
const layerBytesMin = 64 * 1024

/** By then who brings enough for a layer has brought a piece, whether it is seen or not. */
const unseenMs = ((1024 * 1024) / bytesPerSecondMin) * 1000

/** A file is written to a moment after the bytes for it have come. */
const slackMs = 2000

/** By as much the clock of the files may have been set since. */
const clockMs = 10_000

/** A layer on its way, as its file shows it. */
export interface LayerFile {
  readonly bytes: number
  /** Since it was written to. */
  readonly idleMs: number
  /** Since it was begun; Infinity where that is not seen. */
  readonly openedMs?: number
}

export interface Flow extends Connection {
  /** What came on it while it was looked at; undefined where that was not seen. */
  readonly bytesPerSecond: number | undefined
}

export interface Flows {
  readonly all: readonly Flow[]
  /** False where others may be there that are not seen. */
  readonly isWhole: boolean
  /** Of registries, as far as they are known. */
  readonly registryPorts: ReadonlySet<string>
}

const isLate = ({ idleMs }: LayerFile) => idleMs >= pieceMs

/**
 * Who is silent has a connection of the engine on which nothing happens for longer than any is kept, and that no other layer needs: where there is none, nobody was asked for what does not come. What has not
 * begun waits for its turn (containerd 2.1 fetches three layers at a time, and opens the files of all), and so may what an earlier pull has begun.
 * @param layers all that an engine has on their way from registries
 * @param flows the connections that it and its clients have made, as far as they are seen
 * @param isBusy it is in the middle of a layer that is all there, and others may wait until it has done with it
 * @returns those to which nothing was written for longer than a piece takes, and which may come all the same
 */
export function findExcused<Layer extends LayerFile>(layers: readonly Layer[], flows?: Flows, isBusy = false): Layer[] {
  const silent = findSilent(layers, flows ?? { all: [], isWhole: false, registryPorts: new Set() }, isBusy)
  return layers.filter(layer => isLate(layer) && !silent.includes(layer))
}

function findSilent(layers: readonly LayerFile[], flows: Flows, isBusy: boolean): readonly LayerFile[] {
  const { all, isWhole } = flows
  if (isWhole && all.length === 0) return []
  // Others are quiet since before any of the layers was begun: they are for something else.
  const own = all.filter(flow => flow.isOwn && layers.some(layer => isLate(layer) && isOfItsTime(flow, layer)))
  const asked = findAsked(layers, flows, isBusy)
  // What comes to others of whom only that is known that they are connected may be anything.
  const seats = asked.length === 0 ? all : own
  const isExcused = (layer: LayerFile) => !isAskedForBy(asked, layer, layers) && hasSeat(layer, layers, seats)
  const unseated = layers.filter(layer => isLate(layer) && !isExcused(layer))
  if (own.length === 0) return isBusy ? [] : findLongStill(layers, unseated)
  const isNothingComing = !isBusy && layers.every(isLate) && unseated.length === layers.length && all.every(isMute)
  if (isWhole && isNothingComing) return layers
  return assign(asked, [...unseated, ...layers.filter(layer => !isLate(layer) && layer.bytes === 0)])
}

/** What an own connection waits for. */
interface Asked extends Flow {
  /** What was begun comes on one that has brought as much. */
  readonly bytesMin: number
}

/** The connections on which the engine, or who is known to write into it, waits for an answer, and that no layer needs that goes on. While something comes, those to ports of no registry may be for anything. */
function findAsked(layers: readonly LayerFile[], { all, registryPorts }: Flows, isBusy: boolean): Asked[] {
  const seats = new Seats(all)
  for (const layer of layers.filter(isGoingOn)) seats.take(layer)
  const goesOn = isBusy || layers.some(isGoingOn) || all.some(flow => flow.isOwn && !isMute(flow))
  const bytesMin = goesOn ? layerBytesMin : 0
  const bringing = [...seats.taken, ...all.filter(({ bytesPerSecond = 0 }) => bytesPerSecond >= bytesPerSecondMin)]
  const ports = new Set([...registryPorts, ...bringing.map(({ remotePort }) => remotePort)])
  const isForAnything = (flow: Flow) => (goesOn || bringing.length > 0) && !ports.has(flow.remotePort)
  const waitedOn = seats.free.filter(flow => isWaitedOn(flow) && !isForAnything(flow))
  const asked = waitedOn.map(flow => ({ ...flow, bytesMin }))
  // Others were asked for something else, long before.
  return asked.filter(flow => layers.some(layer => isLate(layer) && mayBeOf(flow, layer)))
}

/** Since a layer was begun it was asked for, or has come, at least once. Parts of it that are fetched side by side are kept until those before them are written: one may be silent for longer than the file. */
export function isOfItsTime(flow: Flow, { openedMs = Infinity }: LayerFile): boolean {
  return quietMsOf(flow) <= openedMs + clockMs
}

/** Nobody else can have asked on one of these, and what came last on it came less than a piece before it fell silent. */
function isAskedForBy(asked: readonly Asked[], layer: LayerFile, layers: readonly LayerFile[]): boolean {
  return asked.some(flow => {
    const fitting = layers.filter(other => isLate(other) && mayBeOf(flow, other))
    const beforeMs = layer.idleMs - quietMsOf(flow)
    return fitting.length === 1 && fitting[0] === layer && layer.bytes > 0 && beforeMs > -slackMs && beforeMs < pieceMs
  })
}

function isGoingOn(layer: LayerFile): boolean {
  return !isLate(layer) && layer.bytes > 0
}

/** Of late ones those go before that are not half as late; whose it is of others that are alike cannot be known. */
function hasSeat(layer: LayerFile, layers: readonly LayerFile[], flows: readonly Flow[]): boolean {
  const seats = new Seats(flows)
  const before = (other: LayerFile) => isGoingOn(other) || (isLate(other) && other.idleMs * 2 < layer.idleMs)
  for (const other of layers.filter(before)) seats.take(other)
  return seats.take(layer)
}

/** Where the engine's own connections are not seen no layer can be told from one that waits for its turn, unless nothing is written at all: then it is the turn of one that has begun. */
function findLongStill(layers: readonly LayerFile[], unseated: readonly LayerFile[]): readonly LayerFile[] {
  if (layers.some(({ idleMs }) => idleMs < unseenMs)) return []
  const begun = unseated.filter(({ bytes }) => bytes > 0)
  return begun.length > 0 ? begun : unseated
}

/** Each connection is of the layer that fell silent, or was begun, when it did. Those that did so at the same time cannot be told apart. */
function assign(asked: readonly Asked[], layers: readonly LayerFile[]): LayerFile[] {
  const left = new Set(layers)
  const found: LayerFile[] = []
  for (const flow of asked) {
    const fitting = [...left].filter(layer => mayBeOf(flow, layer))
    const distance = (layer: LayerFile) => Math.abs(layer.idleMs - quietMsOf(flow))
    const [nearest] = fitting.sort((a, b) => distance(a) - distance(b))
    if (nearest === undefined) continue
    left.delete(nearest)
    found.push(nearest)
  }
  return layers.filter(layer => found.some(({ idleMs }) => Math.abs(idleMs - layer.idleMs) <= slackMs))
}

/** What has not begun was asked for after its file was opened, and what has begun comes on a connection that has brought a layer. */
function mayBeOf(flow: Asked, layer: LayerFile): boolean {
  if (layer.bytes === 0) return flow.sentMs <= layer.idleMs + clockMs
  return isOfItsTime(flow, layer) && (flow.bytes ?? Infinity) >= flow.bytesMin
}

/** Nothing comes on it, or too little for a layer. What pauses for as long as it was looked at may yet bring enough, who has just asked has no answer yet, and what has come may not be read yet. */
function isMute(flow: Flow): boolean {
  const { bytesPerSecond = 0 } = flow
  if (isUnread(flow)) return false
  return quietMsOf(flow) >= silentMs || (bytesPerSecond > 0 && bytesPerSecond < bytesPerSecondMin)
}

/** Which connection may bring which layer: each brings one. */
class Seats {
  readonly #flows: readonly Flow[]
  readonly #taken = new Map<Flow, LayerFile>()

  constructor(flows: readonly Flow[]) {
    // What brings most belongs to who was written to lately; what is left over brings something as late as can be.
    const speed = ({ bytesPerSecond = 0 }: Flow) => bytesPerSecond
    this.#flows = flows.toSorted((a, b) => speed(b) - speed(a) || b.idleMs - a.idleMs)
  }

  /** Those that have one keep one, though it may become another. @returns whether there is one for this layer, too */
  take(layer: LayerFile, tried: Set<Flow> = new Set()): boolean {
    for (const flow of this.#flows) {
      if (tried.has(flow) || !mayBring(flow, layer)) continue
      tried.add(flow)
      const holder = this.#taken.get(flow)
      if (holder !== undefined && !this.take(holder, tried)) continue
      this.#taken.set(flow, layer)
      return true
    }
    return false
  }

  get taken(): Flow[] {
    return [...this.#taken.keys()]
  }

  get free(): Flow[] {
    return this.#flows.filter(flow => !this.#taken.has(flow))
  }
}

/** Something came on it since the file was written to, and, where it is late, not as much as would have been written by now, or nobody has read it yet. */
function mayBring(flow: Flow, layer: LayerFile): boolean {
  if (isLate(layer) && isUnread(flow)) return true
  const { idleMs, bytes = Infinity, bytesPerSecond = 0 } = flow
  if (idleMs > layer.idleMs + slackMs) return false
  // What an earlier pull has begun is older than its connection.
  const broughtBytes = Math.min(bytes, (bytesPerSecond * layer.idleMs) / 1000)
  return !isLate(layer) || (bytesPerSecond >= bytesPerSecondMin && broughtBytes < keptBytesMax)
}
