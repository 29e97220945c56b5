/** The downloads of engines, by what was seen of their files: those that grow go on, whatever the clocks say. */
import { countedMs, defaultBlameLimits } from '../flow/blame.ts'
import type { HostView } from '../sys/host-view.ts'
import { findMountOf, isServed, parseMountInfo } from '../sys/mounts.ts'
import { secondsSince } from '../sys/process-age.ts'
import { type ProcessTable, readProcessTable } from '../sys/process-files.ts'
import type { FindingCode } from './catalogue.ts'
import { type Connections, isStopped, isUnread, quietMsOf, readConnections } from './connections.ts'
import { type Download, findLayerFiles, silentMs } from './downloads.ts'
import { describeEngine, type FoundEngine } from './engines.ts'
import { type Finding, makeFinding } from './finding.ts'
import type { PullGoroutines } from './goroutines.ts'
import { countOtherLayers, isForClient, slackBytes } from './lines.ts'
import { findRegistryPorts } from './registry-ports.ts'
import type { LineWatch } from './sample.ts'
import { type Flow, type Flows, findExcused, isOfItsTime, pieceMs } from './slow-layers.ts'

/** Of a silence so much must have been seen by ourselves: the rest only the file's time tells, which is the clock's and not the kernel's. */
const seenMs = 5000

/** Times that should go on by as much may differ by so much: whole seconds in a record, a look that took its time. */
const slackMs = 2000

/** What was seen of one file, on the clock that nobody sets. */
interface Growth {
  readonly bytes: number
  readonly hasGrown: boolean
  readonly atMs: number
  /** For how long it did not grow while it was looked at, until now; time in which the watcher was held up is left out. */
  readonly seenMs: number
  /** What the file's time says was contradicted by what we saw. */
  readonly isTimeWrong: boolean
  readonly idleMs: number
}

/** The connections of an engine, as they were at some moment; undefined where that cannot be known. */
interface Seen {
  readonly atMs: number
  readonly connections: Connections | undefined
}

/** What a dockerd says of the layers of its pulls. */
export interface ToldOfLayers extends Pick<PullGoroutines, 'waiting' | 'unpackingOfPulls'> {
  /** Undefined where not all of them may have been counted. */
  readonly downloading: number | undefined
}

export class DownloadWatch {
  readonly #host: HostView
  readonly #engines: readonly FoundEngine[]
  readonly #growth = new Map<string, Growth>()
  #latest: Download[] = []
  /** Of engines whose files say too little by themselves: as soon as that was seen, and at the end. */
  readonly #first = new Map<FoundEngine, Seen>()
  readonly #last = new Map<FoundEngine, Seen>()
  #registryPorts: ReadonlySet<string> = new Set()
  /** Engines that say that they download nothing of what does not grow. */
  #resting: ReadonlySet<FoundEngine> = new Set()
  /** Of engines that were asked about in this judgement: their layers that may come all the same. */
  readonly #excused = new Map<FoundEngine, ReadonlySet<Download>>()
  /** Files that are all there, and that engines are in the middle of. */
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
    const unclear = this.#latest.filter(download => isInPieces(download) && download.idleMs >= silentMs)
    const fresh = unclear.filter(({ engine }) => !this.#first.has(engine))
    await this.#lookAtConnections(fresh, this.#first, () => readProcessTable(this.#host))
  }

  /** Looks at the connections behind files that say too little by themselves. */
  async lookCloser(readTable: () => ProcessTable): Promise<void> {
    const unclear = this.#latest.filter(download => isInPieces(download) && this.#isStill(download))
    await this.#lookAtConnections(unclear, this.#last, () => {
      const table = readTable()
      this.#registryPorts = findRegistryPorts(this.#host, table)
      return table
    })
  }

  async #lookAtConnections(
    unclear: readonly Download[],
    into: Map<FoundEngine, Seen>,
    readTable: () => ProcessTable,
  ): Promise<void> {
    if (unclear.length === 0) return
    const table = readTable()
    for (const engine of new Set(unclear.map(({ engine }) => engine))) {
      const connections = await readConnections(this.#host, engine, table)
      into.set(engine, { atMs: this.#host.elapsed(), connections })
    }
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
    const isNew = (path: string) => this.#growth.get(path)?.hasGrown !== true && this.#seenMs(path) < seenMs
    return this.#latest.some(({ path, isSent }) => !isSent && isNew(path))
  }

  has(engine: FoundEngine): boolean {
    return this.#latest.some(download => download.engine === engine)
  }

  /** Whether one of this engine was seen to grow. */
  moves(engine: FoundEngine): boolean {
    return this.#latest.some(download => download.engine === engine && this.#hasGrown(download))
  }

  /** Whether one of this engine was seen, and not to grow. */
  hasStill(engine: FoundEngine): boolean {
    return this.#latest.some(download => download.engine === engine && !this.#hasGrown(download))
  }

  feeds(watch: LineWatch): boolean {
    return findPiped(this.#of(watch.line.engine), [], [watch]).length > 0
  }

  #of(engine: FoundEngine): Download[] {
    return this.#latest.filter(download => download.engine === engine)
  }

  /**
   * @param blocked engines that take nothing from a registry, since what they unpack stands still
   * @param told how many layers of pulls an engine says that it unpacks, and how many it downloads
   */
  judge(
    open: readonly LineWatch[],
    blocked: ReadonlySet<FoundEngine> = new Set(),
    told: (engine: FoundEngine) => ToldOfLayers | undefined = () => undefined,
  ): Finding[] {
    const read = new Set(this.#engines.flatMap(engine => this.#readToEnd(engine, open, told(engine)?.unpackingOfPulls)))
    this.#resting = new Set(this.#engines.filter(engine => this.#isResting(engine, told(engine))))
    this.#excused.clear()
    const downloads = this.#latest
      .filter(download => !read.has(download))
      .filter(download => !blocked.has(download.engine) || this.#hasGrown(download))
    return [...downloads.map(download => this.#judgeOne(download)), ...this.#findStoppedClients(downloads)]
  }

  /** Who downloads a layer by itself, and does not read what comes, since somebody has stopped it. */
  #findStoppedClients(downloads: readonly Download[]): Finding[] {
    const still = downloads.filter(one => isInPieces(one) && this.#isStill(one))
    const engines = this.#engines.map(({ process }) => process.pid)
    return [...Map.groupBy(still, ({ engine }) => engine)].flatMap(([engine, layers]) => {
      const flows = this.#flows(engine)
      const isForLayer = (flow: Flow) =>
        flow.unread > 0 ||
        (flows?.registryPorts.has(flow.remotePort) === true && layers.some(layer => isOfItsTime(flow, layer)))
      const stopped = (flows?.all ?? []).filter(
        flow => flow.isOwn && isStopped(flow.holder) && this.#wasStopped(engine, flow) && isForLayer(flow),
      )
      const byPid = Map.groupBy(stopped, ({ holder }) => holder.pid)
      return [...byPid].flatMap(([pid, own]) => {
        if (engines.includes(pid)) return []
        const [{ name = '', state = '' } = {}] = own.map(({ holder }) => holder)
        const unread = own.filter(({ unread }) => unread > 0).map(describeUnread)
        const facts = { engine: engine.kind, enginePid: engine.process.pid, clientPid: pid }
        const evidence = [...unread, `its process is in state ${state}`]
        return [makeFinding('CLIENT_STOPPED', `${name} ${pid}`, { evidence, facts })]
      })
    })
  }

  /** Already when its connections were first looked at. */
  #wasStopped(engine: FoundEngine, { socket }: Flow): boolean {
    const before = this.#first.get(engine)?.connections?.all.find(one => one.socket === socket)
    return before !== undefined && isStopped(before.holder)
  }

  /** A dockerd whose connection has broken waits for up to 25 s before it asks again, and keeps the file open. */
  #isResting(engine: FoundEngine, told: ToldOfLayers | undefined): boolean {
    if (told?.downloading === undefined || told.waiting === 0) return false
    const growing = this.#of(engine).filter(download => this.#hasGrown(download))
    return told.downloading <= growing.length
  }

  /**
   * dockerd that decompresses by itself shows no pipe, and stands at the end of a file that it has read. As many of its files are such as layers of pulls are unpacked
   * that no other file is for; those that were written to last are downloads. Where dockerd does not tell how many, its processes do, and what a client sent looks alike.
   */
  #readToEnd(engine: FoundEngine, open: readonly LineWatch[], told: number | undefined): Download[] {
    const own = open.filter(({ line }) => line.engine === engine)
    const unpacked = this.#unpacked.filter(download => download.engine === engine)
    const piped = findPiped(this.#of(engine), unpacked, own)
    if (engine.kind !== 'dockerd') return piped
    const lines = own.filter(({ line }) => !isForClient(line)).length
    const all = told ?? lines - countOtherLayers(this.#host, engine)
    const count = Math.max(0, all - unpacked.length - piped.length)
    const still = this.#of(engine).filter(download => !piped.includes(download) && !this.#hasGrown(download))
    return [...piped, ...still.sort((a, b) => b.idleMs - a.idleMs).slice(0, count)]
  }

  #judgeOne(download: Download): Finding {
    const { engine, path, bytes, total, reference, idleMs, isSent, isReread } = download
    const size = total === undefined ? `${number(bytes)} bytes` : `${number(bytes)} of ${number(total)} bytes`
    const code = this.#codeOf(download)
    const isTimeUsable = this.#isTimeUsable(download)
    const byTime = isTimeUsable
      ? `by the time of the file the last were written ${seconds(idleMs)} ago`
      : 'the time of the file contradicts what was seen: for how long it was so before cannot be known'
    const evidence = [
      `${path} has ${size}; ${this.#describeGrowth(path)}`,
      ...(code === 'PULL_MOVES' ? [] : [byTime]),
      ...this.#describeConnections(download, code),
      ...(isSent
        ? ['no registry is asked for it: a client of the engine sends it (ctr images import), or makes it']
        : []),
      ...(this.#resting.has(engine) && code === 'PULL_WAITS'
        ? ['the engine says that it downloads no layer that does not grow: it waits for its next try']
        : []),
      ...(isReread ? ['the engine reads what an earlier pull has left of it, before it asks for the rest'] : []),
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

  #describeConnections(download: Download, code: FindingCode): string[] {
    if (!isInPieces(download) || code === 'PULL_MOVES' || !this.#isStill(download)) return []
    const flows = this.#flows(download.engine)
    if (flows === undefined || (flows.all.length === 0 && !flows.isWhole))
      return ['the engine writes in pieces of 1 MiB, and when something came last on its connections cannot be seen']
    if (flows.all.length === 0 && flows.isWhole)
      return ['neither the engine nor any of its clients has a connection on which it could come']
    const latest = seconds(Math.min(...flows.all.map(({ idleMs }) => idleMs)))
    const speed = flows.all.reduce((sum, { bytesPerSecond = 0 }) => sum + bytesPerSecond, 0)
    return [
      `the engine writes in pieces of 1 MiB; on the connections that it and its clients have made something came last ${latest} ago`,
      ...(speed > 0
        ? [`these connections brought ${number(Math.round(speed))} bytes a second while they were looked at`]
        : []),
      ...flows.all.filter(({ unread }) => unread > 0).map(describeUnread),
      ...(flows.isWhole ? [] : ['not all who may write into the engine can be seen, and what comes to them neither']),
    ]
  }

  #codeOf(download: Download): 'PULL_MOVES' | 'PULL_WAITS' | 'DOWNLOAD_SILENT' {
    if (this.#hasGrown(download)) return 'PULL_MOVES'
    return this.#isStill(download) && !this.#mayCome(download) ? 'DOWNLOAD_SILENT' : 'PULL_WAITS'
  }

  #isStill(download: Download): boolean {
    const { engine, isSent, isReread } = download
    if (this.#hasGrown(download) || isSent || isReread || this.#resting.has(engine)) return false
    return this.#isTimeUsable(download) && download.idleMs >= silentMs && this.#seenMs(download.path) >= seenMs
  }

  /** Bytes may have come that are not in the file yet, or it waits for its turn. */
  #mayCome(download: Download): boolean {
    if (!isInPieces(download)) return false
    const { engine, idleMs } = download
    const flows = this.#flows(engine)
    if (flows !== undefined && !this.#isBusy(engine) && isNothingComing(download, flows)) return false
    return idleMs < pieceMs || this.#excusedOf(engine, flows).has(download)
  }

  /** Which of an engine's layers is whose connection's is found for all of them at once. */
  #excusedOf(engine: FoundEngine, flows: Flows | undefined): ReadonlySet<Download> {
    const known = this.#excused.get(engine)
    if (known !== undefined) return known
    const found = new Set(findExcused(this.#of(engine).filter(isAskedFor), flows, this.#isBusy(engine)))
    this.#excused.set(engine, found)
    return found
  }

  /** It makes durable what has come, and may ask for nothing else meanwhile. */
  #isBusy(engine: FoundEngine): boolean {
    return this.#unpacked.some(download => download.engine === engine && isInPieces(download))
  }

  /** With the bytes a second that came between two looks, on what was there at both. */
  #flows(engine: FoundEngine): Flows | undefined {
    const [first, last] = [this.#first.get(engine), this.#last.get(engine)]
    const before = new Map(first?.connections?.all.map(({ socket, bytes }) => [socket, bytes]))
    const passedMs = (last?.atMs ?? 0) - (first?.atMs ?? 0)
    if (last?.connections === undefined) return undefined
    const all = last.connections.all.map(connection => {
      const { socket, bytes } = connection
      const had = before.get(socket)
      const isKnown = bytes !== undefined && had !== undefined && passedMs > 0
      return { ...connection, bytesPerSecond: isKnown ? ((bytes - had) * 1000) / passedMs : undefined }
    })
    return { all, isWhole: last.connections.isWhole, registryPorts: this.#registryPorts }
  }

  /** What stood still since for as long as says something goes on no more; what comes in pieces is between two of them. */
  #hasGrown(download: Download): boolean {
    const { path } = download
    return this.#growth.get(path)?.hasGrown === true && (isInPieces(download) || this.#seenMs(path) < seenMs)
  }

  #describeGrowth(path: string): string {
    const still = seconds(this.#seenMs(path))
    if (this.#growth.get(path)?.hasGrown !== true) return `it did not grow in the ${still} in which it was looked at`
    if (this.#seenMs(path) < seenMs) return 'it grew while it was looked at'
    return `it grew while it was looked at, and no more in the last ${still}`
  }

  #seenMs(path: string): number {
    return Math.round(this.#growth.get(path)?.seenMs ?? 0)
  }

  /** Not in the future, not refuted by its growth, not from before the engine began, and not by a server's clock. */
  #isTimeUsable({ path, idleMs, engine }: Download): boolean {
    if (this.#growth.get(path)?.isTimeWrong === true || idleMs < 0) return false
    const mounts = parseMountInfo(this.#host.text(`/proc/${engine.process.pid}/mountinfo`) ?? '')
    if (isServed(findMountOf(engine.dataRoot ?? path, mounts)?.type ?? '')) return false
    const ageMs = secondsSince(this.#host, engine.process.startTicks) * 1000
    return Number.isNaN(ageMs) || idleMs <= ageMs + 1000
  }
}

/**
 * Files that were handed to a decompressor to their end: the engine stands at their end, too, and does not wait for the network. Each decompressor has one. What stands in a
 * content store of containerd is unpacked from elsewhere, once it is whole.
 */
function findPiped(files: readonly Download[], unpacked: readonly Download[], open: readonly LineWatch[]): Download[] {
  const handed = open.flatMap(watch => handedTo(watch) ?? [])
  for (const { position = 0 } of unpacked) take(handed, ({ bytes }) => Math.abs(bytes - position) <= slackBytes)
  return files.filter(({ bytes: size, engine }) => {
    if (size === 0 || engine.kind === 'containerd' || engine.kind === 'buildkitd') return false
    return take(handed, ({ bytes, isCounted }) => bytes >= size && (!isCounted || bytes - size <= slackBytes))
  })
}

interface Handed {
  readonly bytes: number
  /** A script and its program may count all twice. */
  readonly isCounted: boolean
}

function handedTo({ line, looks }: LineWatch): Handed | undefined {
  const stage = looks.at(-1)?.sample.stages.find(({ kind }) => kind === 'decompress')
  if (stage === undefined || isForClient(line)) return undefined
  return { bytes: stage.bytesIn + (stage.inputBytes ?? 0), isCounted: line.decompressor.length === 1 }
}

function take<T>(values: T[], isWanted: (value: T) => boolean): boolean {
  const at = values.findIndex(isWanted)
  if (at >= 0) values.splice(at, 1)
  return at >= 0
}

/** containerd's content.Copy fills its buffer before it writes. */
export function isInPieces({ engine, isSent }: Download): boolean {
  return !isSent && (engine.kind === 'containerd' || engine.kind === 'buildkitd')
}

/** What is not the engine's own tells by itself of no silence, and neither does what is for something else. Who has just asked has no answer yet. */
function isNothingComing(download: Download, { all, isWhole }: Flows): boolean {
  const isAsked = all.some(flow => flow.isOwn && isOfItsTime(flow, download))
  return isWhole && isAsked && all.every(flow => !isUnread(flow) && quietMsOf(flow) >= silentMs)
}

function describeUnread({ unread, holder }: Flow): string {
  return `${number(unread)} bytes have come for ${holder.name} ${holder.pid}, which has not read them`
}

function isAskedFor(download: Download): boolean {
  return isInPieces(download) && !download.isReread
}

function number(value: number): string {
  return value.toLocaleString('en-US')
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
