/** Into a containerd whose decompressors hang. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { readHostPlatform } from '../../src/copy/resolve.ts'
import { WindlassError } from '../../src/errors.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { parseDocument } from '../../src/oci/manifest.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { ContainerdClient } from '../../src/places/containerd/client.ts'
import { findContent, writeContent } from '../../src/places/containerd/content.ts'
import { findImage } from '../../src/places/containerd/images.ts'
import { openLease } from '../../src/places/containerd/leases.ts'
import { methods } from '../../src/places/containerd/messages.ts'
import { Snapshots } from '../../src/places/containerd/snapshots.ts'
import { openContainerdSource } from '../../src/places/containerd/source.ts'
import { noCredentials } from '../../src/places/registry/credentials.ts'
import { openRegistry } from '../../src/places/registry/registry.ts'
import { digestOf } from '../servers/push.ts'
import { run, waitUntil } from '../testbed/command.ts'
import { startContainerd, type TestContainerd } from '../testbed/containerd.ts'
import { Cri } from '../testbed/cri.ts'
import type { ImageName } from '../testbed/images.ts'
import { newestEngines } from '../testbed/newest.ts'
import { startProxy } from '../testbed/proxy.ts'
import { plantSpies, type Spies } from '../testbed/spies.ts'
import { imageFacts, openTestbed, type Testbed } from '../testbed/testbed.ts'
import { type Windlass, windlassFor } from '../testbed/windlass.ts'
import { assertSameTree, readTree } from '../tree.ts'
import { isImplied } from './allowances.ts'

let bed: Testbed
let healthy: TestContainerd
let broken: TestContainerd
let spies: Spies
let windlass: Windlass

before(async () => {
  bed = await openTestbed()
  healthy = await startContainerd(await bed.makeDirectory('containerd'))
  spies = await plantSpies(join(bed.root, '../spies'), ['unpigz', 'pigz', 'igzip'])
  broken = await startContainerd(await bed.makeDirectory('broken'), spies.directory)
  windlass = windlassFor(bed.root, { CONTAINERD_ADDRESS: broken.socket })
})
after(async () => {
  spies?.[Symbol.dispose]()
  await broken?.[Symbol.asyncDispose]()
  await healthy?.[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

async function pullInto(image: ImageName, into = 'containerd'): Promise<string> {
  const { status, stderr } = await windlass.try('pull', '--into', into, '--progress', 'plain', bed.refer(image))
  assert.equal(status, 0, stderr)
  return stderr
}

/** What containerd has, as far as it does not depend on when and how often it was told: the image, its content with labels, its snapshots. */
async function describe({ ctr }: TestContainerd, reference: string) {
  const lines = async (...args: string[]) => (await ctr(...args)).split('\n').slice(1)
  const fields = (line: string) => line.trim().split(/\s+/)
  const image = (await lines('images', 'ls', `name==${reference}`)).map(line => fields(line).slice(0, 3))
  const content = (await lines('content', 'ls')).map(line => {
    const [digest, size] = fields(line)
    return [digest, size, fields(line).at(-1)?.split(',').sort()]
  })
  const snapshots = (await lines('snapshots', 'ls')).map(fields)
  const check = (await lines('images', 'check', `name==${reference}`)).map(line => fields(line).slice(2, 5))
  return { image, content: content.sort(), snapshots: snapshots.sort(), check }
}

/** To delete a lease synchronously is to collect what nothing refers to. */
async function collect(namespace: string): Promise<void> {
  await broken.ctr('-n', namespace, 'leases', 'create', '--id', 'collect')
  await broken.ctr('-n', namespace, 'leases', 'delete', '--sync', 'collect')
}

/** containerd 1.6 has no flag for plain http on loopback but this. */
const pullByItself = ({ ctr }: TestContainerd, reference: string) => ctr('images', 'pull', '--plain-http', reference)

test('an image comes into containerd as if it had pulled it, and no decompressor is started', async () => {
  const reference = bed.refer('debian')
  await pullByItself(healthy, reference)
  await pullInto('debian')
  const [is, wanted] = [await describe(broken, reference), await describe(healthy, reference)]
  assert.deepEqual(is, wanted)
  assert.deepEqual(await spies.started(), [])
})

test('content that another windlass is writing, and perhaps never ends, is written beside it', async () => {
  const signal = AbortSignal.timeout(20_000)
  using client = new ContainerdClient({ socket: broken.socket, namespace: 'default' })
  const bytes = Buffer.from(`content of ${process.pid}`)
  const content = { digest: digestOf(bytes), size: bytes.length }
  const message = { ref: `windlass-${content.digest}`, total: content.size, expected: content.digest, offset: 0 }
  const labels = { 'containerd.io/gc.root': 'test' }
  {
    using held = client.openStream(methods.writeContent, { signal, doing: 'hold' })
    await held.ask({ ...message, action: 0 })
    await writeContent(client, content, () => Readable.from([bytes]), { labels, signal })
  }
  const found = await findContent(client, content.digest, signal)
  assert.deepEqual([Number(found?.size), found?.labels], [content.size, labels])
  await waitUntil('what was held is let go', 10_000, () =>
    client.call(methods.abortContent, { ref: message.ref }, { signal, doing: 'let go' }).then(
      () => true,
      () => false,
    ),
  )
})

test('a layer that somebody else commits meanwhile is the one that the next layer stands on', async () => {
  const signal = AbortSignal.timeout(60_000)
  using one = new ContainerdClient({ socket: broken.socket, namespace: 'race' })
  using other = new ContainerdClient({ socket: broken.socket, namespace: 'race' })
  await using _lease = await openLease(one, signal)
  await using _other = await openLease(other, signal)
  const chains = [1, 2, 3].map(n => digestOf(`chain ${n} of ${process.pid}`))
  const [base, middle, top] = chains as [Digest, Digest, Digest]
  const first = new Snapshots(one, 'overlayfs', signal)
  const second = new Snapshots(other, 'overlayfs', signal)
  const parents = [
    [base, undefined],
    [middle, base],
  ] as const
  for (const [chain, parent] of parents) {
    await using ours = await first.prepare(chain, parent)
    await using theirs = await second.prepare(chain, parent)
    for (const { directory } of [ours, theirs]) mkdirSync(join(directory, chain.slice(-8)), { mode: 0o710 })
    await theirs.commit()
    await ours.commit()
    await using above = await first.prepare(top, chain)
    const [nearest = ''] = above.lowerDirectories
    assert.equal(lstatSync(join(nearest, chain.slice(-8))).mode & 0o777, 0o710)
    assert.deepEqual(above.lowerDirectories, second.directoriesOf(chain))
  }
  assert.equal(first.directoriesOf(middle).length, 2)
})

test('what is in its snapshots is what is in the image', async () => {
  for (const image of ['debian', 'odd', 'repeats'] as const) {
    await pullInto(image)
    const target = await bed.makeDirectory(`mount-${image}`)
    await broken.ctr('images', 'mount', bed.refer(image), target)
    try {
      assertSameTree(readTree(target, imageFacts), await bed.readExpected(image), { ignore: isImplied })
    } finally {
      await broken.ctr('images', 'unmount', '--rm', target)
    }
  }
})

test('a container starts from it', async () => {
  await pullInto('debian')
  assert.equal(await broken.runIn(bed.refer('debian'), 'alive'), 'alive')
})

test('a second pull finds everything there, and another namespace takes over the content', async () => {
  await pullInto('debian')
  assert.match(await pullInto('debian'), /: Already exists/)
  await pullInto('debian', 'containerd:k8s.io')
  const names = await broken.ctr('-n', 'k8s.io', 'images', 'ls', '-q')
  assert.equal(names.split('\n').length, 3)
  assert.match(names, /^sha256:/m)
  assert.match(await broken.ctr('-n', 'k8s.io', 'images', 'check'), /complete \(\d+\/\d+\).*true/)
})

test('Kubernetes finds the image unpacked, under its tag and its digest', async () => {
  const directory = await bed.makeDirectory('kubernetes')
  await using containerd = await startContainerd(directory, spies.directory, newestEngines(), { hasCri: true })
  using cri = new Cri(containerd.socket)
  const reference = bed.refer('debian')
  assert.equal(await cri.findImage(reference), undefined)
  const kubernetes = windlassFor(bed.root, { CONTAINERD_ADDRESS: containerd.socket })
  await kubernetes.run('pull', '--into', 'containerd:k8s.io', reference)
  await waitUntil('the kubelet sees it', 10_000, async () => (await cri.findImage(reference)) !== undefined)
  const image = await cri.findImage(reference)
  assert.deepEqual(image?.repoTags, [reference])
  const [digest = ''] = image?.repoDigests ?? []
  assert.match(digest, /debian@sha256:[0-9a-f]{64}$/)
  assert.equal((await cri.findImage(digest))?.id, image?.id)
  assert.match(
    await containerd.ctr('-n', 'k8s.io', 'images', 'check', `name==${reference}`),
    /complete \(\d+\/\d+\).*true/,
  )
  // A kubelet that always pulls finds all of it, and nothing is left to decompress.
  assert.equal(await cri.pull(reference), image?.id)
  assert.deepEqual(await spies.started(), [])
  assert.equal(await containerd.runIn(reference, 'alive', 'k8s.io'), 'alive')
})

test('an image of an index, and one of zstd layers', async () => {
  for (const image of ['multi', 'debian-zstd'] as const) {
    await pullInto(image)
    assert.match(await broken.ctr('images', 'check', `name==${bed.refer(image)}`), /complete \(\d+\/\d+\).*true/)
  }
})

test('a platform of an index that is there stays when another one comes, and the index is labelled as by containerd itself', async () => {
  // A table, whose last line is given without the blanks at its end.
  const inNamespace = async (...words: string[]) => (await broken.ctr('-n', 'platforms', ...words)).split(/ *\n/).sort()
  const list = async () => [...(await inNamespace('content', 'ls', '-q')), ...(await inNamespace('snapshots', 'ls'))]
  const pull = (architecture: string) =>
    windlass.run('pull', '--platform', `linux/${architecture}`, '--into', 'containerd:platforms', bed.refer('multi'))
  await pull('amd64')
  const first = await list()
  await pull('arm64')
  await collect('platforms')
  const both = new Set(await list())
  assert.deepEqual(
    first.filter(line => !both.has(line)),
    [],
  )
  assert.ok(both.size > first.length)
  await pullByItself(healthy, bed.refer('multi'))
  const labels = async ({ ctr }: TestContainerd, ...words: string[]) => {
    const lines = (await ctr(...words, 'content', 'ls')).split('\n')
    return lines
      .find(line => /gc\.ref\.content\.m\./.test(line))
      ?.trim()
      .split(/\s+/)
      .at(-1)
      ?.split(',')
      .sort()
  }
  assert.deepEqual(await labels(broken, '-n', 'platforms'), await labels(healthy))
})

test('an image of containerd is a source like its registry', async () => {
  await pullInto('multi')
  const { signal } = new AbortController()
  const reference = parseReference(bed.refer('multi'))
  await using source = openContainerdSource({ socket: broken.socket, namespace: 'default' }, reference)
  await using registry = openRegistry(reference, { credentials: noCredentials })
  const top = await source.resolve({ tag: 'latest' }, signal)
  assert.deepEqual(top, await registry.resolve({ tag: 'latest' }, signal))
  const index = parseDocument(top.bytes)
  assert.ok(index.kind === 'index')
  const mine = index.manifests.find(({ platform }) => platform?.architecture === readHostPlatform().architecture)
  assert.ok(mine !== undefined)
  const manifest = await source.readDocument(mine, { sizeMax: 100_000, signal })
  const image = parseDocument(manifest.bytes)
  assert.ok(image.kind === 'manifest')
  const [layer] = image.layers
  assert.ok(layer !== undefined)
  const read = async (from: typeof source, offset: number) =>
    Buffer.concat(await Array.fromAsync((await from.openBlob(layer, { offset, signal })).bytes))
  for (const offset of [0, 100]) assert.deepEqual(await read(source, offset), await read(registry, offset))
  assert.equal((await read(source, layer.size)).length, 0)
  const layout = join(await bed.makeDirectory('layouts'), 'multi')
  const platform = `linux/${readHostPlatform().architecture}`
  await windlass.run('copy', '--platform', platform, `containerd:${bed.refer('multi')}`, `oci:${layout}:out`)
  assert.equal(await run('skopeo', ['inspect', '--raw', `oci:${layout}:out`]), Buffer.from(manifest.bytes).toString())
  await assert.rejects(source.resolve({ tag: 'never' }, signal), /Cannot find .*multi:never in containerd/)
})

test('a pull that is stopped leaves nothing in containerd, and the next one goes on where it stopped', async () => {
  await using proxy = await startProxy(bed.registry.host, 8 << 20)
  const fresh = windlassFor(join(bed.root, '../fresh'), { CONTAINERD_ADDRESS: broken.socket })
  const args = ['pull', '--into', 'containerd:stopped', `${proxy.host}/debian:latest`]
  const { child, result } = fresh.start(...args)
  await waitUntil('some of the image is here', 60_000, () => proxy.blobBytes() > 12 << 20)
  child.kill('SIGINT')
  assert.equal((await result).status, 130)
  const inNamespace = (...words: string[]) => broken.ctr('-n', 'stopped', ...words)
  assert.equal(await inNamespace('leases', 'ls', '-q'), '')
  assert.equal((await inNamespace('snapshots', 'ls')).split('\n').length, 1)
  assert.equal(await inNamespace('images', 'ls', '-q'), '')
  proxy.bytesPerSecond = Number.POSITIVE_INFINITY
  await fresh.run(...args)
  assert.ok(proxy.requests.some(({ range, status }) => /^bytes=[1-9]/.test(range ?? '') && status === 206))
  assert.match(await inNamespace('images', 'check'), /complete \(\d+\/\d+\).*true/)
})

test('what others have noted on an image and its content stays', async () => {
  const inNamespace = (...words: string[]) => broken.ctr('-n', 'labels', ...words)
  await pullInto('multi', 'containerd:labels')
  await inNamespace('images', 'label', bed.refer('multi'), 'io.cri-containerd.pinned=pinned')
  const digest = (await inNamespace('images', 'ls')).match(/sha256:\w+/)?.[0] ?? ''
  const source = 'containerd.io/distribution.source.127.0.0.1'
  await inNamespace('content', 'label', digest, `${source}=a/b,z`)
  await pullInto('multi', 'containerd:labels')
  assert.match(await inNamespace('images', 'ls'), /io\.cri-containerd\.pinned=pinned/)
  assert.ok((await inNamespace('content', 'ls')).includes(`${source}=a/b,multi,z`))
})

/** Stands for a docker that keeps its images in a namespace, of whatever it says where that is. */
async function startDockerOf(namespace: string) {
  const client = new ContainerdClient({ socket: broken.socket, namespace })
  const answer = async (path: string) => {
    if (path === '/_ping') return 'OK'
    if (path === '/info') return dockerInfo()
    const name = decodeURIComponent(/^\/images\/(.*)\/json$/.exec(path)?.[1] ?? '')
    const image = await findImage(client, name, AbortSignal.timeout(10_000))
    return image && { Id: image.target.digest, RepoTags: [name], RepoDigests: [], RootFS: { Layers: [] } }
  }
  const server = createHttpServer(async ({ url = '' }, response) => {
    const body = await answer(url.replace(/^\/v[\d.]+/, ''))
    response.writeHead(body === undefined ? 404 : 200, { 'api-version': '1.47' })
    response.end(typeof body === 'string' ? body : JSON.stringify(body ?? { message: 'no such image' }))
  })
  const path = `${broken.socket}-docker-${namespace}`
  await once(server.listen(path), 'listening')
  const { run, try: attempt } = windlassFor(bed.root, { DOCKER_HOST: `unix://${path}` })
  const close = () => {
    server.closeAllConnections()
    server.close()
    client[Symbol.dispose]()
  }
  return { run, try: attempt, [Symbol.dispose]: close }
}

function dockerInfo() {
  const Containerd = { Address: broken.socket, Namespaces: { Containers: 'moby' } }
  const DriverStatus = [['driver-type', 'io.containerd.snapshotter.v1']]
  return { ServerVersion: '28.5.2', Driver: 'overlayfs', DriverStatus, Containerd }
}

test('an image of docker that loses its last name to another one is kept as docker keeps it', async () => {
  using docker = await startDockerOf('moby')
  const ctr = (...words: string[]) => broken.ctr('-n', 'moby', ...words)
  const names = async () => (await ctr('images', 'ls', '-q')).split('\n').sort()
  const [multi, odd] = [bed.refer('multi'), bed.refer('odd')]
  await docker.run('pull', '--into', 'docker', multi)
  const digest = (await ctr('images', 'ls')).match(/sha256:\w+/)?.[0]
  await ctr('images', 'tag', multi, odd)
  await docker.run('pull', '--into', 'docker', odd)
  assert.deepEqual(await names(), [multi, odd], 'it has another name')
  await ctr('images', 'tag', '--force', multi, odd)
  await ctr('images', 'rm', multi)
  await docker.run('pull', '--into', 'docker', odd)
  assert.deepEqual(await names(), [odd, `moby-dangling@${digest}`].sort())
  await docker.run('pull', '--into', 'docker', multi)
  assert.deepEqual(await names(), [multi, odd], 'it has a name again')
})

test('a containerd that is not the one behind docker is not taken for it', async () => {
  using docker = await startDockerOf('not-moby')
  const args = ['pull', '--into', 'docker', '--route', 'containerd', bed.refer('multi')]
  const unseen = await docker.try(...args)
  assert.match(unseen.stderr, /docker at .* does not have it afterwards/)
  const path = `${broken.socket}-docker-beyond`
  const server = `require('http').createServer(({ url }, response) => {
    response.writeHead(200, { 'api-version': '1.47' }).end(url === '/_ping' ? 'OK' : ${JSON.stringify(JSON.stringify(dockerInfo()))})
  }).listen(process.argv[1])`
  const hide = 'mount --bind /dev/null "$0"; exec "$@"'
  const child = spawn('unshare', ['--mount', 'sh', '-ec', hide, broken.socket, process.execPath, '-e', server, path])
  try {
    await waitUntil('it listens', 10_000, async () => existsSync(path))
    const beyond = await windlassFor(bed.root, { DOCKER_HOST: `unix://${path}` }).try(...args)
    assert.match(beyond.stderr, /is another one here than for docker, process \d+, or none/)
    for (const { status } of [unseen, beyond]) assert.equal(status, new WindlassError('UNSUPPORTED', '').exitStatus)
  } finally {
    child.kill()
  }
})

/** Pulls an image that lacks its uppermost layer, and does something when the others were found, and this one is on its way. */
async function pullTopWhile(namespace: string, meanwhile: () => Promise<unknown>) {
  await pullInto('debian', `containerd:${namespace}`)
  const lines = (await broken.ctr('-n', namespace, 'snapshots', 'ls')).split('\n').slice(1)
  const pairs = lines.map(line => line.split(/\s+/))
  const [top = '', below = ''] = pairs.find(([chain]) => !pairs.some(([, parent]) => parent === chain)) ?? []
  const label = (value: string) =>
    broken.ctr('-n', namespace, 'snapshots', 'label', below, `containerd.io/gc.root=${value}`)
  await label('kept')
  await broken.ctr('-n', namespace, 'snapshots', 'rm', top)
  await using proxy = await startProxy(bed.registry.host, 4000)
  const fresh = windlassFor(join(bed.root, `../${namespace}`), { CONTAINERD_ADDRESS: broken.socket })
  const { result } = fresh.start('pull', '--into', `containerd:${namespace}`, `${proxy.host}/debian:latest`)
  const isOnTheWay = () => proxy.requests.some(({ path, bytes }) => path.includes('/blobs/') && bytes > 10_000)
  await waitUntil('the layer is on its way', 60_000, isOnTheWay)
  await label('')
  await meanwhile()
  proxy.bytesPerSecond = Number.POSITIVE_INFINITY
  proxy.cut()
  return await result
}

test('what an image shares with one that is removed while it comes is still there afterwards', async () => {
  const remove = () => broken.ctr('-n', 'shared', 'images', 'rm', '--sync', bed.refer('debian'))
  const { status, stderr } = await pullTopWhile('shared', remove)
  assert.equal(status, 0, stderr)
  assert.equal(stderr.match(/Already exists/g)?.length, 2, stderr)
  await collect('shared')
  assert.match(await broken.ctr('-n', 'shared', 'images', 'check'), /complete \(\d+\/\d+\).*true/)
})

test('an image gets no name when something that was found is removed by hand while it comes', async () => {
  const { ctr } = broken
  let base = ''
  const { status, stderr } = await pullTopWhile('gone', async () => {
    const manifest = (await ctr('-n', 'gone', 'images', 'ls')).match(/sha256:\w+/)?.[0] ?? ''
    base = JSON.parse(await ctr('-n', 'gone', 'content', 'get', manifest)).layers[0].digest
    await ctr('-n', 'gone', 'content', 'rm', base)
  })
  assert.match(stderr, new RegExp(`Cannot name the image in containerd .*: ${base} is not there any more`))
  assert.equal(status, new WindlassError('FAILED', '').exitStatus)
  assert.equal(await ctr('-n', 'gone', 'images', 'ls', '-q'), bed.refer('debian'))
})

test('a containerd with other mounts is refused before anything is written where its paths lead here', async () => {
  const outside = await bed.makeDirectory('elsewhere')
  const inside = await bed.makeDirectory('elsewhere-inside')
  const enter = ['unshare', '--mount', 'sh', '-ec', `mount --bind ${inside} ${outside}; exec "$@"`, 'sh']
  const victims = Array.from({ length: 30 }, (_, id) =>
    join(outside, `root/io.containerd.snapshotter.v1.overlayfs/snapshots/${id}/fs`),
  )
  for (const victim of victims) mkdirSync(victim, { recursive: true })
  const old = setTimeout(2000)
  await using containerd = await startContainerd(outside, undefined, enter)
  await using passing = await passOn(containerd.socket)
  const pullInto = (CONTAINERD_ADDRESS: string) =>
    windlassFor(bed.root, { CONTAINERD_ADDRESS }).try('pull', '--into', 'containerd', bed.refer('multi'))
  const seen = await pullInto(containerd.socket)
  assert.match(seen.stderr, /\/fs is another directory here than for its process \d+/)
  assert.match(seen.stderr, /same mount namespace/)
  await old
  const aged = await pullInto(passing.socket)
  assert.match(aged.stderr, /\/fs, which was to be made just now, is older than that here/)
  for (const victim of victims) writeFileSync(join(victim, 'mine'), '')
  const filled = await pullInto(passing.socket)
  assert.match(filled.stderr, /\/fs, which was to be made just now, is not empty here/)
  for (const { status } of [seen, aged, filled]) assert.equal(status, new WindlassError('UNSUPPORTED', '').exitStatus)
  for (const victim of victims) assert.deepEqual(readdirSync(victim), ['mine'])
})

/** Who connects to this socket sees us, and not whom it is passed on to. */
async function passOn(socket: string) {
  const server = createServer(client => {
    const beyond = connect(socket)
    client.on('error', () => beyond.destroy()).pipe(beyond)
    beyond.on('error', () => client.destroy()).pipe(client)
  })
  const path = `${socket}-passed-on`
  await once(server.listen(path), 'listening')
  return { socket: path, [Symbol.asyncDispose]: async () => void server.close() }
}

test('nothing is left that nobody refers to', async () => {
  assert.equal(await broken.ctr('leases', 'ls', '-q'), '')
  assert.doesNotMatch(await broken.ctr('snapshots', 'ls'), /windlass|Active/)
  assert.equal(await broken.ctr('content', 'active'), 'REF\tSIZE\tAGE')
})

test('an image comes into a containerd whose own pull hangs on its decompressor', async () => {
  const args = ['-a', broken.socket, 'images', 'pull', '--plain-http', bed.refer('sparse')]
  const pull = spawn('ctr', args, { stdio: 'ignore' })
  try {
    await waitUntil('the pull hangs', 30_000, async () => (await spies.started()).length > 0)
    const before = (await spies.started()).length
    const stderr = await pullInto('sparse')
    assert.match(stderr, /a pull of the engine's own hangs and will go on to hang\. containerd \d+ /)
    assert.equal((await spies.started()).length, before)
    assert.equal(pull.exitCode, null, 'the pull that hangs was to hang on')
  } finally {
    pull.kill()
    spies[Symbol.dispose]()
  }
})
