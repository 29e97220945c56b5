/**
 * What an engine written in Go is doing, from its own list of goroutines. `/debug/pprof/goroutine?debug=1` counts them by what they do, and hardly stops the engine;
 * `debug=2` tells of each how long it has waited, and stops all of it meanwhile.
 */
import type { HostView } from '../sys/host-view.ts'
import { askEngine, type FoundEngine } from './engines.ts'

/** How many goroutines of dockerd do what for pulls. */
export interface PullGoroutines {
  /** Requests of clients that wait for a pull. */
  readonly pulls: number
  /** The one that waits longest, as the dump says, in minutes. */
  readonly pullMinutes: number
  /** Requests of pulls to a registry, or whoever it sends them to, that wait for an answer about the image itself, for the rest of it, or for the beginning of a part that no layer's download shows. */
  readonly unanswered: number
  /** The one of these that waits longest, in minutes. */
  readonly unansweredMinutes: number
  /** Those of them that wait for layers: to be downloaded, or unpacked. */
  readonly waiting: number
  /** Layers that are being unpacked. */
  readonly unpacking: number
  /** Those of them that pulls have brought; the others were sent by a client (load, import, build). */
  readonly unpackingOfPulls: number
  /** Layers of which bytes are being read from the network: not those whose connection has broken, and that wait for the next try. */
  readonly downloading: number
  /** Requests that wait for an earlier transfer of the same layer to go away, which a cancel does not reach. */
  readonly poisoned: number
  /** The one of these that waits longest, in minutes. */
  readonly poisonedMinutes: number
  /** Requests that wait for an answer of containerd to what takes it no time: a lease. */
  readonly asking: number
  /** The one of these that waits longest, in minutes. */
  readonly askingMinutes: number
  /** Connections to containerd on which dockerd reads and can write no more: what it asks there never gets an answer. */
  readonly mute: number
}

/** One goroutine, or several that do the same. */
interface Goroutine {
  readonly count: number
  /** In minutes; 0 below one, and where it is not told. The runtime counts from a collection of garbage on: it may be longer, and never shorter. */
  readonly minutes: number
  readonly frames: readonly string[]
}

/**
 * Of an engine with more no dump is taken. Measured on dockerd 20.10.24 on two busy cores, with as many idle `GET /events` as make the goroutines (two each), by the longest `/_ping` meanwhile, of three:
 * 1 000 hold it up for 19 ms, 5 000 for 66 ms, 10 000 for 250 ms (the answer: 0.4 s, 16 MB), 20 000 for 1.0 s (1 to 2 s, 31 MB), 30 000 for 0.65 s (2.8 s, 47 MB). Counts (`debug=1`) hold it up for 60 ms at 30 000.
 */
const detailedMax = 10_000

/** What its goroutines do, on the socket on which it tells. */
async function readGoroutineCounts(host: HostView, engine: FoundEngine): Promise<string | undefined> {
  return await askFor(host, engine, 1, 'goroutine profile: ')
}

/** Each goroutine, and how long it has waited: not without need, and not of an engine that has very many. */
export async function readGoroutines(
  host: HostView,
  engine: FoundEngine,
  counts: string | undefined,
): Promise<string | undefined> {
  return countAll(counts ?? '') <= detailedMax ? await askFor(host, engine, 2, 'goroutine ') : undefined
}

/** Where an engine has so many goroutines, who asks for each of them stops it for too long. */
export function countAll(counts: string): number {
  return Number(/^goroutine profile: total (\d+)/.exec(counts)?.[1] ?? 0)
}

/** What is had without asking for more than counts; in a record that is all that was asked then. */
export async function readAnyGoroutines(host: HostView, engine: FoundEngine): Promise<string | undefined> {
  const isRecord = host.network === undefined
  const counts = await readGoroutineCounts(host, engine)
  return counts === undefined && isRecord ? await readGoroutines(host, engine, undefined) : counts
}

/** Downloads of containerd, by whether they have got a place among those that may run at a time. */
export interface Fetches {
  readonly waiting: number
  readonly reading: number
}

/** Who has a place asks a registry, reads its answer, or writes what it has read: only the first of these is in the fetcher itself. */
const fetching = /\/remotes(?:\.Fetch\(|\/docker\.(?:dockerFetcher|\(\*httpReadSeeker\))\.)/

export function countFetches(dump: string): Fetches {
  const fetches = parseDump(dump).filter(({ frames }) => frames.some(frame => fetching.test(frame)))
  const waiting = fetches.filter(({ frames }) => frames.some(frame => /semaphore\.\(\*Weighted\)\.Acquire/.test(frame)))
  return { waiting: countOf(waiting), reading: countOf(fetches) - countOf(waiting) }
}

async function askFor(host: HostView, engine: FoundEngine, detail: 1 | 2, head: string): Promise<string | undefined> {
  const { kind, sockets } = engine
  const wanted = sockets.filter(socket => kind === 'dockerd' || socket.includes('debug'))
  const path = `/debug/pprof/goroutine?debug=${detail}`
  const answers = await Promise.all(wanted.map(socket => askEngine(host, engine, socket, path)))
  return answers.find(answer => answer?.status === 200 && answer.body.startsWith(head))?.body
}

/**
 * Sends a request and waits for its answer, or reads that: whether by HTTP/1 or HTTP/2, which is bundled into net/http under longer names, and has a package of its own since
 * Go 1.27. Who waits for layers, or between two tries, does neither.
 */
const inRequest =
  /^net\/http\.\(\*(?:Transport\)\.roundTrip|bodyEOFSignal\)\.Read)\(|\.(?:\(\*)?(?:http2t|t)ransportResponseBody\)?\.Read\(/
/** Nothing has come of the answer. */
const unbegun = /^net\/http\.\(\*Transport\)\.roundTrip\(/

/**
 * Requests of clients, of a build (pullForBuilder), of a swarm, and for a plugin. Counts of an engine that was built with Go below 1.23 show the innermost 32 frames of each alone: that of PullImage may not
 * be among them, below a body that is read over TLS, and those of the distribution package are.
 */
const pulling =
  /\(\*ImageService\)\.(?:PullImage|pullImage|pullImageWithReference|pullTag)\(|\/distribution\.\(\*(?:v2P|p)uller\)\.pull(?:V2)?Tag\(|\/plugin\.\(\*Manager\)\.fetch\(/
/** The configuration of an image is asked for beside its layers. */
const asksConfig = /\/distribution\.\(\*(?:v2P|p)uller\)\.pullSchema2Config\(/
/** What containerd's code asks in dockerd: for the image that a build begins with, and for parts of a plugin, or of any image where containerd keeps them. What comes of these may be a layer, and slow. */
const asksPart = /\/remotes(?:\.[Ff]etch|\/docker\.\(\*dockerResolver\)\.Resolve)\(/

function isUnanswered({ frames }: Goroutine): boolean {
  const does = (pattern: RegExp) => frames.some(frame => pattern.test(frame))
  return (does(inRequest) && (does(pulling) || does(asksConfig))) || (does(unbegun) && does(asksPart))
}

/** @param dump of either kind */
export function countPullGoroutines(dump: string): PullGoroutines {
  const all = parseDump(dump)
  const holding = (pattern: RegExp) => all.filter(({ frames }) => frames.some(frame => pattern.test(frame)))
  const pulls = holding(pulling)
  const unpacking = holding(/\(\*layerStore\)\.(Register|registerWithDescriptor)\(/)
  const isOfPull = ({ frames }: Goroutine) =>
    frames.some(frame => /LayerDownloadManager\)\.makeDownloadFunc/.test(frame))
  const poisoned = all.filter(isPoisoned)
  const unanswered = all.filter(isUnanswered)
  return {
    pulls: countOf(pulls),
    pullMinutes: longestOf(pulls),
    unanswered: countOf(unanswered),
    unansweredMinutes: longestOf(unanswered),
    waiting: countOf(holding(/\(\*LayerDownloadManager\)\.Download\(/)),
    unpacking: countOf(unpacking),
    unpackingOfPulls: countOf(unpacking.filter(isOfPull)),
    // Of 20.10 and older it is called v2LayerDescriptor.
    downloading: countOf(holding(/[lL]ayerDescriptor\)\.Download\(/)),
    poisoned: countOf(poisoned),
    poisonedMinutes: longestOf(poisoned),
    ...countAsking(all, pulls),
  }
}

/** grpc-go has a goroutine that reads and one that writes for each connection. The writer ends by itself when a write fails, and leaves the rest to the reader, which may see nothing. */
function countAsking(all: readonly Goroutine[], pulls: readonly Goroutine[]) {
  const asking = pulls.filter(({ frames }) => frames.some(frame => frame.includes('.(*leasesClient).')))
  const running = (pattern: RegExp) => countOf(all.filter(({ frames }) => frames.some(frame => pattern.test(frame))))
  const mute =
    running(/\/transport\.\(\*http2Client\)\.reader\(/) - running(/\/transport\.[nN]ewHTTP2Client\.func\d+\(/)
  return { asking: countOf(asking), askingMinutes: longestOf(asking), mute: Math.max(0, mute) }
}

function countOf(goroutines: readonly Goroutine[]): number {
  return goroutines.reduce((sum, { count }) => sum + count, 0)
}

function longestOf(goroutines: readonly Goroutine[]): number {
  return goroutines.reduce((most, { minutes }) => Math.max(most, minutes), 0)
}

/** In Transfer itself, not in a goroutine that it started: there it waits only for a cancelled transfer to end. */
function isPoisoned({ frames }: Goroutine): boolean {
  const inner = frames.find(frame => frame.includes('/distribution/'))
  return inner !== undefined && /\(\*transferManager\)\.[Tt]ransfer\(/.test(inner)
}

function parseDump(dump: string): Goroutine[] {
  return dump.startsWith('goroutine profile: ') ? parseCounts(dump) : parseGoroutines(dump)
}

function parseGoroutines(dump: string): Goroutine[] {
  return dump.split('\n\n').flatMap(block => {
    const [head = '', ...lines] = block.split('\n')
    // From Go 1.27 on labels may follow, as {"key": "value"}.
    const [, state] = /^goroutine \d+ \[([^\]]*)\](?: \{.*\})?:$/.exec(head) ?? []
    if (state === undefined) return []
    const minutes = Number(/(\d+) minutes/.exec(state)?.[1] ?? 0)
    return [
      { count: 1, minutes, frames: lines.filter(line => !line.startsWith('\t') && !line.startsWith('created by ')) },
    ]
  })
}

/** `2 @ 0x1 0x2`, and a line `#	0x1	name+0x10	file:1` for each frame; names as `debug=2` writes them, without the arguments. */
function parseCounts(counts: string): Goroutine[] {
  return counts.split('\n\n').flatMap(block => {
    const [, count] = /^(\d+) @ /m.exec(block) ?? []
    if (count === undefined) return []
    const frames = [...block.matchAll(/^#\t0x[0-9a-f]+\t(\S+?)\+0x/gm)].map(([, name]) => `${name}(`)
    return [{ count: Number(count), minutes: 0, frames }]
  })
}
