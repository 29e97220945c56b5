/** Who downloads layers by itself, and hands containerd what has come: whatever it is called, it has a connection to one of its sockets. */
import type { HostView } from '../sys/host-view.ts'
import {
  type Descriptor,
  optionOf,
  type ProcessTable,
  readArguments,
  readDescriptors,
  readEnvironment,
} from '../sys/process-files.ts'
import type { ProcessFacts } from '../sys/tasks.ts'
import { stdoutMax } from '../sys/tool.ts'
import { containerdSocket, containerdVariable } from './client-address.ts'
import { formatSocket } from './clients.ts'
import type { Engine } from './engines.ts'

export interface Writers {
  readonly pids: readonly number[]
  /** False where not all that are connected can be seen. */
  readonly isWhole: boolean
}

type Asked = Pick<Engine, 'kind' | 'sockets' | 'process'>

/** What is known to write by its name, beside who is seen to be connected: by the options that name containerd. */
const known: ReadonlyMap<string, readonly string[]> = new Map([
  ['ctr', ['-a', '-address', '--address']],
  ['nerdctl', ['-a', '-H', '--address', '--host']],
  ['dockerd', ['--containerd']],
  ['buildkitd', ['--containerd-worker-addr']],
])

/** Others are known by their connection to containerd alone, and may have connections of their own for anything. */
export function isKnownWriter(name: string): boolean {
  return known.has(name)
}

/** Have containerd pull for them, or run what it has: what comes on their connections is no layer. The kernel cuts names after 15 letters. */
const strangers = /^(?:kubelet|kubelite|k3s|k3s-(?:server|agent)|rke2|crictl|containerd-shim)$/

/** Those that may write into this containerd what they download themselves, as their connections tell, and, since those may not be seen, their command lines. */
export async function findWriters(host: HostView, engine: Asked, table: ProcessTable): Promise<Writers> {
  const { pids, isWhole } = engine.kind === 'containerd' ? await findConnected(host, engine.process.pid) : noneElse
  const named = [...table.values()].filter(entry => mayWriteInto(host, engine, entry)).map(({ pid }) => pid)
  const others = [engine.process.pid, process.pid]
  const connected = pids.filter(pid => !others.includes(pid) && !strangers.test(table.get(pid)?.name ?? ''))
  return { pids: [...new Set([...named, ...connected])], isWhole }
}

const noneElse: Writers = { pids: [], isWhole: true }

function mayWriteInto(host: HostView, { sockets, process }: Asked, { pid, name }: ProcessFacts): boolean {
  const options = known.get(name)
  if (options === undefined) return false
  const told = optionOf(readArguments(host, pid), options) || readEnvironment(host, pid)?.get(containerdVariable)
  // It may have it from a file.
  if (!told && name === 'nerdctl') return true
  return process.parent === pid || sockets.map(formatSocket).includes(formatSocket(told || containerdSocket))
}

interface UnixSocket {
  /** `*` where it has no name; of what was accepted that of the socket that listens. */
  readonly path: string
  readonly inode: string
  readonly peer: string
  /** Who holds it, as ss(8) says: names of programs are anybody's, and so may be paths. */
  readonly users: string
}

const socketOf = /^u_\S+\s+\S+\s+\d+\s+\d+\s+(\S.*?)\s+(\d+)\s+\S+\s+(\d+)\s*$/

function parseSockets(told: string): UnixSocket[] {
  return told.split('\n').flatMap(line => {
    const [ends = '', users = ''] = line.split(' users:(', 2)
    const [, path = '', inode, peer] = socketOf.exec(ends) ?? []
    return inode === undefined || peer === undefined ? [] : [{ path, inode, peer, users }]
  })
}

/** Which tell of the sockets of a network, by their inodes. */
const tables = ['unix', 'tcp', 'tcp6', 'udp', 'udp6', 'raw', 'netlink', 'packet']

/** What a client in another network has connected to it is a socket of that network, which nobody here tells of. */
function hasUntold(host: HostView, pid: number, own: readonly Descriptor[]): boolean {
  const told = new Set(tables.flatMap(name => host.text(`/proc/${pid}/net/${name}`)?.match(/\d+/g) ?? []))
  const untold = own.filter(({ target }) => !told.has(/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? ''))
  // Of what was closed meanwhile nothing is told, either.
  return untold.some(({ fd, target }) => host.link(`/proc/${pid}/fd/${fd}`) === target)
}

/** Not all can be seen where there is no `ss`, it says more than is read of it, descriptors are kept from us, or who is connected has another network. */
async function findConnected(host: HostView, pid: number): Promise<Writers> {
  const isHere = host.link(`/proc/${pid}/ns/net`) === host.link('/proc/self/ns/net')
  const told = isHere ? await host.tell('ss', ['-xpnH']) : undefined
  if (told === undefined || told.length >= stdoutMax) return { pids: [], isWhole: false }
  const descriptors = readDescriptors(host, pid).filter(({ target }) => target.startsWith('socket:'))
  const own = new Set(descriptors.map(({ target }) => target))
  const sockets = parseSockets(told)
  const byInode = Map.groupBy(sockets, ({ inode }) => inode)
  // What it has connected to itself are snapshotters, shims tell it what happens on a socket for that, and who has closed his end has none.
  const isOfClient = ({ path, inode, peer }: UnixSocket) =>
    own.has(`socket:[${inode}]`) && path !== '*' && !path.endsWith('.ttrpc') && peer !== '0'
  const holders = sockets.filter(isOfClient).map(({ peer }) => (byInode.get(peer) ?? []).flatMap(holdersOf(host)))
  const isWhole = holders.every(pids => pids.length > 0) && !hasUntold(host, pid, descriptors)
  return { pids: holders.flat(), isWhole }
}

/** Those of whom it is said, and who do hold it. */
function holdersOf(host: HostView) {
  return ({ inode, users }: UnixSocket): number[] => {
    const told = [...users.matchAll(/\bpid=(\d+),fd=(\d+)\b/g)]
    const isHeld = ([, pid, fd]: RegExpExecArray) => host.link(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`
    return told.filter(isHeld).map(([, pid]) => Number(pid))
  }
}
