import { startOf } from '../../sys/process-age.ts'
import { type Engine, remembersDecompressor } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'
import { usedDecompressor } from './decompressor-programs.ts'

const writableByAll = 0o002

/** Whether the file of the decompressor is the one that the engine knows, and nobody but its owner may replace it. */
export const decompressorFile: CheckOf<'engine'> = {
  name: 'decompressor-file',
  of: 'engine',
  async look(engine, context) {
    const path = usedDecompressor(engine)?.path
    if (path === undefined) return []
    return [...(await judgeRights(engine, path, context)), ...(await judgeCache(engine, path, context))]
  },
}

async function judgeRights(engine: Engine, path: string, { host }: CheckContext): Promise<Finding[]> {
  const places = [path, path.replace(/\/[^/]+$/, '') || '/']
  const files = await Promise.all(places.map(place => host.disk.file(engine.rootPrefix + place)))
  const open = places.filter((_, at) => ((files[at]?.mode ?? 0) & writableByAll) !== 0)
  if (open.length === 0) return []
  const evidence = [`everybody may write to ${open.join(' and ')}, and the engine runs ${path}`]
  return [makeFinding('DECOMPRESSOR_WRITABLE', describeEngine(engine), { evidence })]
}

async function judgeCache(engine: Engine, path: string, { host }: CheckContext): Promise<Finding[]> {
  if (!remembersDecompressor(engine)) return []
  const changedMs = (await host.disk.file(engine.rootPrefix + path))?.ctimeMs
  const startedMs = startOf(host, engine.process.startTicks)
  if (changedMs === undefined || !(changedMs > startedMs + 1000)) return []
  const evidence = [
    `${path} was changed ${new Date(changedMs).toISOString()}, and the engine runs since ${new Date(startedMs).toISOString()}`,
    'it remembers where it found a decompressor at its first layer: another one, or none, may be in use',
  ]
  return [makeFinding('DECOMPRESSOR_PATH_CACHED', describeEngine(engine), { evidence, confidence: 'likely' })]
}
