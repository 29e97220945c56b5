import { askEngine } from '../engines.ts'
import { makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'

const slow: ReadonlyMap<string, string> = new Map([
  ['vfs', 'copies the whole layer below for each layer'],
  ['devicemapper', 'waits for udev for each layer, and was removed from docker 25'],
  ['aufs', 'was removed from docker 24'],
])

/** Which storage driver dockerd really uses: it falls back to a slow one without a word. */
export const storageDriver: CheckOf<'engine'> = {
  name: 'storage-driver',
  of: 'engine',
  async look(engine, { host }) {
    if (engine.kind !== 'dockerd' || engine.version === undefined) return []
    const answers = await Promise.all(engine.sockets.map(socket => askEngine(host, engine, socket, '/info')))
    const [, driver = ''] = /"Driver":"([^"]+)"/.exec(answers.find(answer => answer?.status === 200)?.body ?? '') ?? []
    const reason = slow.get(driver)
    if (reason === undefined) return []
    const evidence = [`its storage driver is ${driver}, which ${reason}`]
    return [makeFinding('STORAGE_DRIVER_SLOW', describeEngine(engine), { evidence, facts: { driver } })]
  },
}
