/** Does a cure help? What can be seen of that at once. */
import { parseGoBool } from '../../codec/external/programs.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readProcessTable } from '../../sys/process-files.ts'
import { type Engine, findEngines } from '../engines.ts'
import { type Cure, variablesOf } from './cure.ts'
import { isShim } from './shim-file.ts'

export interface CureProof {
  readonly isProven: boolean
  readonly text: string
}

export async function provesCure(host: HostView, cure: Cure, signal: AbortSignal): Promise<CureProof> {
  const { kind, engine, effect } = cure
  if (kind === 'shim') return await provesShim(host, engine, effect, signal)
  if (kind === 'disable') return await judgeSetting(host, cure)
  const again = await findAgain(host, engine, signal)
  const text =
    again === undefined
      ? `${engine.kind} is not running yet`
      : `${engine.kind} runs anew as process ${again.process.pid}`
  return { isProven: again !== undefined, text }
}

/** Only the engine's next process shows it: until then it can be seen at most that it will not help. */
async function judgeSetting(host: HostView, cure: Cure): Promise<CureProof> {
  const { engine, unit, changes, effect } = cure
  const hindrance = unit === undefined ? undefined : await findHindrance(host, engine, unit)
  const place = unit === undefined ? changes.map(({ path }) => path).join(' and ') : `systemd's environment of ${unit}`
  const text =
    hindrance ?? `the setting stands in ${place}; unproven until ${engine.kind} is restarted: it takes effect ${effect}`
  return { isProven: false, text }
}

/** What counts more than the drop-in: a later one, and files of the environment, which come after all of them (systemd.exec(5)). */
async function findHindrance(host: HostView, engine: Engine, unit: string): Promise<string | undefined> {
  const properties = ['Environment', 'EnvironmentFiles', 'UnsetEnvironment'].flatMap(name => ['-p', name])
  const told = await host.tell('systemctl', ['show', ...properties, unit])
  if (told === undefined) return `systemctl does not tell what ${unit} will have in its environment`
  const [, environment = ''] = /^Environment=(.*)$/m.exec(told) ?? []
  const [, unset = ''] = /^UnsetEnvironment=(.*)$/m.exec(told) ?? []
  const files = [...told.matchAll(/^EnvironmentFiles=(\/.*) \(ignore_errors=\w+\)$/gm)].map(([, path = '']) => path)
  for (const variable of variablesOf(engine)) {
    const isSet = wordsOf(environment).includes(`${variable}=true`)
    if (!isSet || wordsOf(unset).some(word => word.split('=')[0] === variable))
      return `systemd does not give ${variable}=true to ${unit}: another drop-in counts more (systemctl cat ${unit})`
    for (const path of files) {
      const lines = [...((await host.disk.text(path)) ?? '').matchAll(/^\s*(\w+)=["']?([^"'\n]*)/gm)]
      const value = lines.findLast(([, name]) => name === variable)?.[2]
      if (value !== undefined && parseGoBool(value.trim()) !== true)
        return `${path} sets ${variable} to ${JSON.stringify(value)}, and counts more than the drop-in`
    }
  }
  return undefined
}

function wordsOf(line: string): string[] {
  return line.replaceAll('"', '').split(' ')
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
