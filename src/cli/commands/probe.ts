import { basename, dirname, resolve } from 'node:path'
import type { Certificate } from '../../codec/external/certificates.ts'
import type { ExternalProgram } from '../../codec/external/programs.ts'
import { isWindlassError, WindlassError } from '../../errors.ts'
import { type Context, defineCommand } from '../command.ts'
import { writeJson, writeLine, writeNote } from '../output.ts'
import { printable } from '../printable.ts'
import { openStore } from '../store.ts'
import { formatTable } from '../table.ts'

/** What a shell has where PATH is not set; daemons are started with much the same. */
const pathDefault = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

const exitWarnings = 10
const exitProblems = 11

/** One program, what the probe says, and which engines of this host run it. */
interface Row extends Certificate {
  readonly usedBy: readonly string[]
}

export const command = defineCommand({
  description:
    'Puts the decompressors of this host to the test: unpigz, pigz, igzip, gzip, zstd and xz, as docker, containerd and podman run ' +
    'them. Every shape of stream that is known to break one is given to them through pipes; what hangs is killed, and every byte is ' +
    'compared. A program takes a few seconds.\n' +
    'The results are kept in the store: pull uses a program by itself only if it is certified and faster than in process. They are ' +
    'forgotten when the program, a library that it loads, a program that it starts, the kernel or the processor changes.\n' +
    'The daemons may have another PATH than this command: name a program by its path to test that one.',
  operands: [
    { name: 'PROGRAM', optional: true, many: true, complete: ['igzip', 'unpigz', 'pigz', 'gzip', 'zstd', 'xz'] },
  ],
  options: {},
  examples: [
    { line: 'windlass probe', does: 'Test all that is there.' },
    { line: 'windlass probe unpigz /opt/bin/unpigz', does: 'Test the one on the PATH, and another one.' },
    { line: 'windlass probe --json | jq .programs', does: 'See the evidence, and the libraries.' },
  ],
  exits: [
    '0  every program is certified',
    '10  some are not, or a setting is wrong',
    '11  a program that an engine of this host runs hangs or gives wrong bytes',
  ],
  async run(context, operands) {
    const { findEngines, readDisabled } = await import('../../codec/external/programs.ts')
    const path = context.env['PATH'] || pathDefault
    const found = await findWanted(operands, path)
    const warnings = [...found.warnings, ...readDisabled(context.env).warnings]
    const engines = await findEngines(path)
    const rows = (await probeAll(context, found.programs, warnings)).map(certificate => {
      const usedBy = [...engines].filter(([, names]) => names.some(name => name === certificate.name))
      return { ...certificate, usedBy: usedBy.map(([engine]) => engine) }
    })
    print(context, rows, warnings)
    if (rows.some(isProblem)) return exitProblems
    return warnings.length > 0 || rows.some(({ verdict }) => verdict !== 'certified') ? exitWarnings : 0
  },
})

function isProblem({ verdict, usedBy }: Row): boolean {
  return usedBy.length > 0 && (verdict === 'hangs' || verdict === 'wrong-bytes')
}

/** The programs that are asked for, by name or by path; all that are there if none is. */
async function findWanted(operands: readonly string[], path: string) {
  const { findPrograms, isProgramName, programNames } = await import('../../codec/external/programs.ts')
  if (operands.length === 0) return await findPrograms(path)
  const programs: ExternalProgram[] = []
  const warnings: string[] = []
  for (const operand of operands) {
    const name = basename(operand)
    if (!isProgramName(name)) {
      const text = `Cannot probe ${JSON.stringify(operand)}: unknown; wanted ${programNames.join(', ')}, or a path to one`
      throw new WindlassError('USAGE', text)
    }
    const found = await findPrograms(operand.includes('/') ? dirname(resolve(operand)) : path, [name])
    warnings.push(...found.warnings)
    programs.push(...found.programs)
    if (found.programs.length === 0) warnings.push(`There is no ${operand} that could be used`)
  }
  return { programs, warnings }
}

async function probeAll(
  context: Context,
  programs: readonly ExternalProgram[],
  warnings: string[],
): Promise<Certificate[]> {
  const [{ Certificates }, { Prober }] = await Promise.all([
    import('../../codec/external/certificates.ts'),
    import('../../codec/external/certify.ts'),
  ])
  const certificates = await Certificates.read(context.root)
  const prober = new Prober({ signal: context.signal })
  const results: Certificate[] = []
  using _progress = await context.openProgress('Probing decompressors')
  for (const program of programs) results.push(await certificates.probe(program, prober))
  try {
    await using _store = await openStore(context) // makes the directory what a store has to be
    await certificates.write()
  } catch (error) {
    if (isWindlassError(error, 'CANCELLED')) throw error
    warnings.push(`The results are not remembered: ${error instanceof Error ? error.message : error}`)
  }
  return results
}

function print(context: Context, rows: readonly Row[], warnings: readonly string[]): void {
  if (context.json) return writeJson(context, { programs: rows, warnings })
  if (context.logLevel !== 'error') for (const text of warnings) context.stderr.write(`warning: ${printable(text)}\n`)
  if (context.quiet) return
  if (rows.length === 0)
    return writeNote(context, 'No decompressor is on the PATH: everything is decompressed in process')
  const cells = rows.map(({ name, path, version, verdict, speedRatio, usedBy }) => [
    name,
    path,
    version || '-',
    verdict,
    speedRatio === undefined ? '-' : `${speedRatio.toFixed(2)}x`,
    usedBy.join(', ') || '-',
  ])
  for (const line of formatTable(['PROGRAM', 'PATH', 'VERSION', 'VERDICT', 'SPEED', 'USED BY'], cells))
    writeLine(context, line)
  for (const { path, problems } of rows) {
    for (const problem of problems)
      writeLine(context, `${path}: ${problem.verdict} at "${problem.shape}": ${problem.message}`)
    if (problems[0]?.isRightWithOneThread === true) writeLine(context, `${path}: right with one thread (-p 1)`)
  }
}
