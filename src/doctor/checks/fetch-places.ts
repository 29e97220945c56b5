import { makeFinding } from '../finding.ts'
import { countFetches, readAnyGoroutines } from '../goroutines.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** Whether downloads of containerd wait for a place among the parallel ones while nobody downloads: a fault of 2.1 lost such places. */
export const fetchPlaces: CheckOf<'engine'> = {
  name: 'fetch-places',
  of: 'engine',
  async look(engine, { host }) {
    if (engine.kind !== 'containerd' || !engine.sockets.some(socket => socket.includes('debug'))) return []
    const { waiting, reading } = countFetches((await readAnyGoroutines(host, engine)) ?? '')
    if (waiting === 0 || reading > 0) return []
    const evidence = [`${waiting} of its downloads wait in semaphore.Acquire, and none reads from a registry`]
    return [makeFinding('FETCH_PLACES_LOST', describeEngine(engine), { evidence, facts: { waiting } })]
  },
}
