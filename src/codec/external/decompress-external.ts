import { setTimeout as sleep } from 'node:timers/promises'
import { type BlameLimits, defaultBlameLimits, type Verdict } from '../../flow/blame.ts'
import { watch } from '../../flow/watch.ts'
import { PipedProcess, type ProcessEnd, within } from '../../sys/processes.ts'
import { checkExpansion } from '../decompress.ts'
import { Input } from '../input.ts'
import { describeProcess, type ProgramFault, programFailure } from './program-failure.ts'
import { ProgramStage } from './program-stage.ts'
import type { ExternalProgram } from './programs.ts'

/** A healthy decompressor answers in milliseconds. */
const idleMsDefault = 10_000
/** Less than this, with input and room, is no work: the slowest board decompresses eighty times more, and an image of 1 GB would take an hour. */
const outputPerSecondMin = 256 * 1024
/** Judged over more than the idle time: who has stopped shall not be called slow for what he gave before. */
const slowFactor = 1.5
/** From the end of the output to the end of the process. */
const lingerMs = 2000
/** A program that has ended may have left a copy of its pipe with somebody who never writes; what was written is in the pipe already. */
const orphanMs = 200
const orphanStepMs = 50

export interface ExternalOptions {
  readonly signal: AbortSignal
  /** No output for so long, while there is input and the output is read, is a stall; 10 s if not given. */
  readonly idleMs?: number | undefined
  /** As for `decompress`. */
  readonly ratioMax?: number | undefined
  readonly onInput?: ((bytes: number) => void) | undefined
  readonly onOutput?: ((bytes: number) => void) | undefined
  /** Told as soon as the program runs: whoever watches more than the program may ask it for facts. */
  readonly onStart?: ((stage: ProgramStage) => void) | undefined
}

/**
 * The same as `decompress`, by an external program under supervision. Whatever the program does, this ends: its process group is killed when it
 * stalls, dribbles, lingers, when the signal fires, or when nobody reads any more.
 *
 * The end says only that the program was content, and that it read all its input: a truncated or altered output with status 0 is the
 * caller's to find, by its digest.
 * @throws WindlassError STALLED, CORRUPT or FAILED for which `programFault` names what the program did; LIMIT_EXCEEDED (expansion ratio);
 * CANCELLED; or whatever the source throws
 */
export async function* decompressExternal(
  program: ExternalProgram,
  source: AsyncIterable<Uint8Array>,
  options: ExternalOptions,
): AsyncGenerator<Uint8Array, void, void> {
  using input = new Input(source, options)
  await using run = new ExternalRun(program, input, options.idleMs ?? idleMsDefault)
  options.onStart?.(run.stage)
  let bytesOut = 0
  for (let chunk = await run.next(); chunk !== undefined; chunk = await run.next()) {
    bytesOut += chunk.length
    run.checkExpansion(bytesOut, options.ratioMax)
    options.onOutput?.(chunk.length)
    yield chunk
  }
  await run.finish()
}

class ExternalRun implements AsyncDisposable {
  readonly child: PipedProcess
  readonly stage: ProgramStage
  readonly #program: ExternalProgram
  readonly #input: Input
  readonly #watching = new AbortController()
  readonly #cancel: () => void
  #isInputOver = false
  #isInputRefused = false

  constructor(program: ExternalProgram, input: Input, idleMs: number) {
    this.#program = program
    this.#input = input
    try {
      this.child = new PipedProcess(program.path, program.args)
    } catch (error) {
      throw programFailure('unavailable', program, `it cannot be started: ${(error as Error).message}`, {
        cause: error,
      })
    }
    this.stage = new ProgramStage(this.child)
    this.#watch(idleMs)
    void this.child.ended.then(() => this.#awaitOrphans())
    this.#cancel = () => this.child.stdout.fail(input.cancelled())
    input.signal.addEventListener('abort', this.#cancel)
    if (input.signal.aborted) this.#cancel()
    this.#feed().catch((error: unknown) => this.child.stdout.fail(error))
  }

  next(): Promise<Uint8Array | undefined> {
    return this.child.stdout.next()
  }

  /** After the end of the output: throws unless the program has done its work and ended well. */
  async finish(): Promise<void> {
    const { child } = this
    if (!(await within(child.ended, lingerMs)))
      throw this.#failure('lingering', `it has ended its output, and lives on after ${lingerMs / 1000} s`)
    if (this.#input.signal.aborted) throw this.#input.cancelled()
    this.#checkEnd(child.end ?? { status: null, signal: null })
    if (this.#isInputOver && !this.#isInputRefused) return
    throw this.#failure(
      'early',
      `it ended with status 0 after ${child.stdout.bytes} bytes, before it had read all its input`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watching.abort()
    this.#input.signal.removeEventListener('abort', this.#cancel)
    await this.child[Symbol.asyncDispose]()
  }

  #checkEnd({ status, signal, error }: ProcessEnd): void {
    const after = `after ${this.child.stdout.bytes} bytes`
    if (error !== undefined) throw this.#failure('unavailable', `it cannot be started: ${error.message}`, error)
    if (signal !== null) throw this.#failure('died', `it was ended by ${signal} ${after}`)
    if (status !== 0) throw this.#failure('failed', `it ended with status ${status} ${after}`)
  }

  /** The source's own errors go to whoever reads; that the program takes no more is told by how it ends. */
  async #feed(): Promise<void> {
    const { stdin } = this.child
    for (let data = await this.#input.next(); data !== undefined; data = await this.#input.next()) {
      try {
        await stdin.write(data)
      } catch {
        this.#isInputRefused = true
        return
      }
    }
    this.#isInputOver = true
    stdin.end()
  }

  /** Whether the program or the data is to blame shows in process, where the same limit holds. */
  checkExpansion(bytesOut: number, ratioMax: number | undefined): void {
    try {
      checkExpansion(this.#program.compression, this.#input.bytes, bytesOut, ratioMax)
    } catch (error) {
      throw this.#failure('runaway', (error as Error).message, error)
    }
  }

  /** Of one program alone `blame` sees what a pipeline would show: input that waits, and a reader. Only output is movement. */
  #watch(idleMs: number): void {
    const { signal } = this.#watching
    const everyMs = Math.min(250, idleMs / 10)
    const onVerdict = (verdict: Verdict): void => this.#accuse(verdict, idleMs)
    const sample = (closer: boolean) => {
      const own = { name: 'decompress', kind: 'decompress', bytesOut: 0, ...this.stage.facts(closer) } as const
      return { timeMs: performance.now(), stages: [{ ...own, bytesIn: 0, units: 0 }] }
    }
    watch(sample, { signal, everyMs, limits: limitsOf(idleMs, everyMs), onVerdict })
  }

  #accuse({ kind, evidence }: Verdict, idleMs: number): void {
    this.#watching.abort()
    const facts = this.child.facts()
    const fault = kind === 'dribbling-decompressor' ? 'dribbling' : 'stalled'
    const output = fault === 'stalled' ? 'no output' : `less than ${outputPerSecondMin / 1024} KiB of output per second`
    const input = facts.stdinFill > 0 ? `${facts.stdinFill} bytes of input wait` : 'it has had its input'
    const details = [describeProcess(facts), ...evidence.filter(line => line.includes('processor'))].join('; ')
    const seconds = (fault === 'stalled' ? idleMs : idleMs * slowFactor) / 1000
    const text = `${output} for ${seconds} s after ${facts.bytesOut} bytes, although ${input} and its output is read (${details})`
    this.child.stdout.fail(programFailure(fault, this.#program, text, { facts, stderr: this.child.stderr }))
  }

  /** Whoever holds the output of a program that has ended is not waited for, once what is in the pipe was read. */
  async #awaitOrphans(): Promise<void> {
    const { stdout } = this.child
    for (let quietMs = 0; quietMs < orphanMs; ) {
      if (this.#watching.signal.aborted) return
      await sleep(orphanStepMs)
      quietMs = stdout.isWaiting && stdout.fill === 0 ? quietMs + orphanStepMs : 0
    }
    stdout.end()
  }

  #failure(fault: ProgramFault, text: string, cause?: unknown): Error {
    const { stderr } = this.child
    return programFailure(fault, this.#program, text, { facts: this.child.facts(), stderr, cause })
  }
}

/** No look counts for much more than its interval: an event loop that was held up accuses nobody. */
function limitsOf(idleMs: number, everyMs: number): BlameLimits {
  return {
    ...defaultBlameLimits,
    decompressorIdleMs: idleMs,
    diskIdleMs: idleMs, // what the kernel holds cannot be killed, but it can be replaced
    decompressorWindowMs: idleMs * slowFactor,
    decompressorBytesPerSecondMin: outputPerSecondMin,
    unexplainedMs: Infinity,
    gapMaxMs: 4 * everyMs,
  }
}
