import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import type { FoundEngine } from './engines.ts'
import { countPullGoroutines } from './goroutines.ts'
import { describeLayer } from './layer-of-line.ts'
import type { LineWatch } from './sample.ts'

const dockerd = makeEngine(7)
const digest = `sha256:${'ab'.repeat(32)}`
const blob = (at: number) => `/data/tmp/GetImageBlob${at}`

/** A dockerd that has these files open, at these places; each hashes to `digest`. */
function dockerWith(positions: readonly number[]): FixtureHost {
  const links = positions.map((_, at) => [`/proc/7/fd/${10 + at}`, blob(at)])
  const files = positions.map((position, at) => [`/proc/7/fdinfo/${10 + at}`, `pos:\t${position}\nflags:\t0100002\n`])
  const host = new FixtureHost({ links: Object.fromEntries(links), files: Object.fromEntries(files) })
  Object.assign(host.disk, { digest: async (path: string) => (path === '/proc/7/fd/10' ? digest : undefined) })
  return host
}

/** A decompressor that has taken so many bytes. */
function lineAt(bytesIn: number, inputBytes: number, engine: FoundEngine = dockerd): LineWatch {
  const stage = { name: 'unpigz', kind: 'decompress', bytesIn, bytesOut: 0, units: 0, inputBytes } as const
  const looks = [{ sample: { timeMs: 0, stages: [stage] }, decompressor: [], untar: undefined, engine: undefined }]
  return { line: { engine, target: undefined }, looks } as unknown as LineWatch
}

async function layerOf(host: FixtureHost, lines: readonly LineWatch[], dump?: string) {
  const counts = dump === undefined ? undefined : countPullGoroutines(dump)
  const { signal } = new AbortController()
  const { evidence, facts } = await describeLayer(host, lines[0] ?? lineAt(0, 0), { lines, counts, signal })
  return { text: evidence.join('\n'), layer: facts['layer'], file: facts['layerFile'] }
}

test('the file that dockerd has read as far as the decompressor was handed is its layer', async () => {
  const { text, layer, file } = await layerOf(dockerWith([5_000_000]), [lineAt(4_900_000, 65_536)])
  assert.deepEqual([layer, file], [digest, blob(0)])
  assert.match(text, /layer sha256:(ab){32} \(abababababab\), from \/data\/tmp\/GetImageBlob0, of which .* 5,000,000/)
})

test('files that wait, or are read elsewhere, are not taken for it', async () => {
  assert.equal((await layerOf(dockerWith([0]), [lineAt(4_900_000, 65_536)])).layer, undefined)
  assert.equal((await layerOf(dockerWith([9_000_000]), [lineAt(4_900_000, 65_536)])).layer, undefined)
  assert.equal((await layerOf(dockerWith([5_000_000, 0, 9_000_000]), [lineAt(5_000_000, 0)])).layer, digest)
})

test('where several fit, none is named', async () => {
  const two = await layerOf(dockerWith([5_000_000, 5_010_000]), [lineAt(5_000_000, 0)])
  assert.deepEqual([two.layer, two.file], [undefined, undefined])
  assert.match(two.text, /cannot be known/)
  const shared = await layerOf(dockerWith([5_000_000]), [lineAt(5_000_000, 0), lineAt(5_000_000, 0)])
  assert.equal(shared.layer, undefined)
  assert.match(shared.text, /cannot be known/)
  const apart = await layerOf(dockerWith([5_000_000]), [lineAt(5_000_000, 0), lineAt(9_000_000, 0)])
  assert.equal(apart.layer, digest)
})

test('containerd calls the file by its digest; a shorter one than was handed is another', async () => {
  const containerd = makeEngine(7, { kind: 'containerd' })
  const path = `/data/io.containerd.content.v1.content/blobs/sha256/${'ab'.repeat(32)}`
  const host = (size: number) =>
    new FixtureHost({
      links: { '/proc/7/fd/12': path },
      files: { '/proc/7/fdinfo/12': 'pos:\t0\nflags:\t0100000\n', '/proc/7/fd/12': 'x'.repeat(size) },
    })
  assert.equal((await layerOf(host(300_000), [lineAt(200_000, 65_536, containerd)])).layer, digest)
  assert.equal((await layerOf(host(10), [lineAt(200_000, 65_536, containerd)])).layer, undefined)
})

const docker = 'github.com/docker/docker'
const frame = (name: string, count: number) => `${count} @ 0x1\n#\t0x1\t${docker}/${name}+0x1\t/f.go:1`
const waiting = frame('distribution/xfer.(*LayerDownloadManager).Download', 3)
const unpacking = (count: number) => frame('layer.(*layerStore).registerWithDescriptor', count)
const loading = frame('distribution.(*v2LayerDescriptor).Download', 1)
const dumpOf = (...blocks: string[]) => ['goroutine profile: total 9', ...blocks].join('\n\n')

test('all pulls wait for the one layer that is unpacked, as long as none is downloaded', async () => {
  const said = async (dump: string) => (await layerOf(dockerWith([5_000_000]), [lineAt(5_000_000, 0)], dump)).text
  assert.match(await said(dumpOf(waiting, unpacking(1))), /^3 pulls wait for it/m)
  assert.match(await said(dumpOf(waiting, unpacking(2))), /^3 pulls wait for layers, .* they do not tell$/m)
  assert.match(await said(dumpOf(waiting, unpacking(1), loading)), /^3 pulls wait for layers, /m)
  assert.doesNotMatch(await said(dumpOf(unpacking(1))), /wait for/)
})
