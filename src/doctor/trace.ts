/** Where the time of a foreign pull goes: who was at work, and who waited for whom, counted look by look. */
import type { StageFacts } from '../flow/stage.ts'
import type { HostView } from '../sys/host-view.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { type Download, findDownloads } from './downloads.ts'
import { type EngineFilter, listEngines } from './engines.ts'
import { findLines } from './lines.ts'
import { LineWatch } from './sample.ts'

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

export class Trace {
  readonly #host: HostView
  readonly #isWanted: EngineFilter
  readonly #watches = new Map<string, LineWatch>()
  readonly #sizes = new Map<string, number>()
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
  #lookedAt: number
  /** When each line and each download that is there was last seen to move. */
  #movedAt = new Map<string, number>()

  /** @param isWanted of all engines that run, those whose pulls are meant */
  constructor(host: HostView, isWanted: EngineFilter = () => true) {
    this.#host = host
    this.#isWanted = isWanted
    this.#lookedAt = host.elapsed()
  }

  get times(): TraceTimes {
    return this.#times
  }

  /** Layers that were seen while they were unpacked; short ones may be missed. */
  get layers(): number {
    return this.#layers.size
  }

  /** For how long the one that stands still longest has not moved. */
  get stillMs(): number {
    const now = this.#host.elapsed()
    return Math.max(0, ...[...this.#movedAt.values()].map(at => now - at))
  }

  async look(): Promise<void> {
    const now = this.#host.elapsed()
    const ms = now - this.#lookedAt
    this.#lookedAt = now
    const table = readProcessTable(this.#host)
    const all = listEngines(this.#host, table)
    const engines = all.filter(engine => engine.isOpen && this.#isWanted(engine, all, table))
    const seen = new Set<string>()
    const stages = findLines(this.#host, engines, table).flatMap(line => {
      const watch = this.#watches.get(line.key) ?? new LineWatch(this.#host, line)
      this.#watches.set(line.key, watch)
      this.#layers.add(line.key)
      watch.update(line)
      if (!watch.look()) return []
      watch.looks.splice(0, watch.looks.length - 2) // the latest two are enough
      const [before, after = before] = watch.looks
      if (before === after || total(before?.sample.stages) !== total(after?.sample.stages))
        this.#movedAt.set(line.key, now)
      seen.add(line.key)
      return [after?.sample.stages ?? []]
    })
    const downloads = (await Promise.all(engines.map(engine => findDownloads(this.#host, engine)))).flat()
    this.#count(ms, stages, downloads)
    for (const { path } of downloads) seen.add(path)
    for (const key of this.#movedAt.keys()) if (!seen.has(key)) this.#movedAt.delete(key)
  }

  #count(ms: number, lines: readonly (readonly StageFacts[])[], downloads: readonly Download[]): void {
    const grows = downloads.filter(({ path, bytes }) => (this.#sizes.get(path) ?? -1) !== bytes)
    for (const { path, bytes } of downloads) this.#sizes.set(path, bytes)
    for (const { path } of grows) this.#movedAt.set(path, this.#host.elapsed())
    const [isDownloading, isUnpacking] = [downloads.length > 0, lines.length > 0]
    const part = isDownloading ? (isUnpacking ? 'both' : 'downloading') : isUnpacking ? 'unpacking' : 'other'
    this.#times[part] += ms
    if (isDownloading && grows.length === 0) this.#times.waitingForRegistry += ms
    for (const stages of lines) this.#times[slowest(stages)] += ms / lines.length
  }
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
