/** When something came last on the connections of processes, as the kernel counts it: what a file that is written to in large pieces does not tell. */
import type { HostView } from '../sys/host-view.ts'
import { readDescriptors } from '../sys/process-files.ts'

/** Two lines for each connection: its socket in the first, its times in the second (tcp_info, ss(8)). */
const socketOf = /\bino:(\d+)\b/
const receivedOf = /\blastrcv:(\d+)\b/

/**
 * @returns for each connection of these processes how many milliseconds ago something came on it; undefined where that cannot be known: there is no `ss`, or they have another
 *   network, or no connection of theirs is found
 */
export async function readLastReceived(host: HostView, pids: readonly number[]): Promise<number[] | undefined> {
  const own = host.link('/proc/self/ns/net')
  // A record tells of the engine's alone.
  if (pids.some(pid => ![own, undefined].includes(host.link(`/proc/${pid}/ns/net`)))) return undefined
  const told = await host.tell('ss', ['-tneiH', 'state', 'established'])
  if (told === undefined) return undefined
  const sockets = new Set(
    pids.flatMap(pid => readDescriptors(host, pid)).map(({ target }) => /^socket:\[(\d+)\]$/.exec(target)?.[1]),
  )
  const lines = told.split('\n')
  const received = lines.flatMap((line, at) => {
    const [, socket] = socketOf.exec(line) ?? []
    if (socket === undefined || !sockets.has(socket)) return []
    const times = /^\s/.test(lines[at + 1] ?? '') ? lines[at + 1] : line
    // What came just now is not counted.
    return [Number(receivedOf.exec(times ?? '')?.[1] ?? 0)]
  })
  return received.length === 0 ? undefined : received
}
