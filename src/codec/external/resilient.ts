import { createHash, type Hash } from 'node:crypto'
import { WindlassError } from '../../errors.ts'
import { within } from '../../sys/processes.ts'
import { decompress } from '../decompress.ts'
import { type Compression, detectCompression } from '../detect.ts'
import { Input } from '../input.ts'
import { decompressExternal, type ExternalOptions } from './decompress-external.ts'
import { type ProgramFault, programFault } from './program-failure.ts'
import type { ExternalProgram } from './programs.ts'

/** A source that was told to stop has to let go of its file and connection before it is opened anew; a deaf one is not waited for longer. */
const sourceCloseMs = 5000

/** An external program was given up, and its work goes on in process. */
export interface Fallback {
  readonly program: ExternalProgram
  readonly fault: ProgramFault
  /** The evidence: message and facts of the failure. */
  readonly error: WindlassError
  /** What it had given out, all of which is checked now. */
  readonly bytesOut: number
}

export interface ResilientOptions
  extends Pick<ExternalOptions, 'signal' | 'idleMs' | 'ratioMax' | 'onOutput' | 'onStart'> {
  /** The compressed bytes from the first on. Called a second time after a fallback; the signal of the first has then fired. */
  readonly open: (signal: AbortSignal) => AsyncIterable<Uint8Array>
  /** The program for bytes that are compressed in that way, undefined for in process. */
  readonly choose: (compression: Compression) => ExternalProgram | undefined
  /** As of `decompress`: a chunk is used no more when the second one after it is asked for. */
  readonly recycle?: boolean | undefined
  readonly onFallback?: ((fallback: Fallback) => void) | undefined
  /** Told when the program has given out other bytes than are in the data. The error asks for a redo. */
  readonly onWrong?: ((program: ExternalProgram, error: WindlassError) => void) | undefined
}

/**
 * Decompresses with an external program, and in process from where it fails. Iterate it once. A program's failure in the middle costs nothing
 * but time: its process group is killed, the compressed bytes are opened anew and decompressed in process, and if what the program gave
 * out turns out to be the beginning of that, the rest follows as if nothing had happened.
 *
 * Iterating throws what `decompress` throws, or the source, unchanged; and CORRUPT with `isRedo` if the program gave out wrong bytes.
 * At the end, `digest` is to be compared with the diffId: a program that gives wrong bytes with status 0 is found by nobody else. If it
 * differs and `program` is there, the program is to be distrusted and the work done again in process, before the image is blamed.
 */
export class ResilientDecompression implements AsyncIterable<Uint8Array> {
  readonly #options: ResilientOptions
  readonly #algorithm: string
  readonly #hash: Hash
  #bytesOut = 0
  #program: ExternalProgram | undefined
  #fallback: Fallback | undefined
  #isExonerated = false

  constructor(options: ResilientOptions, algorithm = 'sha256') {
    this.#options = options
    this.#algorithm = algorithm
    this.#hash = createHash(algorithm)
  }

  /** The external program that gave out some of the bytes, or all. */
  get program(): ExternalProgram | undefined {
    return this.#program
  }

  get fallback(): Fallback | undefined {
    return this.#fallback
  }

  /** True once the same data failed in process, too: the program was right to refuse it. */
  get isExonerated(): boolean {
    return this.#isExonerated
  }

  get bytesOut(): number {
    return this.#bytesOut
  }

  /** Hash in hex of all that was given out, without its algorithm. */
  get digest(): string {
    return this.#hash.copy().digest('hex')
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    using first = new Attempt(this.#options)
    using input = new Input(first.source, this.#options)
    const kind = detectCompression(await input.peek())
    this.#program = this.#options.choose(kind)
    if (this.#program?.compression !== kind) this.#program = undefined
    if (this.#program === undefined)
      return yield* this.#pass(decompress(rest(input), { ...this.#options, compression: kind }))
    try {
      return yield* this.#pass(decompressExternal(this.#program, rest(input), this.#options))
    } catch (error) {
      this.#giveUp(this.#program, error)
    }
    input[Symbol.dispose]()
    await first.close()
    yield* this.#goOn(this.#program, kind)
  }

  async *#pass(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
    for await (const chunk of chunks) {
      this.#hash.update(chunk)
      this.#bytesOut += chunk.length
      yield chunk
    }
  }

  #giveUp(program: ExternalProgram, error: unknown): void {
    const fault = programFault(error)
    if (fault === undefined) throw error
    this.#fallback = { program, fault, error: error as WindlassError, bytesOut: this.#bytesOut }
    this.#options.onFallback?.(this.#fallback)
  }

  /** Decompresses from the beginning, proves that the program's bytes are its prefix, and gives out the rest. */
  async *#goOn(program: ExternalProgram, compression: Compression): AsyncGenerator<Uint8Array, void, void> {
    const { signal, ratioMax, onOutput, recycle } = this.#options
    using second = new Attempt(this.#options)
    const prefix = new Prefix(this.#bytesOut, this.#hash, this.#algorithm)
    try {
      for await (const chunk of decompress(second.source, { signal, ratioMax, compression, recycle })) {
        const fresh = prefix.isProven ? chunk : prefix.take(chunk)
        if (prefix.isWrong) throw this.#wrong(program)
        if (fresh.length === 0) continue
        this.#hash.update(fresh)
        this.#bytesOut += fresh.length
        onOutput?.(fresh.length)
        yield fresh
      }
    } catch (error) {
      this.#isExonerated =
        error instanceof WindlassError && /^(CORRUPT|LIMIT_EXCEEDED|UNSUPPORTED)$/.test(error.code) && !isRedo(error)
      throw error
    }
    if (!prefix.isProven) throw this.#wrong(program)
  }

  #wrong(program: ExternalProgram): WindlassError {
    const bytesOut = this.#fallback?.bytesOut ?? 0
    const text = `Cannot go on after ${program.path}: the ${bytesOut} bytes that it gave out are wrong; wanted them as decompressed in process`
    const facts = { redo: true, decompressor: program.name, path: program.path, bytesOut }
    const error = new WindlassError('CORRUPT', text, { facts, cause: this.#fallback?.error })
    this.#options.onWrong?.(program, error)
    return error
  }
}

/** True for the error that asks to throw away what was unpacked and to do the same work again, in process. */
export function isRedo(error: unknown): boolean {
  return error instanceof WindlassError && error.facts['redo'] === true
}

/** Compares a stream's first bytes with what was given out already. */
class Prefix {
  #left: number
  readonly #given: string
  readonly #hash: Hash
  #isRight = true

  constructor(bytes: number, given: Hash, algorithm: string) {
    this.#left = bytes
    this.#given = given.copy().digest('hex')
    this.#hash = createHash(algorithm)
    this.#compare()
  }

  get isProven(): boolean {
    return this.#left === 0 && this.#isRight
  }

  get isWrong(): boolean {
    return !this.#isRight
  }

  /** Takes what belongs to the prefix, and returns what follows it. */
  take(chunk: Uint8Array): Uint8Array {
    const known = chunk.subarray(0, this.#left)
    this.#hash.update(known)
    this.#left -= known.length
    this.#compare()
    return chunk.subarray(known.length)
  }

  #compare(): void {
    if (this.#left === 0) this.#isRight = this.#hash.digest('hex') === this.#given
  }
}

/** One opening of the compressed bytes, which can be told to stop, and waited for until it has. */
class Attempt implements Disposable {
  readonly source: AsyncIterable<Uint8Array>
  readonly #abort = new AbortController()
  readonly #closed = Promise.withResolvers<void>()
  #begun = false

  constructor({ open, signal }: ResilientOptions) {
    this.source = this.#follow(() => open(AbortSignal.any([signal, this.#abort.signal])))
  }

  async close(): Promise<void> {
    this[Symbol.dispose]()
    if (this.#begun) await within(this.#closed.promise, sourceCloseMs)
  }

  [Symbol.dispose](): void {
    this.#abort.abort()
  }

  async *#follow(open: () => AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
    this.#begun = true
    try {
      yield* open()
    } finally {
      this.#closed.resolve()
    }
  }
}

async function* rest(input: Input): AsyncGenerator<Uint8Array, void, void> {
  for (let data = await input.next(); data !== undefined; data = await input.next()) yield data
}
