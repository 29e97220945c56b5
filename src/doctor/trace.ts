/** Where the time of a foreign pull goes: who was at work, and who waited for whom, counted look by look. */
import type { StageFacts } from '../flow/stage.ts'
import type { HostView } from '../sys/host-view.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { type Download, findDownloads } from './downloads.ts'
import { type Engine, findEngines } from './engines.ts'
import { findLines } from './lines.ts'
import { LineWatch } from './sample.ts'

/** Milliseconds in which this was what a pull did. Several may be true at once: layers overlap. */
export interface TraceTimes {
  readonly downloading: number
  /** Nothing of a download arrived. */
  readonly waitingForRegistry: number
  readonly unpacking: number
  /** While unpacking: the decompressor was at work and all others waited for it. */
  readonly decompressor: number
  /** While unpacking: the decompressor waited for room, so what unpacks was the slowest. */
  readonly unpacker: number
  /** While unpacking: the decompressor waited for compressed bytes. */
  readonly feeding: number
  readonly other: number
}

/** Engines come and go with commands like podman. */
const enginesEveryMs = 2000

export class Trace {
  readonly #host: HostView
  readonly #watches = new Map<string, LineWatch>()
  readonly #sizes = new Map<string, number>()
  readonly #times = {
    downloading: 0,
    waitingForRegistry: 0,
    unpacking: 0,
    decompressor: 0,
    unpacker: 0,
    feeding: 0,
    other: 0,
  }
  readonly #layers = new Set<string>()
  #engines: readonly Engine[] = []
  #enginesAt = Number.NEGATIVE_INFINITY
  #lookedAt: number | undefined
  /** When each line and each download that is there was last seen to move. */
  #movedAt = new Map<string, number>()

  constructor(host: HostView) {
    this.#host = host
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
    const ms = now - (this.#lookedAt ?? now)
    this.#lookedAt = now
    const table = readProcessTable(this.#host)
    if (now - this.#enginesAt > enginesEveryMs) {
      this.#engines = await findEngines(this.#host, table)
      this.#enginesAt = now
    }
    const seen = new Set<string>()
    const stages = findLines(this.#host, this.#engines, table).flatMap(line => {
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
    const downloads = (await Promise.all(this.#engines.map(engine => findDownloads(this.#host, engine)))).flat()
    this.#count(ms, stages, downloads)
    for (const { path } of downloads) seen.add(path)
    for (const key of this.#movedAt.keys()) if (!seen.has(key)) this.#movedAt.delete(key)
  }

  #count(ms: number, lines: readonly (readonly StageFacts[])[], downloads: readonly Download[]): void {
    const grows = downloads.filter(({ path, bytes }) => (this.#sizes.get(path) ?? -1) !== bytes)
    for (const { path, bytes } of downloads) this.#sizes.set(path, bytes)
    for (const { path } of grows) this.#movedAt.set(path, this.#host.elapsed())
    if (downloads.length > 0) this.#times[grows.length > 0 ? 'downloading' : 'waitingForRegistry'] += ms
    if (lines.length > 0) this.#times.unpacking += ms
    for (const stages of lines) this.#times[slowest(stages)] += ms / lines.length
    if (lines.length === 0 && downloads.length === 0) this.#times.other += ms
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
