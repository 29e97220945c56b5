import { makeFinding } from '../finding.ts'
import type { RegistryVisit } from '../registry-visit.ts'
import type { CheckContext, CheckOf } from './check.ts'
import { addressesOf, afterName } from './registry-name.ts'
import { describeVisit, formatMs } from './registry-words.ts'

/** Who is alive answers a request for a connection within that time, however far away. */
const connectMs = 4000
/** More of a name are tried by nobody. */
const addressesMax = 2

/** Whether the registry has an IPv6 address that swallows what is sent to it, while its IPv4 address answers: whoever begins with the first waits, and may wait for ever. */
export const registryFamilies: CheckOf<'registry'> = {
  name: 'registry-families',
  of: 'registry',
  after: afterName,
  async look(visit, context) {
    if (visit.proxy !== undefined) return []
    const addresses = await addressesOf(visit, context)
    const [six, four] = [addresses.filter(isSix), addresses.filter(address => !isSix(address))]
    if (six.length === 0 || four.length === 0) return []
    const [over6, over4] = await Promise.all([tryAll(visit, context, six), tryAll(visit, context, four)])
    const answering = over4.find(({ outcome }) => outcome === 'connected')
    if (answering === undefined || over6.some(({ outcome }) => outcome !== 'silent')) return []
    const evidence = [
      `${over6.map(({ address }) => address).join(', ')} did not answer within ${formatMs(connectMs)}`,
      `${answering.address} answered in ${formatMs(answering.tookMs)}`,
    ]
    return [makeFinding('IPV6_BLACK_HOLE', describeVisit(visit), { evidence })]
  },
}

function isSix(address: string): boolean {
  return address.includes(':')
}

async function tryAll(
  { host }: RegistryVisit,
  { host: { network }, signal }: CheckContext,
  addresses: readonly string[],
) {
  const port = Number(/:(\d+)$/.exec(host)?.[1] ?? 443)
  const tried = addresses.slice(0, addressesMax).map(async address => {
    const answer = await network?.connect(address, port, connectMs, signal)
    return answer === undefined ? [] : [{ address, ...answer }]
  })
  return (await Promise.all(tried)).flat()
}
