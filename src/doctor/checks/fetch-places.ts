import { makeFinding } from '../finding.ts'
import { countFetches, type Fetches, readAnyGoroutines } from '../goroutines.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** Between the end of one download and the beginning of the next nobody has a place for a moment. */
const watchMs = 2000

/** Whether downloads of containerd wait for a place among the parallel ones while nobody downloads: a fault of 2.1 lost such places. */
export const fetchPlaces: CheckOf<'engine'> = {
  name: 'fetch-places',
  of: 'engine',
  async look(engine, { host, signal }) {
    if (engine.kind !== 'containerd' || !engine.sockets.some(socket => socket.includes('debug'))) return []
    const count = async () => countFetches((await readAnyGoroutines(host, engine)) ?? '')
    const isLost = ({ waiting, reading }: Fetches) => waiting > 0 && reading === 0
    if (!isLost(await count())) return []
    await host.pause(watchMs, signal)
    const fetches = await count()
    if (!isLost(fetches)) return []
    const { waiting } = fetches
    const evidence = [`${waiting} of its downloads wait in semaphore.Acquire, and none reads from a registry`]
    return [makeFinding('FETCH_PLACES_LOST', describeEngine(engine), { evidence, facts: { waiting } })]
  },
}
