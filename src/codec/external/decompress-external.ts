import { PipedProcess, type ProcessEnd, within } from '../../sys/processes.ts'
import { checkExpansion } from '../decompress.ts'
import { Input } from '../input.ts'
import { describeProcess, type ProgramFault, programFailure } from './program-failure.ts'
import type { ExternalProgram } from './programs.ts'

/** A healthy decompressor answers in milliseconds. */
const idleMsDefault = 10_000
/** Less than this, with input and room, is no work: the slowest board decompresses fifty times more, and an image of 1 GB would take an hour. */
const outputPerSecondMin = 400 * 1024
/** The same for short idle times: a program may fill its own buffers first. */
const outputMin = 64 * 1024
/** Swallowed without any output since: no decompressor buffers that much before it says something (xz -T reads ahead the most). */
const swallowMax = 8 * 1024 * 1024
/** From the end of the output to the end of the process. */
const lingerMs = 2000
/** A program that has ended may have left a copy of its pipe with somebody who never writes; what was written is in the pipe already. */
const orphanMs = 200

export interface ExternalOptions {
  readonly signal: AbortSignal
  /** No output for so long, while there is input and the output is read, is a stall; 10 s if not given. */
  readonly idleMs?: number | undefined
  /** As for `decompress`. */
  readonly ratioMax?: number | undefined
  readonly onInput?: ((bytes: number) => void) | undefined
  readonly onOutput?: ((bytes: number) => void) | undefined
  /** Told of the process as soon as it runs: whoever watches may ask it for facts. */
  readonly onStart?: ((child: PipedProcess) => void) | undefined
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
  options.onStart?.(run.child)
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
  readonly #program: ExternalProgram
  readonly #input: Input
  readonly #watch: Watch
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
    this.#watch = new Watch(this.child, idleMs, fault => this.#accuse(fault, idleMs))
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
    this.#watch.stop()
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

  #accuse(fault: 'stalled' | 'dribbling', idleMs: number): void {
    const facts = this.child.facts()
    const output = fault === 'stalled' ? 'no output' : `less than ${outputPerSecondMin / 1024} KiB of output per second`
    const input = facts.stdinFill > 0 ? `${facts.stdinFill} bytes of input wait` : 'it has had its input'
    const text = `${output} for ${idleMs / 1000} s after ${facts.bytesOut} bytes, although ${input} and its output is read (${describeProcess(facts)})`
    this.child.stdout.fail(programFailure(fault, this.#program, text, { facts, stderr: this.child.stderr }))
  }

  #failure(fault: ProgramFault, text: string, cause?: unknown): Error {
    const { stderr } = this.child
    return programFailure(fault, this.#program, text, { facts: this.child.facts(), stderr, cause })
  }
}

/**
 * Looks at the two pipes of a process again and again. Only time in which the process has input and its output is waited for counts, and no look
 * counts for more than twice its interval: a blocked event loop accuses nobody.
 */
class Watch {
  readonly #child: PipedProcess
  readonly #everyMs: number
  readonly #idleMs: number
  readonly #outputFloor: number
  readonly #accuse: (fault: 'stalled' | 'dribbling') => void
  readonly #timer: NodeJS.Timeout
  #lastMs = performance.now()
  #countedMs = 0
  #silentMs = 0
  #bytesSeen = 0
  #orphanedMs = 0
  /** Output and input at the last moment at which all was well. */
  #bytesOut = 0
  #bytesIn = 0

  constructor(child: PipedProcess, idleMs: number, accuse: (fault: 'stalled' | 'dribbling') => void) {
    this.#child = child
    this.#idleMs = idleMs
    this.#outputFloor = Math.max(outputMin, (outputPerSecondMin * idleMs) / 1000)
    this.#everyMs = Math.min(250, idleMs / 10)
    this.#accuse = accuse
    this.#timer = setInterval(() => this.#look(), this.#everyMs)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const { stdout, end } = this.#child
    const now = performance.now()
    const passedMs = Math.min(now - this.#lastMs, 2 * this.#everyMs)
    this.#lastMs = now
    if (!stdout.isWaiting || stdout.fill > 0) return
    if (end !== undefined) this.#awaitOrphans(passedMs)
    else this.#count(passedMs)
  }

  #count(passedMs: number): void {
    const { stdin, stdout } = this.#child
    const output = stdout.bytes - this.#bytesOut
    this.#silentMs = stdout.bytes > this.#bytesSeen || !this.#hasInput() ? 0 : this.#silentMs + passedMs
    this.#bytesSeen = stdout.bytes
    if (output >= this.#outputFloor || !this.#hasInput()) {
      this.#countedMs = 0
      this.#bytesOut = stdout.bytes
      if (output > 0) this.#bytesIn = stdin.bytes
      return
    }
    this.#countedMs += passedMs
    const isStalled = this.#silentMs >= this.#idleMs
    // Silent for most of the time already: who has stopped is not called slow for what he gave before.
    const isDribbling = this.#countedMs >= this.#idleMs && this.#silentMs < this.#idleMs / 2
    if (!isStalled && !isDribbling) return
    this.stop()
    this.#accuse(isStalled ? 'stalled' : 'dribbling')
  }

  /** The end of the input is input, too: it has to be answered with the end of the output. */
  #hasInput(): boolean {
    const { stdin } = this.#child
    return stdin.isClosed || stdin.fill > 0 || stdin.bytes - this.#bytesIn > swallowMax
  }

  #awaitOrphans(passedMs: number): void {
    this.#orphanedMs += passedMs
    if (this.#orphanedMs < orphanMs) return
    this.stop()
    this.#child.stdout.end()
  }
}
