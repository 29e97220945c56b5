import { WindlassError } from '../../errors.ts'
import { within } from '../../sys/processes.ts'
import type { Compression } from '../detect.ts'
import { Certificates } from './certificates.ts'
import { type ExternalProgram, findPrograms, isProgramName, programNames, readDisabled } from './programs.ts'

/** A program has to be faster than in process by so much: two pipes and a process that may fail are worth no less. */
const speedRatioMin = 1.15
/** A disk that does not write a few KiB in that time is a matter of its own. */
const rememberMs = 2000

export interface PlanOptions {
  /** `auto` for the best for each stream, `builtin` for always in process, or the name of a program, for where it can. */
  readonly decompressor: string
  /** Where the certificates are: the root of the store. */
  readonly directory: string
  /** Directories, joined by colons, in which programs are looked for. */
  readonly path: string
  /** The environment, for the switches of docker and containerd. */
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Which program decompresses what, for one run of windlass. */
export class DecompressorPlan {
  readonly warnings: readonly string[]
  readonly #programs: ExternalProgram[]
  readonly #certificates: Certificates | undefined
  #remembered: Promise<unknown> = Promise.resolve()

  /** @param programs the best of a compression first */
  constructor(programs: readonly ExternalProgram[], certificates?: Certificates, warnings: readonly string[] = []) {
    this.#programs = [...programs]
    this.#certificates = certificates
    this.warnings = warnings
  }

  /** The program for a stream, or undefined for in process. Needs no `this`. */
  readonly choose = (compression: Compression): ExternalProgram | undefined =>
    this.#programs.find(program => program.compression === compression)

  /** After a failure: the program is used no more in this run, and in later ones only after a new probe. Never throws. */
  distrust(program: ExternalProgram, reason: string): void {
    const at = this.#programs.findIndex(({ path }) => path === program.path)
    if (at < 0) return // another layer has told it already
    this.#programs.splice(at, 1)
    this.#remembered = this.#remembered.then(() => this.#remember(program, reason))
  }

  /** Resolves when what failed is remembered for later runs, or when that takes too long. */
  async settled(): Promise<void> {
    await within(this.#remembered, rememberMs)
  }

  async #remember(program: ExternalProgram, reason: string): Promise<void> {
    try {
      await this.#certificates?.distrust(program, reason)
      await this.#certificates?.write()
    } catch {} // a store that cannot be written to fails for its own reasons
  }
}

/**
 * Looks at what the host has. `auto` takes what was certified by an earlier probe, was not distrusted since, and is faster than in process; it
 * probes nothing itself. A name on the command line is an order: it goes before the switches of the environment and the certificates.
 * @throws WindlassError USAGE (unknown name), NOT_FOUND (a known program that this host does not have)
 */
export async function planDecompressors(options: PlanOptions): Promise<DecompressorPlan> {
  const { decompressor, directory, path, env } = options
  if (decompressor === 'builtin') return new DecompressorPlan([])
  const certificates = await Certificates.read(directory)
  if (decompressor !== 'auto') return await planOne(decompressor, path, certificates)
  const { disabled, warnings } = readDisabled(env)
  const found = await findPrograms(
    path,
    programNames.filter(name => !disabled.has(name)),
  )
  const rated = await Promise.all(
    found.programs.map(async program => ({ program, ratio: await rate(program, certificates) })),
  )
  const fast = rated.filter(({ ratio }) => ratio >= speedRatioMin).sort((a, b) => b.ratio - a.ratio)
  return new DecompressorPlan(
    fast.map(({ program }) => program),
    certificates,
    [...warnings, ...found.warnings],
  )
}

async function planOne(name: string, path: string, certificates: Certificates): Promise<DecompressorPlan> {
  const wanted = `wanted auto, builtin, ${programNames.join(', ')}`
  if (!isProgramName(name))
    throw new WindlassError('USAGE', `Cannot use decompressor ${JSON.stringify(name)}: unknown; ${wanted}`)
  const { programs, warnings } = await findPrograms(path, [name])
  const [program] = programs
  if (program === undefined)
    throw new WindlassError('NOT_FOUND', `Cannot use decompressor ${name}: it is not on the PATH; ${wanted}`)
  const certificate = await certificates.find(program)
  const isBad =
    certificate !== undefined && (certificate.distrusted !== undefined || certificate.verdict !== 'certified')
  const doubt = isBad ? [`${program.path} is not to be trusted: ${certificate.distrusted ?? certificate.verdict}`] : []
  return new DecompressorPlan([program], certificates, [...warnings, ...doubt])
}

/** Speed relative to in process; 0 for a program that is not certified. */
async function rate(program: ExternalProgram, certificates: Certificates): Promise<number> {
  const certificate = await certificates.find(program)
  if (certificate?.verdict !== 'certified' || certificate.distrusted !== undefined) return 0
  return certificate.speedRatio ?? 0
}
