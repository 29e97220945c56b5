import type { Engine } from '../engines.ts'
import { makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'

interface KnownFault {
  readonly kind: Engine['kind']
  /** The first version that has it, and the first that has not. */
  readonly from: string
  readonly to: string
  /** What happens, and where it is written down. */
  readonly what: string
}

/** Faults of engines that make pulls hang, whatever the host. Only those of which the versions are known. */
const faults: readonly KnownFault[] = [
  {
    ...{ kind: 'dockerd', from: '18.2', to: '20.10' },
    what: 'after a pull that failed or was cancelled, a later one may read from a decompressor that was given away already (moby 39859)',
  },
  {
    ...{ kind: 'dockerd', from: '1.0', to: '24.0' },
    what: 'decompressors are never closed after a failure: idle ones pile up (moby 38608)',
  },
  {
    ...{ kind: 'containerd', from: '1.3.0', to: '1.3.1' },
    what: 'unpacking may deadlock when all layers are fetched (containerd 3816)',
  },
  {
    ...{ kind: 'containerd', from: '2.1.0', to: '2.1.4' },
    what: 'a failed download keeps its place among the parallel ones: after some, every pull waits for ever (containerd 12126)',
  },
  {
    ...{ kind: 'containerd', from: '2.1.0', to: '2.1.5' },
    what: 'layers in several parts hang with registries that ignore Range (containerd 11864, 12291)',
  },
]

/** Whether the engine's version is known to hang by itself. */
export const knownFaults: CheckOf<'engine'> = {
  name: 'known-faults',
  of: 'engine',
  look(engine) {
    const { kind, version } = engine
    if (version === undefined) return []
    const own = faults.filter(
      fault => fault.kind === kind && !isBefore(version, fault.from) && isBefore(version, fault.to),
    )
    if (own.length === 0) return []
    const evidence = own.map(({ what, to }) => `${version}: ${what}; mended in ${to}`)
    return [makeFinding('ENGINE_KNOWN_FAULT', describeEngine(engine), { evidence, facts: { version } })]
  },
}

/** By the numbers alone: what a distribution has mended in its own build cannot be seen. */
function isBefore(version: string, than: string): boolean {
  const [own, other] = [version, than].map(text => (/^\d+(?:\.\d+)*/.exec(text)?.[0] ?? '').split('.').map(Number))
  for (let at = 0; at < 3; at++) {
    const difference = (own?.[at] ?? 0) - (other?.[at] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}
