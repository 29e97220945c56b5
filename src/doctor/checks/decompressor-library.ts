import { type Engine, isOfHost } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { describeUnseen, refuseProgram } from '../own-programs.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'
import { usedDecompressor } from './decompressor-programs.ts'

/** What decides which libraries the loader takes. */
const loaderVariables = ['LD_LIBRARY_PATH', 'LD_PRELOAD', 'LD_AUDIT']
/** Known to have given wrong bytes under pigz, or to hand the work to a device. */
const unusual: readonly (readonly [RegExp, string])[] = [
  [
    /zlib-?ng/i,
    'zlib-ng: before 2.0.5, 2.1.8 and 2.2.2 it could give wrong bytes to pigz, which alone uses inflateBack',
  ],
  [/kae|libwd\b|libwd\.|uadk/i, 'the accelerator library of Kunpeng (KAE): layers go through a device and its driver'],
  [/qat|libqatzip/i, 'the accelerator library of QuickAssist: layers go through a device and its driver'],
]

/**
 * Which pigz and which zlib really work together: as the loader puts them together for a child of the engine. It runs the program only to tell its version,
 * and only one that its package vouches for, and that nobody but root and us can replace: what somebody put in its place may do anything.
 */
export const decompressorLibrary: CheckOf<'engine'> = {
  name: 'decompressor-library',
  of: 'engine',
  after: [
    { check: 'decompressor-file', unless: ['DECOMPRESSOR_WRITABLE'] },
    { check: 'decompressor-package', unless: ['DECOMPRESSOR_UNOWNED', 'DECOMPRESSOR_ALTERED', 'DECOMPRESSORS_UNSEEN'] },
  ],
  async look(engine, context) {
    const used = usedDecompressor(engine)
    if (used?.path === undefined || engine.rootPrefix !== '') return []
    const { path } = used
    const refusal = context.host.network === undefined ? undefined : await refuseProgram(context.host, path)
    if (refusal !== undefined) {
      const unseen = makeFinding('DECOMPRESSORS_UNSEEN', describeEngine(engine), { evidence: [refusal] })
      return [...judgePreloads(engine), unseen]
    }
    // A stranger's library would be loaded with our rights.
    const loader = (await isOfHost(context.host, engine.process.pid)) ? loaderSettings(engine) : []
    const files = await listLibraries(path, loader, context)
    const found = [...judgePreloads(engine), ...judgeLibraries(engine, path, files)]
    return /pigz$/.test(used.name) ? [...found, ...(await judgePigz(engine, path, loader, context))] : found
  },
}

function loaderSettings({ environment }: Engine): string[] {
  return loaderVariables.flatMap(name => {
    const value = environment?.get(name)
    return value === undefined || value === '' ? [] : [`${name}=${value}`]
  })
}

/** By the loader itself, in the engine's environment. */
async function listLibraries(path: string, loader: readonly string[], { host }: CheckContext): Promise<string[]> {
  const told = await host.tell('env', [...loader, 'ldd', path])
  return [...(told ?? '').matchAll(/(?:=> |^\t)(\/\S+)/gm)].map(([, file = '']) => file)
}

function judgePreloads(engine: Engine): Finding[] {
  const evidence = loaderSettings(engine)
  if (evidence.length === 0) return []
  return [makeFinding('DECOMPRESSOR_LIBRARY_CHOSEN', describeEngine(engine), { evidence })]
}

function judgeLibraries(engine: Engine, path: string, files: readonly string[]): Finding[] {
  const evidence = unusual.flatMap(([pattern, words]) => {
    const file = files.find(file => pattern.test(file))
    return file === undefined ? [] : [`${path} loads ${file}: ${words}`]
  })
  return evidence.length === 0 ? [] : [makeFinding('ZLIB_UNUSUAL', describeEngine(engine), { evidence })]
}

/** To 2.7 it reads the version of zlib as three numbers at least: 1.3 looks like none, and it refuses every stream. */
async function judgePigz(
  engine: Engine,
  path: string,
  loader: readonly string[],
  { host }: CheckContext,
): Promise<Finding[]> {
  const told = await host.tell('env', [...loader, path, '-vV'], 'whatever')
  const [, pigz] = /^pigz (\d+\.\d+(?:\.\d+)*)/m.exec(told ?? '') ?? []
  const [, zlib] = /^zlib (\S+)/m.exec(told ?? '') ?? []
  if (pigz === undefined) {
    const wasRun = told !== undefined || host.network !== undefined
    const evidence = [
      wasRun ? `${path} did not tell its version: it is no pigz, or none that runs` : describeUnseen(path),
    ]
    return [makeFinding('DECOMPRESSORS_UNSEEN', describeEngine(engine), { evidence })]
  }
  const subject = `${describeEngine(engine)} → ${path}`
  const facts = { pigz, zlib: zlib ?? '' }
  const evidence = [`pigz ${pigz} with zlib ${zlib ?? 'of unknown version'}`]
  if (zlib !== undefined && isOlderThan28(pigz) && /^\d+\.\d+$/.test(zlib))
    return [makeFinding('PIGZ_REFUSES_ZLIB', subject, { evidence, facts })]
  if (/zlib-ng/i.test(zlib ?? '')) return [makeFinding('ZLIB_UNUSUAL', subject, { evidence, facts })]
  return [makeFinding('DECOMPRESSOR_VERSION', subject, { evidence, facts })]
}

function isOlderThan28(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major < 2 || (major === 2 && minor < 8)
}
