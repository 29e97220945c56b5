/** Does a cure help? What can be seen of that at once. */
import type { HostView } from '../../sys/host-view.ts'
import { readProcessTable } from '../../sys/process-files.ts'
import { type Engine, findEngines } from '../engines.ts'
import type { Cure } from './cure.ts'
import { isShim } from './shim-file.ts'

export interface CureProof {
  readonly isProven: boolean
  readonly text: string
}

export async function provesCure(host: HostView, cure: Cure, signal: AbortSignal): Promise<CureProof> {
  const { kind, engine, effect } = cure
  if (kind === 'shim') return await provesShim(host, engine, effect, signal)
  if (kind === 'disable') return { isProven: true, text: `the setting stands there; it takes effect ${effect}` }
  const again = await findAgain(host, engine, signal)
  const text =
    again === undefined
      ? `${engine.kind} is not running yet`
      : `${engine.kind} runs anew as process ${again.process.pid}`
  return { isProven: again !== undefined, text }
}

/** What starts it may be done before it runs. */
const startMs = 10_000
const lookMs = 250

async function findAgain(host: HostView, { kind, process }: Engine, signal: AbortSignal): Promise<Engine | undefined> {
  const before = host.elapsed()
  for (;;) {
    const engines = await findEngines(host, readProcessTable(host))
    const again = engines.find(other => other.kind === kind && other.process.startTicks > process.startTicks)
    if (again !== undefined || host.elapsed() - before > startMs) return again
    await host.pause(lookMs, signal)
  }
}

/** The engine's own search must end at the shim, and what stands behind it must decompress rightly. */
async function provesShim(host: HostView, engine: Engine, effect: string, signal: AbortSignal): Promise<CureProof> {
  const [now] = await findEngines(host, readProcessTable(host), engine.process.pid)
  const paths = (now?.decompressors ?? []).flatMap(({ path }) => (path === undefined ? [] : [path]))
  for (const path of paths) {
    if (!(await isShim(host, engine.rootPrefix + path)))
      return { isProven: false, text: `the engine still finds ${path} first` }
  }
  const verdict = engine.rootPrefix === '' ? await probe(paths, signal) : undefined
  if (verdict !== undefined && verdict !== 'certified' && verdict !== 'slow')
    return { isProven: false, text: `the engine finds the shim, but the probe says of it: ${verdict}` }
  const tried =
    verdict === undefined
      ? 'it could not be tried, in the root of the engine'
      : 'the probe of it is right on all shapes'
  return { isProven: true, text: `the engine finds ${paths.join(' and ')} first; ${tried}; it takes effect ${effect}` }
}

async function probe(paths: readonly string[], signal: AbortSignal): Promise<string | undefined> {
  const [{ Prober }, { findPrograms, isProgramName }] = await Promise.all([
    import('../../codec/external/certify.ts'),
    import('../../codec/external/programs.ts'),
  ])
  for (const path of paths) {
    const [, directory = '/', name = ''] = /^(.*)\/([^/]+)$/.exec(path) ?? []
    if (!isProgramName(name)) continue
    const { programs } = await findPrograms(directory || '/', [name])
    const [program] = programs
    if (program === undefined) return 'not to be trusted: others may write to it'
    const { verdict } = await new Prober({ signal }).probe(program)
    if (verdict !== 'certified') return verdict
  }
  return 'certified'
}
