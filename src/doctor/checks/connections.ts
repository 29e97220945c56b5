import { readDescriptors } from '../../sys/process-files.ts'
import { makeFinding } from '../finding.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** Between four and ten seconds have gone by then: the kernel doubles its patience each time. */
const retriesMin = 4

/** What the engine sends and nobody acknowledges: seen in the kernel's table, nothing is sent for it. */
export const connections: CheckOf<'engine'> = {
  name: 'connections',
  of: 'engine',
  look(engine, { host }) {
    const { pid } = engine.process
    const targets = readDescriptors(host, pid).map(({ target }) => /^socket:\[(\d+)\]$/.exec(target)?.[1])
    const own = new Set(targets.filter(inode => inode !== undefined))
    const lines = ['tcp', 'tcp6'].flatMap(name => (host.text(`/proc/${pid}/net/${name}`) ?? '').split('\n').slice(1))
    const stuck = lines.map(parseLine).filter(line => line !== undefined && own.has(line.inode) && isUnanswered(line))
    if (stuck.length === 0) return []
    const evidence = stuck.slice(0, 5).map(line => describe(line as Line))
    return [
      makeFinding('CONNECTION_UNANSWERED', describeEngine(engine), { evidence, facts: { connections: stuck.length } }),
    ]
  },
}

interface Line {
  readonly remote: string
  readonly isConnecting: boolean
  /** Bytes that were sent and not acknowledged, or wait to be sent. */
  readonly queued: number
  /** How often the oldest of them was sent again. */
  readonly retries: number
  readonly inode: string
}

const established = '01'
const synSent = '02'

/** One line of proc_net_tcp(5). */
function parseLine(line: string): Line | undefined {
  const [, , remote = '', state = '', queues = '', , retries = '', , , inode = ''] = line.trim().split(/\s+/)
  if (state !== established && state !== synSent) return undefined
  const queued = Number.parseInt(queues.split(':')[0] ?? '', 16)
  return {
    remote: parseAddress(remote),
    isConnecting: state === synSent,
    queued,
    retries: Number.parseInt(retries, 16),
    inode,
  }
}

function isUnanswered({ isConnecting, queued, retries }: Line): boolean {
  return isConnecting ? retries >= retriesMin - 1 : queued > 0 && retries >= retriesMin
}

function describe({ remote, isConnecting, queued, retries }: Line): string {
  const what = isConnecting ? 'its request for a connection' : `${queued.toLocaleString('en-US')} bytes`
  return `${remote}: ${what} sent ${retries} times again, and not acknowledged`
}

/** Words of 32 bits, each in the order of this machine: little endian wherever engines run. */
function parseAddress(text: string): string {
  const [address = '', port = ''] = text.split(':')
  const bytes = [...address.matchAll(/.{8}/g)].flatMap(([word]) => [...Buffer.from(word, 'hex').reverse()])
  const isMapped = bytes.length === 16 && bytes.slice(0, 12).join() === '0,0,0,0,0,0,0,0,0,0,255,255'
  const four = bytes.length === 4 ? bytes : isMapped ? bytes.slice(12) : undefined
  const groups = [...Buffer.from(bytes).toString('hex').matchAll(/.{4}/g)].map(([group]) =>
    group.replace(/^0+(?=.)/, ''),
  )
  return `${four?.join('.') ?? `[${groups.join(':')}]`}:${Number.parseInt(port, 16)}`
}
