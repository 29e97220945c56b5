import { type Engine, type EngineDecompressor, isOlder } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** Whether the switches against decompressors are understood, and read at all. */
export const decompressorSettings: CheckOf<'engine'> = {
  name: 'decompressor-settings',
  of: 'engine',
  look(engine) {
    const wrong = engine.decompressors.filter(({ use }) => use === 'invalid-value')
    return [...wrong.map(one => judgeValue(engine, one)), ...judgeSettings(engine), ...judgeZstd(engine)]
  },
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
