import { availableParallelism } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { isWindlassError, type WindlassError } from '../../errors.ts'
import { PipedProcess, within } from '../../sys/processes.ts'
import { decompress } from '../decompress.ts'
import type { Compression } from '../detect.ts'
import { decompressExternal } from './decompress-external.ts'
import { type Probe, type Problem, type Verdict, verdicts } from './probe-result.ts'
import { type ProgramFault, programFault } from './program-failure.ts'
import type { ExternalProgram } from './programs.ts'
import { findScriptFiles } from './script-files.ts'
import type { Shape } from './shape.ts'
import { makeProgramCode, makeShapes } from './shapes.ts'

/** A healthy program answers in milliseconds; a loaded machine may take a while. */
const idleMs = 2000
/** No shape takes half a second. */
const deadlineMs = 6000
/** Races show only now and then: the shapes with many hand-overs between threads are run again for so long. */
const stressMs = 1000
const speedRounds = 3
/** Below this part of the speed in process, a right program is no use to anybody. */
const slowRatio = 0.2

/** More of them tell nothing new. */
const problemsMax = 4

export interface ProbeOptions {
  readonly signal: AbortSignal
  /** For tests: how long a program may be silent. */
  readonly idleMs?: number
  /** For tests: how long one stream may take. */
  readonly deadlineMs?: number
  readonly stressMs?: number
}

/** Runs the programs of one host through the probe, one after the other; the streams are made once. */
export class Prober {
  readonly #options: ProbeOptions
  readonly #shapes = new Map<Compression, readonly Shape[]>()
  readonly #samples = new Map<Compression, Uint8Array>()

  constructor(options: ProbeOptions) {
    this.#options = options
  }

  /**
   * Takes a few seconds, and ends whatever the program does. Stops at the first shape that hangs or gives wrong bytes.
   * @throws WindlassError CANCELLED
   */
  async probe(program: ExternalProgram): Promise<Probe> {
    const begun = performance.now()
    const version = await this.#readVersion(program)
    const problems = await this.#tryShapes(program)
    const worst = verdicts.find(verdict => problems.some(problem => problem.verdict === verdict)) ?? 'certified'
    const speed = worst === 'certified' || worst === 'missing-error' ? await this.#measure(program) : {}
    const verdict = worst === 'certified' && (speed.speedRatio ?? 0) < slowRatio ? 'slow' : worst
    return { verdict, problems, ...speed, version, tookMs: Math.round(performance.now() - begun) }
  }

  async #tryShapes(program: ExternalProgram): Promise<Problem[]> {
    const problems: Problem[] = []
    for (const shape of this.#shapesOf(program.compression)) {
      const problem = await this.#tryShape(program, shape)
      if (problem === undefined) continue
      problems.push(problems.length === 0 ? await this.#compareThreads(program, shape, problem) : problem)
      const isHopeless = problem.verdict !== 'missing-error' && problem.verdict !== 'dies'
      if (isHopeless || problems.length === problemsMax) return problems
    }
    const problem = problems.length === 0 ? await this.#stress(program) : undefined
    return problem === undefined ? problems : [problem]
  }

  async #stress(program: ExternalProgram): Promise<Problem | undefined> {
    const shapes = this.#shapesOf(program.compression).filter(({ content, readPauseMs }) => {
      return content !== undefined && content.length > 65536 && readPauseMs === undefined
    })
    const end = performance.now() + (this.#options.stressMs ?? stressMs)
    const runners = Array.from({ length: Math.min(availableParallelism(), 4) }, async (_, first) => {
      for (let index = first; performance.now() < end; index++) {
        const shape = shapes[index % shapes.length]
        const problem = shape && (await this.#tryShape(program, { ...shape, pieceSize: 32768, isOptional: true }))
        if (shape !== undefined && problem !== undefined) return await this.#compareThreads(program, shape, problem)
      }
      return undefined
    })
    return (await Promise.all(runners)).find(problem => problem !== undefined)
  }

  async #compareThreads(program: ExternalProgram, shape: Shape, problem: Problem): Promise<Problem> {
    if (!program.name.endsWith('pigz') || problem.verdict === 'missing-error') return problem
    const single = await this.#tryShape({ ...program, args: ['-p', '1', ...program.args] }, shape)
    return { ...problem, isRightWithOneThread: single === undefined }
  }

  async #tryShape(program: ExternalProgram, shape: Shape): Promise<Problem | undefined> {
    const ms = this.#options.deadlineMs ?? deadlineMs
    const deadline = AbortSignal.timeout(ms)
    const signal = AbortSignal.any([this.#options.signal, deadline])
    const say = (verdict: Verdict, message: string) => ({ shape: shape.name, verdict, message })
    try {
      const source = pieces(shape.compressed, shape.pieceSize)
      const chunks = decompressExternal(program, source, { signal, idleMs: this.#options.idleMs ?? idleMs })
      const difference = await compare(chunks, shape)
      return difference === undefined ? undefined : say(shape.content ? 'wrong-bytes' : 'missing-error', difference)
    } catch (error) {
      if (deadline.aborted) return say('hangs', `not done after ${ms / 1000} s`)
      const fault = programFault(error)
      if (fault === undefined) throw error
      const verdict = judge(fault, shape)
      return verdict && say(verdict, (error as WindlassError).message)
    }
  }

  async #measure(program: ExternalProgram): Promise<{ speed?: number; speedRatio?: number }> {
    const { compression } = program
    const { signal } = this.#options
    const sample = this.#sampleOf(compression)
    const times: { external: number[]; builtin: number[] } = { external: [], builtin: [] }
    let bytes = 0
    try {
      for (let round = 0; round < speedRounds; round++) {
        const begun = performance.now()
        bytes = await drain(decompressExternal(program, pieces(sample), { signal }))
        const between = performance.now()
        await drain(decompress(pieces(sample), { signal, compression }))
        times.external.push(between - begun)
        times.builtin.push(performance.now() - between)
      }
    } catch (error) {
      if (isWindlassError(error, 'CANCELLED')) throw error
      return {} // not measured: never the faster one
    }
    const [external, builtin] = [Math.min(...times.external), Math.min(...times.builtin)]
    return { speed: Math.round((bytes / external) * 1000), speedRatio: Math.round((builtin / external) * 100) / 100 }
  }

  async #readVersion(program: ExternalProgram): Promise<string> {
    try {
      await using child = new PipedProcess(program.path, ['--version'])
      child.stdin.end()
      await within(child.ended, idleMs)
      const output = child.stdout.fill > 0 || child.stdout.bytes > 0 ? await child.stdout.next() : undefined
      const text = output === undefined || output.length === 0 ? child.stderr : Buffer.from(output).toString('latin1')
      const [line = ''] = text.trim().split('\n')
      return line.replace(/[^\x20-\x7e]/g, '').slice(0, 100)
    } catch {
      return ''
    }
  }

  /**
   * Every file that the program, and what it starts, maps when it runs (itself, libraries, interpreters), or names where it is a script. Looked at from
   * its start until it waits for more input: then it has loaded all it needs.
   */
  async listFiles(program: ExternalProgram): Promise<string[]> {
    const files = new Set([program.realPath, ...(await findScriptFiles(program.realPath))])
    for (const file of await this.#listMapped(program)) files.add(file)
    return [...files]
  }

  async #listMapped(program: ExternalProgram): Promise<Set<string>> {
    const files = new Set<string>()
    const head = this.#shapesOf(program.compression).at(-1)?.compressed.subarray(0, 200)
    if (head === undefined) return files
    try {
      await using child = new PipedProcess(program.path, program.args)
      child.stdin.write(head).catch(() => {})
      for (let tries = 0; tries < 50 && child.end === undefined; tries++) {
        for (const file of child.mappedFiles()) files.add(file)
        const isFed = child.stdin.bytes > 0 && child.stdin.fill === 0
        await pause(10, undefined, { signal: this.#options.signal })
        if (isFed) break
      }
      for (const file of child.mappedFiles()) files.add(file)
    } catch (error) {
      if (this.#options.signal.aborted) throw error
    }
    return files
  }

  #shapesOf(compression: Compression): readonly Shape[] {
    const shapes = this.#shapes.get(compression) ?? makeShapes(compression)
    this.#shapes.set(compression, shapes)
    return shapes
  }

  /** 32 MiB of machine code, in four members; for xz, which cannot be written here, its longest shape many times. */
  #sampleOf(compression: Compression): Uint8Array {
    const sample = this.#samples.get(compression) ?? makeSample(compression, this.#shapesOf(compression))
    this.#samples.set(compression, sample)
    return sample
  }
}

function makeSample(compression: Compression, shapes: readonly Shape[]): Uint8Array {
  if (compression === 'xz') {
    const [first] = shapes
    return Buffer.concat(Array.from({ length: 8 }, () => first?.compressed ?? Buffer.alloc(0)))
  }
  const code = makeProgramCode(8 * 1024 * 1024)
  const one = compression === 'zstd' ? zstdCompressSync(code) : gzipSync(code)
  return Buffer.concat([one, one, one, one])
}

/** What a fault means for a shape; undefined where the program was right to refuse it. */
function judge(fault: ProgramFault, { content, isOptional }: Shape): Verdict | undefined {
  if (fault === 'stalled' || fault === 'dribbling' || fault === 'lingering') return 'hangs'
  if (fault === 'unavailable') return 'unavailable'
  if (fault === 'died') return 'dies'
  return content === undefined || isOptional ? undefined : 'dies'
}

/** Reads all of it and says what is wrong with it. */
async function compare(chunks: AsyncIterable<Uint8Array>, shape: Shape): Promise<string | undefined> {
  const { content, readPauseMs } = shape
  let at = 0
  for await (const chunk of chunks) {
    if (content !== undefined && Buffer.compare(content.subarray(at, at + chunk.length), chunk) !== 0)
      return `wrong bytes in the ${chunk.length} after byte ${at}`
    at += chunk.length
    if (readPauseMs !== undefined) await pause(readPauseMs)
  }
  if (content === undefined) return 'a damaged stream ended with status 0; wanted an error'
  return at === content.length ? undefined : `ended with status 0 after ${at} bytes; wanted ${content.length}`
}

async function drain(chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0
  for await (const chunk of chunks) bytes += chunk.length
  return bytes
}

async function* pieces(bytes: Uint8Array, size = 256 * 1024): AsyncGenerator<Uint8Array, void, void> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
