/** The downloads of engines, by what was seen of their files: those that grow go on, whatever the clocks say. */
import { countedMs, defaultBlameLimits } from '../flow/blame.ts'
import type { HostView } from '../sys/host-view.ts'
import { findMountOf, isServed, parseMountInfo } from '../sys/mounts.ts'
import { type Download, findLayerFiles, silentMs } from './downloads.ts'
import { describeEngine, type FoundEngine } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'
import { countOtherLayers, isForClient, slackBytes } from './lines.ts'
import type { LineWatch } from './sample.ts'

/** Of a silence so much must have been seen by ourselves: the rest only the file's time tells, which is the clock's and not the kernel's. */
const seenMs = 5000

/** Times that should go on by as much may differ by so much: whole seconds in a record, a look that took its time. */
const slackMs = 2000

/** What was seen of one file, on the clock that nobody sets. */
interface Growth {
  readonly bytes: number
  readonly hasGrown: boolean
  readonly atMs: number
  /** For how long it did not grow while it was looked at; time in which the watcher was held up is left out. */
  readonly seenMs: number
  /** What the file's time says was contradicted by what we saw. */
  readonly isTimeWrong: boolean
  readonly idleMs: number
}

export class DownloadWatch {
  readonly #host: HostView
  readonly #engines: readonly FoundEngine[]
  readonly #growth = new Map<string, Growth>()
  #latest: Download[] = []
  /** Files that are there, and that engines are in the middle of. */
  #unpacked: Download[] = []

  constructor(host: HostView, engines: readonly FoundEngine[]) {
    this.#host = host
    this.#engines = engines
  }

  async look(): Promise<void> {
    const all = (await Promise.all(this.#engines.map(engine => findLayerFiles(this.#host, engine)))).flat()
    this.#latest = all.filter(({ isUnpacked }) => !isUnpacked)
    this.#unpacked = all.filter(({ isUnpacked }) => isUnpacked)
    for (const download of this.#latest) this.#note(download)
  }

  #note({ path, bytes, idleMs }: Download): void {
    const atMs = this.#host.elapsed()
    const before = this.#growth.get(path)
    const common = { bytes, atMs, idleMs }
    if (before === undefined) {
      this.#growth.set(path, { ...common, hasGrown: false, seenMs: 0, isTimeWrong: idleMs < 0 })
    } else if (before.bytes !== bytes) {
      // It was written to since the look before, so its time cannot be much older.
      const isTimeWrong = before.isTimeWrong || idleMs < 0 || idleMs > atMs - before.atMs + slackMs
      this.#growth.set(path, { ...common, hasGrown: true, seenMs: 0, isTimeWrong })
    } else {
      const passedMs = atMs - before.atMs
      const isTimeWrong = before.isTimeWrong || Math.abs(idleMs - before.idleMs - passedMs) > slackMs
      const seenMs = before.seenMs + countedMs(passedMs, defaultBlameLimits)
      this.#growth.set(path, { ...before, atMs, idleMs, seenMs, isTimeWrong })
    }
  }

  /** Some have not grown since they were first seen, and not for so long that it says something. */
  get isWaiting(): boolean {
    return this.#latest.some(({ path, isSent }) => !isSent && !this.#hasGrown(path) && this.#seenMs(path) < seenMs)
  }

  has(engine: FoundEngine): boolean {
    return this.#latest.some(download => download.engine === engine)
  }

  /** Whether one of this engine was seen to grow. */
  moves(engine: FoundEngine): boolean {
    return this.#latest.some(download => download.engine === engine && this.#hasGrown(download.path))
  }

  /** Whether one of this engine was seen, and not to grow. */
  hasStill(engine: FoundEngine): boolean {
    return this.#latest.some(download => download.engine === engine && !this.#hasGrown(download.path))
  }

  feeds(watch: LineWatch): boolean {
    return this.#latest.some(download => isBeingRead(download, [watch]))
  }

  /**
   * @param blocked engines that take nothing from a registry, since what they unpack stands still
   * @param told how many layers of pulls an engine says that it unpacks
   */
  judge(
    open: readonly LineWatch[],
    blocked: ReadonlySet<FoundEngine> = new Set(),
    told: (engine: FoundEngine) => number | undefined = () => undefined,
  ): Finding[] {
    const read = new Set(this.#engines.flatMap(engine => this.#readToEnd(engine, open, told(engine))))
    return this.#latest
      .filter(download => !isBeingRead(download, open) && !read.has(download))
      .filter(download => !blocked.has(download.engine) || this.#hasGrown(download.path))
      .map(download => this.#judgeOne(download))
  }

  /**
   * dockerd that decompresses by itself shows no pipe, and stands at the end of a file that it has read. As many of its files are such as layers of pulls are unpacked
   * that no other file is for; those that were written to last are downloads. Where dockerd does not tell how many, its processes do, and what a client sent looks alike.
   */
  #readToEnd(engine: FoundEngine, open: readonly LineWatch[], told: number | undefined): Download[] {
    if (engine.kind !== 'dockerd') return []
    const isOwn = (download: Download) => download.engine === engine
    const files = this.#latest.filter(isOwn)
    const piped = files.filter(download => isBeingRead(download, open))
    const lines = open.filter(({ line }) => line.engine === engine && !isForClient(line)).length
    const unpacked = told ?? lines - countOtherLayers(this.#host, engine)
    const count = unpacked - this.#unpacked.filter(isOwn).length - piped.length
    const still = files.filter(download => !piped.includes(download) && !this.#hasGrown(download.path))
    return still.sort((a, b) => b.idleMs - a.idleMs).slice(0, Math.max(0, count))
  }

  #judgeOne(download: Download): Finding {
    const { engine, path, bytes, total, reference, idleMs, isSent } = download
    const size = total === undefined ? `${number(bytes)} bytes` : `${number(bytes)} of ${number(total)} bytes`
    const code = this.#codeOf(download)
    const isTimeUsable = this.#isTimeUsable(download)
    const byTime = isTimeUsable
      ? `by the time of the file the last were written ${seconds(idleMs)} ago`
      : 'the time of the file contradicts what was seen: for how long it was so before cannot be known'
    const evidence = [
      `${path} has ${size}; ${this.#hasGrown(path) ? 'it grew while it was looked at' : `it did not grow in the ${seconds(this.#seenMs(path))} in which it was looked at`}`,
      ...(code === 'PULL_MOVES' ? [] : [byTime]),
      ...(isSent
        ? ['no registry is asked for it: a client of the engine sends it (ctr images import), or makes it']
        : []),
      ...(reference === undefined ? [] : [`the engine calls it ${reference}`]),
    ]
    const facts = { engine: engine.kind, enginePid: engine.process.pid, path, bytes, seenMs: this.#seenMs(path) }
    const known = isTimeUsable ? { ...facts, idleMs: Math.round(idleMs) } : facts
    // Of a silence the greater part is told by the file's time alone.
    const confidence = code === 'DOWNLOAD_SILENT' ? 'likely' : 'certain'
    return makeFinding(code, `${describeEngine(engine)} ← ${isSent ? 'client' : 'registry'}`, {
      evidence,
      facts: known,
      confidence,
    })
  }

  #codeOf(download: Download): 'PULL_MOVES' | 'PULL_WAITS' | 'DOWNLOAD_SILENT' {
    if (this.#hasGrown(download.path)) return 'PULL_MOVES'
    if (download.isSent) return 'PULL_WAITS'
    const isSilent =
      this.#isTimeUsable(download) && download.idleMs >= silentMs && this.#seenMs(download.path) >= seenMs
    return isSilent ? 'DOWNLOAD_SILENT' : 'PULL_WAITS'
  }

  #hasGrown(path: string): boolean {
    return this.#growth.get(path)?.hasGrown === true
  }

  #seenMs(path: string): number {
    return Math.round(this.#growth.get(path)?.seenMs ?? 0)
  }

  /** Not in the future, not refuted by its growth, not from before the engine began, and not by a server's clock. */
  #isTimeUsable({ path, idleMs, engine }: Download): boolean {
    if (this.#growth.get(path)?.isTimeWrong === true || idleMs < 0) return false
    const mounts = parseMountInfo(this.#host.text(`/proc/${engine.process.pid}/mountinfo`) ?? '')
    if (isServed(findMountOf(engine.dataRoot ?? path, mounts)?.type ?? '')) return false
    const upMs = Number(this.#host.text('/proc/uptime')?.split(' ')[0] ?? Number.NaN) * 1000
    const ageMs = upMs - engine.process.startTicks * 10
    return Number.isNaN(ageMs) || idleMs <= ageMs + 1000
  }
}

/** The whole file was handed to a decompressor: it stands at its end, too, but does not wait for the network. */
function isBeingRead({ engine, bytes }: Download, open: readonly LineWatch[]): boolean {
  return open.some(({ line, looks }) => {
    const stage = looks.at(-1)?.sample.stages.find(({ kind }) => kind === 'decompress')
    if (line.engine !== engine || stage === undefined || bytes === 0 || isForClient(line)) return false
    const handed = stage.bytesIn + (stage.inputBytes ?? 0)
    // A dockerd that unpacks by itself does not show what for: what a client sends is of another length. A script may count all twice.
    const isUnknown = engine.kind === 'dockerd' && line.untar === undefined && line.decompressor.length === 1
    return handed >= bytes && (!isUnknown || handed - bytes <= slackBytes)
  })
}

function number(value: number): string {
  return value.toLocaleString('en-US')
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
