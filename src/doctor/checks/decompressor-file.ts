import { type Engine, isOlder } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'
import { usedDecompressor } from './decompressor-programs.ts'

const writableByAll = 0o002
const ticksPerSecond = 100

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

/** containerd looks its programs up once, at its first layer; so did dockerd to 19.03. */
async function judgeCache(engine: Engine, path: string, { host }: CheckContext): Promise<Finding[]> {
  const remembers =
    engine.kind === 'dockerd'
      ? isOlder(engine.version, 20.1)
      : engine.kind !== 'podman' && engine.kind !== 'skopeo' && engine.kind !== 'buildah'
  if (!remembers) return []
  const [, uptime] = /^(\S+)/.exec(host.text('/proc/uptime') ?? '') ?? []
  const changedMs = (await host.disk.file(engine.rootPrefix + path))?.ctimeMs
  if (uptime === undefined || changedMs === undefined) return []
  const startedMs = host.now() - (Number(uptime) - engine.process.startTicks / ticksPerSecond) * 1000
  if (changedMs <= startedMs + 1000) return []
  const evidence = [
    `${path} was changed ${new Date(changedMs).toISOString()}, and the engine runs since ${new Date(startedMs).toISOString()}`,
    'it remembers where it found a decompressor at its first layer: another one, or none, may be in use',
  ]
  return [makeFinding('DECOMPRESSOR_PATH_CACHED', describeEngine(engine), { evidence, confidence: 'likely' })]
}
