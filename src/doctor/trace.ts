/** Where the time of a foreign pull goes: who was at work, and who waited for whom, counted look by look. */
import type { StageFacts } from '../flow/stage.ts'
import type { HostView } from '../sys/host-view.ts'
import { type ProcessTable, readProcessTable } from '../sys/process-files.ts'
import { findClientPulls } from './clients.ts'
import { readConnections } from './connections.ts'
import { isInPieces } from './download-watch.ts'
import { type Download, findDownloads, findLayerFiles } from './downloads.ts'
import { type EngineFilter, type FoundEngine, listEngines } from './engines.ts'
import { findLines, type Line } from './lines.ts'
import { LineWatch } from './sample.ts'
import { pieceMs } from './slow-layers.ts'

/** Milliseconds. The first four are all the time that was watched; what stands below them is a part of it. */
export interface TraceTimes {
  /** Layers were downloaded, and none unpacked. */
  readonly downloading: number
  /** Some were downloaded while others were unpacked. */
  readonly both: number
  readonly unpacking: number
  /** Neither: the registry was asked, or something went on that cannot be seen from without. */
  readonly other: number
  /** Of what was downloaded in that time nothing arrived. */
  readonly waitingForRegistry: number
  /** While unpacking: the decompressor was at work and all others waited for it. */
  readonly decompressor: number
  /** While unpacking: the decompressor waited for room, so what unpacks was the slowest. */
  readonly unpacker: number
  /** While unpacking: the decompressor waited for compressed bytes. */
  readonly feeding: number
}

/** What an engine's connections say is asked for once in so long, and what came within it has just come. */
const connectionsMs = 1000

/** Whether another client pulls is looked at now and then. */
const looksBetweenClients = 8

/** Whatever was under way when it was made is somebody else's, and not counted. */
export class Trace {
  readonly #host: HostView
  readonly #others: ReadonlySet<string>
  #isWanted: EngineFilter = () => true
  readonly #watches = new Map<string, LineWatch>()
  /** The size of each file, and since when it has it. */
  readonly #sizes = new Map<string, { readonly bytes: number; readonly atMs: number }>()
  /** Whether something has just come for an engine, or may have, and when that was asked for. */
  readonly #coming = new Map<number, { readonly atMs: number; readonly isComing: boolean }>()
  readonly #times = {
    downloading: 0,
    both: 0,
    unpacking: 0,
    other: 0,
    waitingForRegistry: 0,
    decompressor: 0,
    unpacker: 0,
    feeding: 0,
  }
  readonly #layers = new Set<string>()
  readonly #leftOut = new Set<string>()
  #lookedAt: number
  #looks = 0
  #otherClients = 0
  /** When each line and each download that is there was last seen to move, and when anything was. */
  #movedAt = new Map<string, number>()
  #anyMovedAt: number

  /** Before the command is started. */
  static async open(host: HostView): Promise<Trace> {
    const table = readProcessTable(host)
    const engines = listEngines(host, table).filter(({ isOpen }) => isOpen)
    const files = (await Promise.all(engines.map(engine => findLayerFiles(host, engine)))).flat()
    return new Trace(host, new Set([...findLines(host, engines, table).map(layerOf), ...files.map(fileOf)]))
  }

  private constructor(host: HostView, others: ReadonlySet<string>) {
    this.#host = host
    this.#others = others
    this.#lookedAt = host.elapsed()
    this.#anyMovedAt = this.#lookedAt
  }

  /** From here on of all engines that run only those are looked at whose pulls are meant, and time is counted. */
  start(isWanted: EngineFilter): void {
    this.#isWanted = isWanted
    this.#lookedAt = this.#host.elapsed()
    this.#anyMovedAt = this.#lookedAt
  }

  get times(): TraceTimes {
    return this.#times
  }

  /** Layers that were seen while they were unpacked; short ones may be missed. */
  get layers(): number {
    return this.#layers.size
  }

  /** Layers that others had under way before, and pulls that others have asked the same engines for since: those cannot be told from what is meant. */
  get others(): { readonly leftOut: number; readonly clients: number } {
    return { leftOut: this.#leftOut.size, clients: this.#otherClients }
  }

  /** For how long the one that stands still longest has not moved; or all, where nothing is to be seen. */
  get stillMs(): number {
    const now = this.#host.elapsed()
    return Math.max(0, ...[this.#anyMovedAt, ...this.#movedAt.values()].map(at => now - at))
  }

  async look(): Promise<void> {
    const now = this.#host.elapsed()
    const ms = now - this.#lookedAt
    this.#lookedAt = now
    const table = readProcessTable(this.#host)
    const engines = this.#findEngines(table)
    if (this.#looks++ % looksBetweenClients === 0) await this.#countClients(engines)
    const seen = new Set<string>()
    const stages = this.#findLines(engines, table).flatMap(line => {
      const watch = this.#watches.get(line.key) ?? new LineWatch(this.#host, line)
      this.#watches.set(line.key, watch)
      this.#layers.add(layerOf(line))
      watch.update(line)
      if (!watch.look()) return []
      watch.looks.splice(0, watch.looks.length - 2) // the latest two are enough
      const [before, after = before] = watch.looks
      if (before === after || total(before?.sample.stages) !== total(after?.sample.stages))
        this.#movedAt.set(line.key, now)
      seen.add(line.key)
      return [after?.sample.stages ?? []]
    })
    const found = (await Promise.all(engines.map(engine => findDownloads(this.#host, engine)))).flat()
    const downloads = found.filter(download => this.#isMeant(fileOf(download)))
    const moving = await this.#findMoving(downloads, table)
    for (const { path } of moving) this.#movedAt.set(path, this.#host.elapsed())
    this.#count(ms, stages, { isDownloading: downloads.length > 0, isComing: moving.length > 0 })
    for (const { path } of downloads) seen.add(path)
    this.#noteEnds(seen)
  }

  #findEngines(table: ProcessTable): FoundEngine[] {
    const all = listEngines(this.#host, table)
    return all.filter(engine => engine.isOpen && this.#isWanted(engine, all, table))
  }

  #findLines(engines: readonly FoundEngine[], table: ProcessTable): Line[] {
    return findLines(this.#host, engines, table).filter(line => this.#isMeant(layerOf(line)))
  }

  #isMeant(key: string): boolean {
    const isOther = this.#others.has(key)
    if (isOther) this.#leftOut.add(key)
    return !isOther
  }

  /** One of the clients is the command itself. */
  async #countClients(engines: readonly FoundEngine[]): Promise<void> {
    const pulls = (await Promise.all(engines.map(engine => findClientPulls(this.#host, engine)))).flat()
    this.#otherClients = Math.max(this.#otherClients, pulls.length - 1)
  }

  /** What comes to its end moves, too. */
  #noteEnds(seen: ReadonlySet<string>): void {
    for (const key of this.#movedAt.keys()) {
      if (seen.has(key)) continue
      this.#movedAt.delete(key)
      this.#anyMovedAt = this.#host.elapsed()
    }
    this.#anyMovedAt = Math.max(this.#anyMovedAt, ...this.#movedAt.values())
  }

  /** Those that have grown since the look before, and those whose bytes may be kept back until they are a whole piece. */
  async #findMoving(downloads: readonly Download[], table: ProcessTable): Promise<Download[]> {
    const atMs = this.#host.elapsed()
    const moving: Download[] = []
    for (const download of downloads) {
      const { path, bytes, engine } = download
      const before = this.#sizes.get(path)
      const hasGrown = before?.bytes !== bytes
      if (hasGrown) this.#sizes.set(path, { bytes, atMs })
      const mayBeKept = isInPieces(download) && atMs - (before?.atMs ?? atMs) < pieceMs
      if (hasGrown || (mayBeKept && (await this.#isComing(engine, table)))) moving.push(download)
    }
    return moving
  }

  async #isComing(engine: FoundEngine, table: ProcessTable): Promise<boolean> {
    const atMs = this.#host.elapsed()
    const known = this.#coming.get(engine.process.pid)
    if (known !== undefined && atMs - known.atMs < connectionsMs) return known.isComing
    const connections = await readConnections(this.#host, engine, table)
    // What is not seen may come.
    const isComing = connections?.isWhole !== true || connections.all.some(({ idleMs }) => idleMs < connectionsMs)
    this.#coming.set(engine.process.pid, { atMs, isComing })
    return isComing
  }

  #count(
    ms: number,
    lines: readonly (readonly StageFacts[])[],
    { isDownloading, isComing }: { readonly isDownloading: boolean; readonly isComing: boolean },
  ): void {
    const isUnpacking = lines.length > 0
    const part = isDownloading ? (isUnpacking ? 'both' : 'downloading') : isUnpacking ? 'unpacking' : 'other'
    this.#times[part] += ms
    if (isDownloading && !isComing) this.#times.waitingForRegistry += ms
    for (const stages of lines) this.#times[slowest(stages)] += ms / lines.length
  }
}

/** A script and the program that it starts hold the same pipe: they unpack one layer. */
function layerOf({ engine, stdin, untarStdin, key }: Line): string {
  return `${engine.process.pid} ${stdin?.inode ?? untarStdin?.inode ?? key}`
}

function fileOf({ engine, path }: Download): string {
  return `${engine.process.pid} ${path}`
}

/** Who holds back the others at this moment, as far as the decompressor between them tells. */
function slowest(stages: readonly StageFacts[]): 'decompressor' | 'unpacker' | 'feeding' {
  const stage = stages.find(({ kind }) => kind === 'decompress')
  if (stage === undefined || stage.waits === 'output' || stage.outputRoom === 0) return 'unpacker'
  return stage.waits === 'input' ? 'feeding' : 'decompressor'
}

function total(stages: readonly StageFacts[] | undefined): number {
  return (stages ?? []).reduce((sum, { bytesIn, bytesOut, units }) => sum + bytesIn + bytesOut + units, 0)
}
