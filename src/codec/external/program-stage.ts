import type { StageFacts } from '../../flow/stage.ts'
import type { PipedProcess } from '../../sys/processes.ts'
import { readProgram } from '../../sys/tasks.ts'

/** Swallowed without any output since: no decompressor buffers that much before it says something (xz -T reads ahead the most). */
const swallowMax = 8 * 1024 * 1024
/** What a pipe holds at least, if the kernel grants no more. */
const pipeSizeMin = 64 * 1024

/** An external decompressor as a stage: its two pipes tell what it could do. */
export class ProgramStage {
  readonly #child: PipedProcess
  #bytesOut = 0
  /** What it had been given when it last gave something. */
  #bytesIn = 0

  constructor(child: PipedProcess) {
    this.#child = child
  }

  /** Number of the process, and of its group. */
  get pid(): number {
    return this.#child.pid
  }

  /** @param closer asks also for what the kernel says of the process */
  facts(closer: boolean): Partial<StageFacts> {
    const { pid, stdin, stdout, end } = this.#child
    this.#note(stdin.bytes, stdout.bytes)
    return {
      bytesIn: stdin.bytes,
      bytesOut: stdout.bytes,
      item: `process ${pid}`,
      waits: this.#waits(),
      inputBytes: Math.max(stdin.fill, stdin.bytes - this.#bytesIn - swallowMax, 0),
      // The end of the input is input, too: it has to be answered with the end of the output.
      inputEnded: stdin.isClosed,
      // An empty pipe has room; of one that is partly filled only the kernel knows whether a page of it is free.
      outputRoom: stdout.fill === 0 ? pipeSizeMin : undefined,
      task: closer && end === undefined ? readProgram(pid) : undefined,
    }
  }

  #waits(): StageFacts['waits'] {
    const { stdout, end } = this.#child
    if (!stdout.isWaiting) return 'output'
    return end === undefined ? undefined : 'nobody'
  }

  #note(bytesIn: number, bytesOut: number): void {
    if (bytesOut === this.#bytesOut) return
    this.#bytesOut = bytesOut
    this.#bytesIn = bytesIn
  }
}
