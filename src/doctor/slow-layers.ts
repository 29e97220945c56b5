/** Layers of a containerd that do not grow, and may come all the same: what has come is in no file until it is a piece of 1 MiB, and what waits for its turn has not been asked for. */
import type { Connection } from './connections.ts'
import { silentMs } from './downloads.ts'

/** containerd writes what has come in pieces of 1 MiB: what is slower than these 9 KB a second, and cannot be seen to come otherwise, is called silent. */
export const pieceMs = 120_000

/** What has come since the last piece is less than one. A few seconds tell a speed but roughly: four times as much may have been seen. */
const keptBytesMax = 4 * 1024 * 1024

/** What brings less than these bytes a second brings no layer. */
const bytesPerSecondMin = 1024

/** For so long containerd keeps a connection that is asked for nothing (IdleConnTimeout). */
const keptMs = 30_000

/** What has brought nothing for longer was asked for something. */
const askedMs = 2 * keptMs

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

const isLate = ({ idleMs }: LayerFile) => idleMs >= pieceMs

/**
 * Who is silent has a connection that brings nothing, and that no other layer needs: where there is none, nobody was asked for what does not come. What has not begun waits for its turn
 * (containerd 2.1 fetches three layers at a time, and opens the files of all), and so may what an earlier pull has begun.
 * @param layers all that an engine has on their way from registries
 * @param flows all connections that it and its clients have made; undefined where that cannot be known
 * @returns those to which nothing was written for longer than a piece takes, and which may come all the same
 */
export function findExcused<Layer extends LayerFile>(layers: readonly Layer[], flows?: readonly Flow[]): Layer[] {
  const late = layers.filter(isLate)
  const begun = late.filter(({ bytes }) => bytes > 0)
  const unbegun = late.filter(({ bytes }) => bytes === 0)
  const others = layers.filter(layer => !isLate(layer) && layer.bytes > 0)
  if (flows === undefined) return unbegun
  const seats = new Seats(flows)
  for (const layer of others) seats.take(layer)
  const silent = begun.filter(layer => !seats.take(layer)).length
  const sinceMs = keptMs + Math.max(0, ...late.map(({ idleMs }) => idleMs))
  const mute = seats.free.filter(flow => isMute(flow) && flow.idleMs <= sinceMs)
  const asked = mute.filter(({ idleMs }) => idleMs >= askedMs)
  return [...(silent === 0 || mute.length === 0 ? begun : []), ...(asked.length <= silent ? unbegun : [])]
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
    // What brings most belongs to who was written to lately.
    const speed = ({ bytesPerSecond = 0 }: Flow) => bytesPerSecond
    this.#flows = flows.toSorted((a, b) => speed(b) - speed(a) || a.idleMs - b.idleMs)
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
