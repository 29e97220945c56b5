import type { HostView } from '../../sys/host-view.ts'
import { makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'
import { usedDecompressor } from './decompressor-programs.ts'

/** What the package manager knows of a file. */
interface Ownership {
  readonly manager: 'dpkg' | 'rpm'
  /** Undefined where no package owns it. */
  readonly owner: string | undefined
  /** Lines of the manager about files that are not as it installed them. */
  readonly altered: readonly string[]
}

/** Whose file the decompressor is, and whether it is as its package brought it. A package that is whole may be faulty all the same. */
export const decompressorPackage: CheckOf<'engine'> = {
  name: 'decompressor-package',
  of: 'engine',
  async look(engine, { host }) {
    const path = usedDecompressor(engine)?.path
    if (path === undefined || engine.rootPrefix !== '') return []
    const subject = `${describeEngine(engine)} → ${path}`
    const answers = (await Promise.all([askDpkg(host, path), askRpm(host, path)])).filter(one => one !== undefined)
    // Either tool may be there without its packages: rpm on Debian, dpkg to make packages elsewhere.
    const known = answers.find(({ owner }) => owner !== undefined) ?? answers[0]
    if (known === undefined) {
      const evidence = ['neither dpkg nor rpm answered in three seconds: there is none, or its database is locked']
      return [makeFinding('DECOMPRESSORS_UNSEEN', subject, { evidence })]
    }
    const { manager, owner, altered } = known
    if (owner === undefined)
      return [
        makeFinding('DECOMPRESSOR_UNOWNED', subject, { evidence: [`${managers(answers)}: no package owns ${path}`] }),
      ]
    const facts = { package: owner, manager }
    if (altered.length > 0) {
      const evidence = [`${manager} -V ${owner}: ${altered.slice(0, 5).join('; ')}`]
      return [makeFinding('DECOMPRESSOR_ALTERED', subject, { evidence, facts })]
    }
    return [makeFinding('DECOMPRESSOR_INTACT', subject, { evidence: [`${owner}, unaltered (${manager} -V)`], facts })]
  },
}

function managers(answers: readonly Ownership[]): string {
  return answers.map(({ manager }) => manager).join(' and ')
}

/** Since /bin became a link to /usr/bin, packages own one of the two names. */
function namesOf(path: string): string[] {
  return path.startsWith('/usr/') ? [path, path.slice(4)] : [path, `/usr${path}`]
}

/** dpkg's own variable. */
const versionFormat = `-f=$\{Version}`

async function askDpkg(host: HostView, path: string): Promise<Ownership | undefined> {
  const said = await host.tell('dpkg', ['-S', ...namesOf(path)], 'whatever')
  if (said === undefined) return undefined
  const [, owner] = /^([a-z0-9][a-z0-9+.:-]*): \//m.exec(said) ?? []
  if (owner === undefined) return { manager: 'dpkg', owner, altered: [] }
  const [version, altered] = await Promise.all([
    host.tell('dpkg-query', ['-W', versionFormat, owner]),
    host.tell('dpkg', ['-V', owner], 'whatever'),
  ])
  return { manager: 'dpkg', owner: `${owner} ${version ?? ''}`.trim(), altered: alteredOf(altered) }
}

async function askRpm(host: HostView, path: string): Promise<Ownership | undefined> {
  const said = await host.tell('rpm', ['-qf', ...namesOf(path)], 'whatever')
  if (said === undefined) return undefined
  const owner = said.split('\n').find(line => /^[\w.+~^-]+$/.test(line))
  if (owner === undefined) return { manager: 'rpm', owner, altered: [] }
  return { manager: 'rpm', owner, altered: alteredOf(await host.tell('rpm', ['-V', owner], 'whatever')) }
}

/** `S.5....T.  /usr/bin/pigz`, `??5??????   /usr/bin/pigz`, `missing   /usr/bin/pigz`; documents and configuration may differ. */
function alteredOf(said: string | undefined): string[] {
  const lines = (said ?? '').split('\n').filter(line => /^(?:[.?\w]{8,9}|missing)\s+\/|^missing/.test(line))
  return lines.filter(line => !/^\S+\s+[cdg]\s/.test(line) && !/\/(?:doc|man|locale)\//.test(line))
}
