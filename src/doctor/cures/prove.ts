/** Does a cure help? What can be seen of that at once. */
import { parseGoBool } from '../../codec/external/programs.ts'
import type { HostView } from '../../sys/host-view.ts'
import { readProcessTable } from '../../sys/process-files.ts'
import { type Engine, findEngines } from '../engines.ts'
import { refuseToRun } from '../own-programs.ts'
import { type Cure, nameOf, variablesOf } from './cure.ts'
import { isShim } from './shim-file.ts'
import { findUnit } from './unit.ts'

export interface CureProof {
  readonly isProven: boolean
  readonly text: string
}

export async function provesCure(host: HostView, cure: Cure, signal: AbortSignal): Promise<CureProof> {
  const { kind, engine, effect } = cure
  if (kind === 'shim') return await provesShim(host, engine, effect, signal)
  if (kind === 'disable') return await judgeSetting(host, cure)
  return await provesRestart(host, cure, signal)
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

/** What starts it may be done before it runs, and it listens before it has opened its data. */
const startMs = 30_000
const lookMs = 250

async function provesRestart(host: HostView, cure: Cure, signal: AbortSignal): Promise<CureProof> {
  const { kind, process } = cure.engine
  const before = host.elapsed()
  for (;;) {
    const engines = await findEngines(host, readProcessTable(host))
    const newer = engines.filter(other => other.kind === kind && other.process.startTicks > process.startTicks)
    const differences = await Promise.all(newer.map(other => findDifference(host, cure, other)))
    const again = newer[differences.indexOf(undefined)]
    if (again !== undefined) return { isProven: true, text: `${kind} runs anew as process ${again.process.pid}` }
    if (host.elapsed() - before > startMs) {
      const others = newer.map((other, at) => `; ${nameOf(other)}, which was started since, ${differences[at]}`)
      return { isProven: false, text: `${kind} is not running yet${others.join('')}` }
    }
    await host.pause(lookMs, signal)
  }
}

/** Several engines of a kind may run on a host, and any of them may be started anew meanwhile. */
async function findDifference(host: HostView, { engine, unit }: Cure, other: Engine): Promise<string | undefined> {
  if (unit !== undefined && (await findUnit(host, other)).unit !== unit) return `is not of ${unit}`
  if (other.dataRoot !== engine.dataRoot) return `keeps its data in ${other.dataRoot}, not in ${engine.dataRoot}`
  const [socket] = engine.sockets
  const isThere = socket === undefined || engine.sockets.some(path => other.sockets.includes(path))
  return isThere ? undefined : `does not listen on ${socket}`
}

/** The engine's own search must end at the shim, and what stands behind it must decompress rightly. */
async function provesShim(host: HostView, engine: Engine, effect: string, signal: AbortSignal): Promise<CureProof> {
  const [now] = await findEngines(host, readProcessTable(host), engine.process.pid)
  const paths = (now?.decompressors ?? []).flatMap(({ path }) => (path === undefined ? [] : [path]))
  for (const path of paths) {
    if (!(await isShim(host, engine.rootPrefix + path)))
      return { isProven: false, text: `the engine still finds ${path} first` }
  }
  const refusals = await Promise.all(paths.map(path => refuseToRun(host, engine, path)))
  const refusal = refusals.find(one => one !== undefined)
  const verdict = engine.rootPrefix === '' && refusal === undefined ? await probe(paths, signal) : undefined
  if (verdict !== undefined && verdict !== 'certified' && verdict !== 'slow')
    return { isProven: false, text: `the engine finds the shim, but the probe says of it: ${verdict}` }
  const tried =
    verdict === undefined
      ? (refusal ?? 'it could not be tried, in the root of the engine')
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
