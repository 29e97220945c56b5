import type { FindingCode } from '../catalogue.ts'
import type { Engine, EngineDecompressor } from '../engines.ts'
import { makeFinding } from '../finding.ts'
import { refuseToRun } from '../own-programs.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** Which program the engine hands its layers to, and whether it is to be trusted. */
export const decompressorPrograms: CheckOf<'engine'> = {
  name: 'decompressor-programs',
  of: 'engine',
  boundMs: 60_000, // a probe takes as long as the program lets it, in bounds of its own
  async look(engine, { host, verdictOf, mayTry }) {
    if (engine.environment === undefined) return []
    const used = usedDecompressor(engine)
    if (used?.path === undefined) {
      const evidence = engine.decompressors.map(({ name, use, variable, value }) =>
        use === 'disabled' ? `${variable}=${value} keeps it from using ${name}` : `there is no ${name} on its PATH`,
      )
      return [makeFinding('DECOMPRESSOR_IN_PROCESS', describeEngine(engine), { evidence })]
    }
    const { name, path } = used
    const isElsewhere = engine.rootPrefix !== ''
    const refusal = mayTry && !isElsewhere ? await refuseToRun(host, engine, path) : undefined
    const isTried = mayTry && refusal === undefined
    const verdict = isElsewhere ? undefined : await verdictOf(path, isTried)
    const evidence = [verdict === undefined ? `it runs ${path} for gzip` : `probe of ${path}: ${verdict}`]
    if (isElsewhere && mayTry) evidence.push('it lives in a root of its own, where nothing is tried')
    if (refusal !== undefined && verdict === undefined) evidence.push(refusal)
    const facts = { engine: engine.kind, name, path, verdict: verdict ?? 'not probed' }
    return [makeFinding(codeOf(verdict), `${describeEngine(engine)} → ${path}`, { evidence, facts })]
  },
}

/** The one that the engine starts for gzip, if it starts any. */
export function usedDecompressor({ decompressors }: Engine): EngineDecompressor | undefined {
  return decompressors.find(
    ({ use, path }) => path !== undefined && (use === 'used' || use === 'invalid-value' || use === 'unknown'),
  )
}

function codeOf(verdict: string | undefined): FindingCode {
  if (verdict === undefined) return 'DECOMPRESSOR_UNPROVEN'
  if (verdict === 'certified' || verdict === 'slow') return 'DECOMPRESSOR_CERTIFIED'
  return 'DECOMPRESSOR_FAULTY'
}
