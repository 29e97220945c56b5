import type { FindingCode } from '../catalogue.ts'
import { type Engine, type EngineDecompressor, isOlder } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type Check, type CheckContext, describeEngine } from './check.ts'

/** Which programs the engines hand their layers to, whether they are to be trusted, and whether the switches against them hold. */
export const checkDecompressors: Check = async context => {
  const findings = await Promise.all(
    context.engines
      .filter(({ environment }) => environment !== undefined)
      .map(async engine => [...(await judgePrograms(context, engine)), ...judgeSettings(engine), ...judgeZstd(engine)]),
  )
  return findings.flat()
}

async function judgePrograms(context: CheckContext, engine: Engine): Promise<Finding[]> {
  const used = engine.decompressors.find(({ use }) => use === 'used' || use === 'invalid-value' || use === 'unknown')
  const wrong = engine.decompressors.filter(({ use }) => use === 'invalid-value').map(one => judgeValue(engine, one))
  if (used?.path === undefined) {
    const evidence = engine.decompressors.map(({ name, use, variable, value }) =>
      use === 'disabled' ? `${variable}=${value} keeps it from using ${name}` : `there is no ${name} on its PATH`,
    )
    return [...wrong, makeFinding('DECOMPRESSOR_IN_PROCESS', describeEngine(engine), { evidence })]
  }
  const { name, path } = used
  const verdict = engine.rootPrefix === '' ? await context.verdictOf(path) : undefined
  const finding = makeFinding(codeOf(verdict), `${describeEngine(engine)} → ${path}`, {
    evidence: [verdict === undefined ? `it runs ${path} for gzip` : `probe of ${path}: ${verdict}`],
    facts: { engine: engine.kind, name, path, verdict: verdict ?? 'not probed' },
  })
  return [...wrong, finding]
}

function codeOf(verdict: string | undefined): FindingCode {
  if (verdict === undefined) return 'DECOMPRESSOR_UNPROVEN'
  return verdict === 'certified' ? 'DECOMPRESSOR_CERTIFIED' : 'DECOMPRESSOR_FAULTY'
}

function judgeValue(engine: Engine, { variable, value, name }: EngineDecompressor): Finding {
  const fails = engine.kind === 'dockerd' && isOlder(engine.version, 20.1)
  const evidence = [
    `${variable}=${JSON.stringify(value)} in its environment`,
    fails ? 'this version fails every pull with it' : `this version warns in its log, and goes on using ${name}`,
  ]
  return makeFinding('DECOMPRESSOR_SETTING_INVALID', describeEngine(engine), { evidence })
}

const switches = ['MOBY_DISABLE_PIGZ', 'CONTAINERD_DISABLE_PIGZ', 'CONTAINERD_DISABLE_IGZIP']

/** A dockerd that keeps its images in a containerd within itself reads both. */
function judgeSettings(engine: Engine): Finding[] {
  const read = new Set(engine.decompressors.map(({ variable }) => variable))
  if (engine.kind === 'dockerd' && !isOlder(engine.version, 29)) return []
  const ignored = switches.filter(name => !read.has(name) && (engine.environment?.get(name) ?? '') !== '')
  // containerd inherits what dockerd was started with: that is nobody's mistake as long as dockerd reads it.
  if (engine.kind === 'containerd' && ignored.every(name => name === 'MOBY_DISABLE_PIGZ')) return []
  return ignored.map(name => {
    const evidence = [
      `${name}=${engine.environment?.get(name)} is in its environment, and ${engine.kind} does not read it`,
    ]
    return makeFinding('DECOMPRESSOR_SETTING_IGNORED', describeEngine(engine), { evidence })
  })
}

function judgeZstd(engine: Engine): Finding[] {
  if (engine.kind !== 'dockerd' || !isOlder(engine.version, 23)) return []
  const evidence = [`version ${engine.version}; zstd layers came with 23.0`]
  return [makeFinding('ZSTD_UNSUPPORTED', describeEngine(engine), { evidence, severity: 'note' })]
}
