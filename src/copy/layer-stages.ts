import type { ProgramStage } from '../codec/external/program-stage.ts'
import {
  type KernelFacts,
  meterInput,
  meterOutput,
  meterWork,
  type PipelineSample,
  StageMeter,
  samplePipeline,
} from '../flow/stage.ts'
import type { Unpack } from '../layer/unpack.ts'
import type { BlobIngest } from '../places/store/types.ts'
import { readTask, waitOfRingReader } from '../sys/tasks.ts'
import type { StageFacts } from './events.ts'
import type { LockStage } from './lock-stage.ts'
import { probeInProcess, probePool } from './pool-stage.ts'

/** The least input that surely wakes the unpack thread: it may sleep for a whole PAX header, which is half of its ring. */
const unpackInputNeeded = 1024 * 1024

/** What the engine's own process does shows whether it is stopped, or held by its disk. */
export function probeEngine(find: (() => KernelFacts | undefined) | undefined, closer: boolean) {
  const task = closer ? find?.() : undefined
  return task === undefined ? {} : { task }
}

/**
 * The stages of one layer's pipeline, from the network to the disk: each counts what it moves and tells what it waits for, so that
 * `blame` can name the one that holds the others up.
 */
export class LayerStages {
  readonly lock: LockStage
  readonly source = new StageMeter('source')
  readonly spool = new StageMeter('spool', 'spool', probePool)
  readonly decompress: StageMeter
  readonly unpack: StageMeter
  /** An engine that takes the content from us: what it does with it is not known. */
  readonly engine: StageMeter
  readonly sync = new StageMeter('sync', 'sync', probePool)
  readonly commit = new StageMeter('commit', 'commit', probePool)
  #program: ProgramStage | undefined
  #thread: Unpack | undefined

  /** @param engineTask see `LayersOptions` */
  constructor(lock: LockStage, engineTask?: () => KernelFacts | undefined) {
    this.engine = new StageMeter('process', 'engine', closer => probeEngine(engineTask, closer))
    this.lock = lock
    this.decompress = new StageMeter('decompress', 'decompress', closer => this.#probeDecompress(closer))
    this.unpack = new StageMeter('unpack', 'unpack', closer => this.#probeThread(closer))
  }

  /** An external decompressor runs, or none any more. */
  set program(program: ProgramStage | undefined) {
    this.#program = program
  }

  /** The compressed bytes come once more from their first: what was counted of them counts no longer. */
  beginAnew(): void {
    this.source.bytesOut = 0
    this.decompress.bytesIn = 0
  }

  /** The unpack thread runs, or none any more. */
  set thread(thread: Unpack | undefined) {
    this.#thread = thread
    this.unpack.active = thread !== undefined
  }

  /** Compressed bytes that come from the network or from what is here already. */
  meterSource(bytes: AsyncIterable<Uint8Array>, host: string): AsyncIterable<Uint8Array> {
    this.source.item = host
    return meterOutput(bytes, this.source)
  }

  meterCompressed(bytes: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    return meterInput(bytes, this.decompress)
  }

  meterDecompressed(bytes: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    return meterOutput(bytes, this.decompress)
  }

  /** Content that an engine takes, or nobody if it has no name. */
  meterEngine(content: AsyncIterable<Uint8Array>, name: string | undefined): AsyncIterable<Uint8Array> {
    this.engine.item = name
    return name === undefined ? content : this.#activeWhile(meterInput(content, this.engine), this.engine)
  }

  async *#activeWhile(content: AsyncIterable<Uint8Array>, meter: StageMeter): AsyncGenerator<Uint8Array, void, void> {
    try {
      yield* content
    } finally {
      meter.active = false
    }
  }

  /** While the partial is written the network waits for it. */
  meterSpool(blob: BlobIngest, item: string): Pick<BlobIngest, 'complete' | 'size' | 'read' | 'write'> {
    const { source, spool } = this
    spool.item = item
    return {
      get complete() {
        return blob.complete
      },
      get size() {
        return blob.size
      },
      read: () => blob.read(),
      async write(chunk) {
        source.offersOutput = true
        spool.active = true
        spool.bytesIn += chunk.length
        try {
          await blob.write(chunk)
          spool.bytesOut += chunk.length
        } finally {
          spool.active = false
          source.offersOutput = false
        }
      },
    }
  }

  /** One wait for the disk. */
  meterSync<T>(work: Promise<T>): Promise<T> {
    return meterWork(work, this.sync)
  }

  /** Making it visible: renames, rows. @param item what, and where */
  meterCommit<T>(item: string, work: Promise<T>): Promise<T> {
    this.commit.item = item
    return meterWork(work, this.commit)
  }

  get #meters(): StageMeter[] {
    const after = this.engine.item === undefined ? this.unpack : this.engine
    return [this.lock.meter, this.lock.opening, this.source, this.spool, this.decompress, after, this.sync, this.commit]
  }

  sample(closer = false): PipelineSample {
    return samplePipeline(this.#meters, closer)
  }

  /** For the report: what each stage moved and waits for. */
  facts(): StageFacts[] {
    return this.sample().stages.map(({ name, bytesIn, bytesOut, waits }) => ({
      name,
      bytesIn,
      bytesOut,
      waitsFor: waits ?? 'itself',
    }))
  }

  /** An external program tells by its pipes what it waits for. */
  #probeDecompress(closer: boolean) {
    if (this.#program !== undefined) return this.#program.facts(closer)
    return this.decompress.waits === 'itself' ? probeInProcess(closer) : {}
  }

  #probeThread(closer: boolean) {
    const thread = this.#thread
    if (thread === undefined) return {}
    const task = closer && thread.tid !== 0 ? readTask(process.pid, thread.tid) : undefined
    const isDry = thread.bytesPending === 0 && !thread.inputEnded
    return {
      bytesIn: thread.bytesUnpacked,
      units: thread.entries,
      item: thread.entryName,
      inputBytes: thread.bytesPending,
      inputNeeded: unpackInputNeeded,
      inputEnded: thread.inputEnded,
      task,
      waits: (task && waitOfRingReader(task)) ?? (isDry ? ('input' as const) : undefined),
    }
  }
}
