import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countPullGoroutines } from './goroutines.ts'

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
  const idle = { poisoned: 0, asking: 0, askingMinutes: 0, mute: 0 }
  assert.deepEqual(found, { pulls: 1, pullMinutes: 606, unpacking: 1, downloading: 0, ...idle })
})

test('who waits in Transfer itself waits for an earlier transfer; the goroutines of a transfer do not', () => {
  assert.equal(countPullGoroutines([pulling, waiting, started].join('\n\n')).poisoned, 1)
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
  const well = countPullGoroutines([reader, writer, pulling].join('\n\n'))
  assert.deepEqual([well.pulls, well.asking, well.mute], [1, 0, 0])
})

test('what is no dump counts nothing', () => {
  const nothing = {
    ...{ pulls: 0, pullMinutes: 0, unpacking: 0, downloading: 0, poisoned: 0 },
    ...{ asking: 0, askingMinutes: 0, mute: 0 },
  }
  assert.deepEqual(countPullGoroutines('<html>not found</html>'), nothing)
})
