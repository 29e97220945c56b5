import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countAll, countFetches, countPullGoroutines } from './goroutines.ts'

const packages = 'github.com/docker/docker'

function goroutine(state: string, ...frames: string[]): string {
  const lines = frames.flatMap(frame => [`${packages}/${frame}(0xc000, 0x1)`, '\t/src/file.go:1 +0x1'])
  return ['goroutine 12 [', state, ']:\n', lines.join('\n'), '\ncreated by net/http.(*Server).Serve'].join('')
}

const pulling = goroutine('select, 606 minutes', 'distribution.Pull', 'daemon/images.(*ImageService).PullImage')
const unpacking = goroutine(
  'syscall, 605 minutes',
  'layer.(*layerStore).registerWithDescriptor',
  'layer.(*layerStore).Register',
)
const waiting = goroutine(
  'chan receive',
  'distribution/xfer.(*transferManager).Transfer',
  'distribution/xfer.(*LayerDownloadManager).Download',
)
const started = goroutine('select', 'distribution/xfer.(*transferManager).Transfer.func1')

test('a dump tells how many pulls wait, for how long, and what is done for them', () => {
  const found = countPullGoroutines([pulling, unpacking, started].join('\n\n'))
  const idle = {
    unanswered: 0,
    unansweredMinutes: 0,
    waiting: 0,
    poisoned: 0,
    poisonedMinutes: 0,
    asking: 0,
    askingMinutes: 0,
    mute: 0,
  }
  assert.deepEqual(found, { pulls: 1, pullMinutes: 606, unpacking: 1, unpackingOfPulls: 0, downloading: 0, ...idle })
})

test('of the layers that are unpacked those are told apart that a pull has brought', () => {
  const layer = 'layer.(*layerStore).Register'
  const pulled = goroutine('syscall', layer, 'distribution/xfer.(*LayerDownloadManager).makeDownloadFunc.func1.1')
  const imported = goroutine('syscall', layer, 'daemon/images.(*ImageService).ImportImage')
  const { unpacking, unpackingOfPulls } = countPullGoroutines([pulled, imported].join('\n\n'))
  assert.deepEqual([unpacking, unpackingOfPulls], [2, 1])
})

test('what a pull starts for itself is no pull', () => {
  const progress = goroutine('chan receive', 'daemon/images.(*ImageService).pullImageWithReference.func1')
  assert.equal(countPullGoroutines([pulling, progress].join('\n\n')).pulls, 1)
})

test('how long an earlier transfer is waited for is told in minutes', () => {
  const minutes = (state: string) =>
    countPullGoroutines(goroutine(state, 'distribution/xfer.(*transferManager).transfer')).poisonedMinutes
  assert.deepEqual(['chan receive', 'chan receive, 3 minutes'].map(minutes), [0, 3])
})

test('of very many pulls, as whoever calls himself a dockerd may tell, the oldest is found, too', () => {
  const many = Array.from({ length: 200_000 }, () => goroutine('select, 2 minutes', 'x.(*ImageService).PullImage'))
  const { pulls, pullMinutes } = countPullGoroutines([...many, pulling].join('\n\n'))
  assert.deepEqual([pulls, pullMinutes], [200_001, 606])
})

/** Goroutines as `debug=1` counts them. */
const counted = (count: number, ...frames: string[]) =>
  [`${count} @ 0x1 0x2`, ...frames.map(frame => `#\t0x55d\t${frame}+0x39b\t\t/src/file.go:192`)].join('\n')

test('counts tell the same but for the time', () => {
  const dump = [
    `goroutine profile: total 71\n${counted(6, `${packages}/distribution/xfer.(*transfer).Watch.func1`)}`,
    counted(2, `${packages}/distribution/xfer.(*transferManager).Transfer`, `${packages}/x.Download`),
    counted(3, `${packages}/distribution.Pull`, `${packages}/daemon/images.(*ImageService).PullImage`),
    counted(4, `${packages}/distribution/xfer.(*LayerDownloadManager).Download`),
    counted(1, `${packages}/layer.(*layerStore).registerWithDescriptor`, `${packages}/layer.(*layerStore).Register`),
  ].join('\n\n')
  const { pulls, pullMinutes, waiting, unpacking, poisoned } = countPullGoroutines(dump)
  assert.deepEqual([pulls, pullMinutes, waiting, unpacking, poisoned], [3, 0, 4, 1, 2])
  assert.deepEqual([countAll(dump), countAll(pulling)], [71, 0])
})

/** The frames of a download of containerd 2.1, from its beginning on. */
const fetches = ['images.HandlerFunc.Handle', 'remotes.Fetch', 'content.Copy'].map(
  name => `github.com/containerd/containerd/v2/core/${name}`,
)
const docker = 'github.com/containerd/containerd/v2/core/remotes/docker'
const counts = (...blocks: string[]) => `goroutine profile: total 9\n${blocks.join('\n\n')}`
const waitingFetch = (count: number) =>
  counted(
    count,
    ...['golang.org/x/sync/semaphore.(*Weighted).Acquire', `${docker}.(*dockerBase).Acquire`],
    ...[`${docker}.dockerFetcher.open`, `${docker}.(*httpReadSeeker).reader`, `${docker}.(*httpReadSeeker).Read`],
    ...fetches.toReversed(),
  )

test('downloads of containerd that wait for a place are told from those that have one, whatever they do there', () => {
  const asks = counted(1, 'net/http.(*Transport).roundTrip', `${docker}.dockerFetcher.open`, ...fetches.toReversed())
  const reads = counted(2, 'net/http.(*body).Read', `${docker}.(*httpReadSeeker).Read`, ...fetches.toReversed())
  const writes = counted(1, 'os.(*File).Write', ...fetches.toReversed())
  const chunk = counted(1, 'net/http.(*body).Read', `${docker}.dockerFetcher.open.func3`)
  for (const [has, reading] of [
    [asks, 1],
    [reads, 2],
    [writes, 1],
    [chunk, 1],
  ] as const)
    assert.deepEqual(countFetches(counts(waitingFetch(3), has)), { waiting: 3, reading })
  assert.deepEqual(countFetches(counts(waitingFetch(3))), { waiting: 3, reading: 0 })
})

test('who waits in Transfer itself waits for an earlier transfer; the goroutines of a transfer do not', () => {
  assert.equal(countPullGoroutines([pulling, waiting, started].join('\n\n')).poisoned, 1)
})

/** Frames of real engines that wait for a registry, from the innermost on: of those in between only what matters. */
const asks = ['net/http.(*persistConn).roundTrip', 'net/http.(*Transport).roundTrip', 'net/http.(*Client).Do']
const reads = (body: string) => [body, 'io.ReadAll', 'io/ioutil.ReadAll']
const read1 = reads('net/http.(*bodyEOFSignal).Read')
const handles = ['distribution.Pull', 'daemon/images.(*ImageService).PullImage'].map(name => `${packages}/${name}`)
const config = (puller: string) => [
  `${packages}/distribution.(*${puller}).pullSchema2Config.func1`,
  `${packages}/distribution.(*${puller}).pullSchema2Config`,
  `${packages}/distribution.(*${puller}).pullSchema2Layers.func1`,
]
const part = (fetch: string) => [fetch, `${packages}/images.Dispatch.func1`]

test('a pull has no answer, whatever part of an image it has asked for, by which protocol, in which version', () => {
  const unanswered = (frames: readonly string[]) => {
    const { unanswered } = countPullGoroutines(counts(counted(2, ...frames)))
    const whole = frames.map(frame => `${frame}({0xc0?, 0x1})\n\t/src/file.go:1 +0x1`).join('\n')
    const dump = countPullGoroutines(`goroutine 12 [select, 3 minutes]:\n${whole}`)
    assert.equal(dump.unanswered, unanswered / 2)
    assert.equal(dump.unansweredMinutes, 3 * dump.unanswered)
    return unanswered
  }
  const remotes = 'github.com/containerd/containerd/remotes'
  for (const frames of [
    [...asks, ...handles],
    [...read1, ...handles],
    // To Go 1.26, from 1.27 on, and of the module that both come from.
    [...reads('net/http.http2transportResponseBody.Read'), ...handles],
    [...reads('net/http/internal/http2.transportResponseBody.Read'), ...handles],
    [...reads('golang.org/x/net/http2.transportResponseBody.Read'), ...handles],
    [...reads('net/http.(*http2transportResponseBody).Read'), ...handles],
    [...asks, ...config('v2Puller')],
    [...read1, ...config('puller')],
    // Of a deep stack the outermost frames are not told.
    [...read1, `${packages}/distribution.(*puller).pullTag`, `${packages}/distribution.(*puller).pullRepository`],
    [...read1, `${packages}/distribution.(*v2Puller).pullV2Tag`],
    [...asks, `${packages}/daemon/images.(*ImageService).pullImageWithReference`, `${packages}/x.pullForBuilder`],
    [...asks, `${remotes}/docker.(*dockerResolver).Resolve`, `${packages}/plugin.(*Manager).fetch`],
    [...asks, ...part(`${remotes}.fetch`)],
    [...asks, ...part('github.com/containerd/containerd/v2/core/remotes.Fetch')],
    [...asks, `${remotes}/docker.(*dockerResolver).Resolve`, 'github.com/moby/buildkit/util/imageutil.Config'],
  ])
    assert.equal(unanswered(frames), 2, frames.join(' '))
  for (const frames of [
    handles,
    ['runtime.selectgo', ...config('puller')],
    // A layer, and what may be one.
    [...asks, `${packages}/distribution.(*layerDescriptor).Download`],
    [...read1, ...part(`${remotes}.fetch`)],
    [...asks, `${packages}/distribution.(*pusher).pushTag`],
  ])
    assert.equal(unanswered(frames), 0, frames.join(' '))
})

test('pulls for a build and of plugins are pulls; what of a pull runs beside it is none', () => {
  const pulls = (...frames: string[]) => countPullGoroutines(counts(counted(1, ...frames))).pulls
  assert.equal(pulls(`${packages}/daemon/images.(*ImageService).pullImageWithReference`, `${packages}/x.Build`), 1)
  assert.equal(pulls('x/errgroup.(*Group).Wait', `${packages}/plugin.(*Manager).fetch`), 1)
  assert.equal(pulls(...asks, ...config('puller')), 0)
})

test('layers that are downloaded are known in older and newer versions', () => {
  const downloading = (name: string) =>
    countPullGoroutines(counts(counted(3, `${packages}/distribution.(*${name}).Download`))).downloading
  assert.deepEqual(['v2LayerDescriptor', 'layerDescriptor'].map(downloading), [3, 3])
})

const grpc = (state: string, ...frames: string[]) =>
  `goroutine 7 [${state}]:\n${frames.map(frame => `google.golang.org/grpc${frame}\n\t/src/file.go:1 +0x1`).join('\n')}`
const reader = grpc('IO wait, 10 minutes', '/internal/transport.(*http2Client).reader(0xc000)')
const writer = grpc(
  'select, 10 minutes',
  '/internal/transport.(*loopyWriter).run(0xc000)',
  '/internal/transport.newHTTP2Client.func3()',
)

test('a pull that waits for containerd, on a connection that has lost its writer', () => {
  const asking = `${grpc('select, 6 minutes', '/internal/transport.(*Stream).waitOnHeader(0xc000)', '.invoke({0x1})')}\ngithub.com/containerd/containerd/api/services/leases/v1.(*leasesClient).Create(0xc000)\n${goroutine('x', 'daemon/images.(*ImageService).PullImage').split('\n').slice(1).join('\n')}`
  const dead = countPullGoroutines([reader, reader, writer, asking].join('\n\n'))
  assert.deepEqual([dead.pulls, dead.asking, dead.askingMinutes, dead.mute], [1, 1, 6, 1])
  for (const own of [writer, writer.replace('newHTTP2Client.func3', 'NewHTTP2Client.func6')]) {
    const well = countPullGoroutines([reader, own, pulling].join('\n\n'))
    assert.deepEqual([well.pulls, well.asking, well.mute], [1, 0, 0])
  }
})

test('a goroutine with labels is one', () => {
  const labelled = pulling.replace(']:', '] {"route": "/images/create, 1 minutes"}:')
  const { pulls, pullMinutes } = countPullGoroutines(labelled)
  assert.deepEqual([pulls, pullMinutes], [1, 606])
})

test('what is no dump counts nothing', () => {
  const nothing = {
    ...{
      pulls: 0,
      pullMinutes: 0,
      unanswered: 0,
      unansweredMinutes: 0,
      waiting: 0,
      unpacking: 0,
      unpackingOfPulls: 0,
      downloading: 0,
      poisoned: 0,
      poisonedMinutes: 0,
    },
    ...{ asking: 0, askingMinutes: 0, mute: 0 },
  }
  assert.deepEqual(countPullGoroutines('<html>not found</html>'), nothing)
})
