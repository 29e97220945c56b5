/** Facts about the steps of a pipeline: cheap to write on the hot path, readable at any time. `blame` concludes from them. */

/**
 * What a stage does: `source` brings bytes from afar, `spool` writes the partial, `open`, `sync` and `commit` carry no bytes. `lock` waits for another process
 * that makes the same thing, and moves when that does. `process` is one whose work is not known. A pipe or a ring is no stage: what is in it is the `inputBytes` of its reader, its room the `outputRoom` of its writer.
 */
export type StageKind = 'lock' | 'open' | 'source' | 'spool' | 'decompress' | 'unpack' | 'sync' | 'commit' | 'process'

/** Bytes go through a stage of this kind, so that what the stages beside it wait for says something about it. */
export function carriesBytes(kind: StageKind): boolean {
  return kind !== 'lock' && kind !== 'open' && kind !== 'sync' && kind !== 'commit'
}

/**
 * What a stage waits for: its input, its output, its own work (a system call, a pool, a child), or nobody: it has not begun, is done, or
 * waits for something that no stage of this pipeline owes. A source that connects or pauses before another attempt waits for itself.
 */
export type Waits = 'input' | 'output' | 'itself' | 'nobody'

/** What the kernel says of a task. Whatever could not be read is undefined. */
export interface KernelFacts {
  /** The letter of proc_pid_stat(5): R, S, D, T, t, Z, … */
  readonly state: string
  readonly wchan?: string | undefined
  readonly syscall?: string | undefined
  /** User and system time, in ticks of 10 ms. */
  readonly cpuTicks?: number | undefined
  /** Bytes passed to read and write calls since the task began. */
  readonly ioBytes?: number | undefined
}

/** One stage at one moment. Plain data: survives JSON. */
export interface StageFacts {
  /** Unique within the pipeline; a replaced stage may keep it. */
  readonly name: string
  readonly kind: StageKind
  readonly bytesIn: number
  readonly bytesOut: number
  /** What it counts besides bytes: entries, requests, syncs. Any change is a movement. */
  readonly units: number
  /** If unknown, what can be known is taken from `inputBytes`, `outputRoom` and the stages beside it. */
  readonly waits?: Waits | undefined
  /** Bytes that it could take now. */
  readonly inputBytes?: number | undefined
  /** The most that it may need at once: fewer bytes are no input for it. 1 if not given. */
  readonly inputNeeded?: number | undefined
  /** Nothing more will come. The end counts as input: the stage owes its own end now. */
  readonly inputEnded?: boolean | undefined
  /** Bytes that it could hand on now; a stage that ends in a file has no such limit and leaves it out. */
  readonly outputRoom?: number | undefined
  /** Less room is none: the last page of a pipe may be partly used, and takes no more. 1 if not given. */
  readonly outputNeeded?: number | undefined
  readonly task?: KernelFacts | undefined
  /** What it works on: the path of an entry, the host, the program. */
  readonly item?: string | undefined
  /** The last thing that it did, as half a sentence: "answered 206 to bytes 1048576-". */
  readonly last?: string | undefined
}

/** All stages of one pipeline at one moment, from the source to the sink. */
export interface PipelineSample {
  /** Monotonic. */
  readonly timeMs: number
  readonly stages: readonly StageFacts[]
}

/** What is read only when somebody looks. Overrides what the meter itself says, also with undefined. */
export type StageProbe = (closer: boolean) => Partial<Omit<StageFacts, 'name' | 'kind'>>

/** Counts for one stage of our own. The stage writes the fields as it goes; no call, no allocation. */
export class StageMeter {
  readonly name: string
  readonly kind: StageKind
  readonly #probe: StageProbe | undefined
  /** From its first byte to its end. */
  active = false
  bytesIn = 0
  bytesOut = 0
  units = 0
  /** It has asked for input and waits. */
  wantsInput = false
  /** It has handed something on and is not asked for more. */
  offersOutput = false
  inputEnded = false
  item: string | undefined
  last: string | undefined

  constructor(kind: StageKind, name: string = kind, probe?: StageProbe) {
    this.kind = kind
    this.name = name
    this.#probe = probe
  }

  get waits(): Waits {
    if (!this.active) return 'nobody'
    if (this.offersOutput) return 'output'
    return this.wantsInput ? 'input' : 'itself'
  }

  /** @param closer asks the probe also for what is dear: something seems to stand still */
  sample(closer = false): StageFacts {
    const { name, kind, waits, bytesIn, bytesOut, units, inputEnded, item, last } = this
    return { name, kind, waits, bytesIn, bytesOut, units, inputEnded, item, last, ...this.#probe?.(closer) }
  }
}

/** Passes a stage's input through, and notes in the meter when it waits for it and when it ends. The stage is active from here on. */
export async function* meterInput(
  source: AsyncIterable<Uint8Array>,
  meter: StageMeter,
): AsyncGenerator<Uint8Array, void, void> {
  meter.active = true
  meter.wantsInput = true
  try {
    for await (const chunk of source) {
      meter.wantsInput = false
      meter.bytesIn += chunk.length
      yield chunk
      meter.wantsInput = true
    }
    meter.inputEnded = true
  } finally {
    meter.wantsInput = false
  }
}

/** Passes a stage's output through, and notes in the meter when nobody asks for more. The stage is active until its output ends. */
export async function* meterOutput(
  output: AsyncIterable<Uint8Array>,
  meter: StageMeter,
): AsyncGenerator<Uint8Array, void, void> {
  meter.active = true
  try {
    for await (const chunk of output) {
      meter.bytesOut += chunk.length
      meter.offersOutput = true
      yield chunk
      meter.offersOutput = false
    }
  } finally {
    meter.offersOutput = false
    meter.active = false
  }
}

/** Notes in the meter of a stage without bytes that it works, and when it has done so once more. */
export async function meterWork<T>(work: Promise<T>, meter: StageMeter): Promise<T> {
  meter.active = true
  try {
    return await work
  } finally {
    meter.active = false
    meter.units++
  }
}

/** The meters of one pipeline, read now. */
export function samplePipeline(meters: readonly StageMeter[], closer = false): PipelineSample {
  return { timeMs: performance.now(), stages: meters.map(meter => meter.sample(closer)) }
}
