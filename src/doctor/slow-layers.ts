/** Layers of a containerd that do not grow, and may come all the same: what has come is in no file until it is a piece of 1 MiB, and what waits for its turn has not been asked for. */
import type { Connection } from './connections.ts'
import { silentMs } from './downloads.ts'

/** containerd writes what has come in pieces of 1 MiB: what is slower than these 9 KB a second, and cannot be seen to come otherwise, is called silent. */
export const pieceMs = 120_000

/** What has come since the last piece is less than one. A few seconds tell a speed but roughly: four times as much may have been seen. */
const keptBytesMax = 4 * 1024 * 1024

/** What brings less than these bytes a second brings no layer. */
const bytesPerSecondMin = 1024

/** What the engine keeps for the next request is closed a while after that, or said to be. */
const closedMs = 30_000

/** Answers that are no layers are smaller, altogether. */
const layerBytesMin = 64 * 1024

/** By then who brings enough for a layer has brought a piece, whether it is seen or not. */
const unseenMs = ((1024 * 1024) / bytesPerSecondMin) * 1000

/** A file is written to a moment after the bytes for it have come. */
const slackMs = 2000

/** A layer on its way, as its file shows it. */
export interface LayerFile {
  readonly bytes: number
  /** Since it was written to. */
  readonly idleMs: number
}

export interface Flow extends Connection {
  /** What came on it while it was looked at; undefined where that was not seen. */
  readonly bytesPerSecond: number | undefined
}

export interface Flows {
  readonly all: readonly Flow[]
  /** False where others may be there that are not seen. */
  readonly isWhole: boolean
}

const isLate = ({ idleMs }: LayerFile) => idleMs >= pieceMs

/**
 * Who is silent has a connection of the engine that brings nothing for longer than any is kept, and that no other layer needs: where there is none, nobody was asked for what does not come. What has not
 * begun waits for its turn (containerd 2.1 fetches three layers at a time, and opens the files of all), and so may what an earlier pull has begun.
 * @param layers all that an engine has on their way from registries
 * @param flows the connections that it and its clients have made, as far as they are seen
 * @returns those to which nothing was written for longer than a piece takes, and which may come all the same
 */
export function findExcused<Layer extends LayerFile>(layers: readonly Layer[], flows?: Flows): Layer[] {
  const silent = findSilent(layers, flows ?? { all: [], isWhole: false })
  return layers.filter(layer => isLate(layer) && !silent.includes(layer))
}

function findSilent(layers: readonly LayerFile[], { all, isWhole }: Flows): readonly LayerFile[] {
  const own = all.filter(({ isOwn }) => isOwn)
  const asked = findAsked(layers, all)
  // What comes to others of whom only that is known that they are connected may be anything.
  const seats = asked.length === 0 ? all : own
  const unseated = layers.filter(layer => isLate(layer) && !hasSeat(layer, layers, seats))
  if (own.length === 0) return findLongStill(layers, unseated)
  const isNothingComing = layers.every(isLate) && unseated.length === layers.length && own.every(isMute)
  if (isWhole && isNothingComing) return layers
  return assign(asked, [...unseated, ...layers.filter(layer => !isLate(layer) && layer.bytes === 0)])
}

/** The connections on which the engine, or who is known to write into it, waits for an answer, and that no layer needs that goes on. */
function findAsked(layers: readonly LayerFile[], flows: readonly Flow[]): Flow[] {
  const seats = new Seats(flows)
  for (const layer of layers.filter(isGoingOn)) seats.take(layer)
  const mute = seats.free.filter(({ isOwn, idleMs, keptMs }) => isOwn && idleMs >= keptMs + closedMs)
  // Others were asked for something else, long before.
  return mute.filter(flow => layers.some(layer => isLate(layer) && mayBeOf(flow, layer)))
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

/** Where the engine's own connections are not seen no layer can be told from one that waits for its turn, unless nothing is written at all. */
function findLongStill(layers: readonly LayerFile[], unseated: readonly LayerFile[]): LayerFile[] {
  if (layers.some(({ idleMs }) => idleMs < unseenMs)) return []
  return unseated.filter(({ bytes }) => bytes > 0)
}

/** Each connection is of the layer that fell silent, or was begun, when it did. Those that did so at the same time cannot be told apart. */
function assign(asked: readonly Flow[], layers: readonly LayerFile[]): LayerFile[] {
  const left = new Set(layers)
  const found: LayerFile[] = []
  for (const flow of asked) {
    const fitting = [...left].filter(layer => mayBeOf(flow, layer))
    const distance = (layer: LayerFile) => Math.abs(layer.idleMs - flow.idleMs)
    const [nearest] = fitting.sort((a, b) => distance(a) - distance(b))
    if (nearest === undefined) continue
    left.delete(nearest)
    found.push(nearest)
  }
  return layers.filter(layer => found.some(({ idleMs }) => Math.abs(idleMs - layer.idleMs) <= slackMs))
}

/** It may have been kept before it was asked, and what has begun came on one that has brought a layer. */
function mayBeOf({ idleMs, keptMs, bytes = Infinity }: Flow, layer: LayerFile): boolean {
  return idleMs <= layer.idleMs + keptMs && (layer.bytes === 0 || bytes >= layerBytesMin)
}

/** Nothing comes on it, or too little for a layer. What pauses for as long as it was looked at may yet bring enough. */
function isMute({ idleMs, bytesPerSecond = 0 }: Flow): boolean {
  return idleMs >= silentMs || (bytesPerSecond > 0 && bytesPerSecond < bytesPerSecondMin)
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

  get free(): Flow[] {
    return this.#flows.filter(flow => !this.#taken.has(flow))
  }
}

/** Something came on it since the file was written to, and, where it is late, not as much as would have been written by now. */
function mayBring({ idleMs, bytes = Infinity, bytesPerSecond = 0 }: Flow, layer: LayerFile): boolean {
  if (idleMs > layer.idleMs + slackMs) return false
  // What an earlier pull has begun is older than its connection.
  const broughtBytes = Math.min(bytes, (bytesPerSecond * layer.idleMs) / 1000)
  return !isLate(layer) || (bytesPerSecond >= bytesPerSecondMin && broughtBytes < keptBytesMax)
}
