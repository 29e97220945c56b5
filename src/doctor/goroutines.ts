/** What an engine written in Go is doing, from its own dump of goroutines (`/debug/pprof/goroutine?debug=2`). */
import type { HostView } from '../sys/host-view.ts'
import type { FoundEngine } from './engines.ts'

/** How many goroutines of dockerd do what for pulls. */
export interface PullGoroutines {
  /** Requests of clients that wait for a pull. */
  readonly pulls: number
  /** The one that waits longest, as the dump says, in minutes. */
  readonly pullMinutes: number
  /** Layers that are being unpacked. */
  readonly unpacking: number
  /** Layers of which bytes are being read from the network. */
  readonly downloading: number
  /** Requests that wait for an earlier transfer of the same layer to go away, which a cancel does not reach. */
  readonly poisoned: number
  /** Requests that wait for an answer of containerd to what takes it no time: a lease. */
  readonly asking: number
  /** The one of these that waits longest, in minutes. */
  readonly askingMinutes: number
  /** Connections to containerd on which dockerd reads and can write no more: what it asks there never gets an answer. */
  readonly mute: number
}

interface Goroutine {
  /** In minutes; 0 below one. */
  readonly minutes: number
  readonly frames: readonly string[]
}

/** Asks an engine for its dump, on the socket on which it offers one. */
export async function readGoroutines(
  host: HostView,
  { kind, sockets, rootPrefix }: FoundEngine,
): Promise<string | undefined> {
  const wanted = sockets.filter(socket => kind === 'dockerd' || socket.includes('debug'))
  const path = '/debug/pprof/goroutine?debug=2'
  const answers = await Promise.all(wanted.map(socket => host.ask(rootPrefix + socket, path)))
  return answers.find(answer => answer?.status === 200 && answer.body.startsWith('goroutine '))?.body
}

export function countPullGoroutines(dump: string): PullGoroutines {
  const all = parseGoroutines(dump)
  const holding = (pattern: RegExp) => all.filter(({ frames }) => frames.some(frame => pattern.test(frame)))
  const pulls = holding(/\(\*ImageService\)\.(PullImage|pullImage)/)
  return {
    pulls: pulls.length,
    pullMinutes: Math.max(0, ...pulls.map(({ minutes }) => minutes)),
    unpacking: holding(/\(\*layerStore\)\.(Register|registerWithDescriptor)/).length,
    downloading: holding(/LayerDescriptor\)\.Download/).length,
    poisoned: all.filter(isPoisoned).length,
    ...countAsking(all, pulls),
  }
}

/** grpc-go has a goroutine that reads and one that writes for each connection. The writer ends by itself when a write fails, and leaves the rest to the reader, which may see nothing. */
function countAsking(all: readonly Goroutine[], pulls: readonly Goroutine[]) {
  const asking = pulls.filter(({ frames }) => frames.some(frame => frame.includes('.(*leasesClient).')))
  const running = (pattern: RegExp) => all.filter(({ frames }) => frames.some(frame => pattern.test(frame))).length
  const mute = running(/\/transport\.\(\*http2Client\)\.reader\(/) - running(/\/transport\.newHTTP2Client\.func\d+\(/)
  const askingMinutes = Math.max(0, ...asking.map(({ minutes }) => minutes))
  return { asking: asking.length, askingMinutes, mute: Math.max(0, mute) }
}

/** In Transfer itself, not in a goroutine that it started: there it waits only for a cancelled transfer to end. */
function isPoisoned({ frames }: Goroutine): boolean {
  const inner = frames.find(frame => frame.includes('/distribution/'))
  return inner !== undefined && /\(\*transferManager\)\.[Tt]ransfer\(/.test(inner)
}

function parseGoroutines(dump: string): Goroutine[] {
  return dump.split('\n\n').flatMap(block => {
    const [head = '', ...lines] = block.split('\n')
    const [, state] = /^goroutine \d+ \[([^\]]*)\]:$/.exec(head) ?? []
    if (state === undefined) return []
    const minutes = Number(/(\d+) minutes/.exec(state)?.[1] ?? 0)
    return [{ minutes, frames: lines.filter(line => !line.startsWith('\t') && !line.startsWith('created by ')) }]
  })
}
