/** Into a dockerd whose decompressor hangs, before and after a pull of its own has got stuck on it. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { isWindlassError } from '../../src/errors.ts'
import { mediaTypes } from '../../src/oci/media-types.ts'
import { writeArchive } from '../../src/places/archive/docker-writer.ts'
import { DockerClient } from '../../src/places/docker/client.ts'
import { loadArchive, saveImage } from '../../src/places/docker/images.ts'
import { startDockerRegistry } from '../servers/docker-registry.ts'
import { descriptorOf, digestOf, pushBlob, pushManifest } from '../servers/push.ts'
import { run, waitUntil } from '../testbed/command.ts'
import { startDocker, type TestDocker } from '../testbed/dockerd.ts'
import type { ImageName } from '../testbed/images.ts'
import { plantSpies, type Spies } from '../testbed/spies.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { type Windlass, windlassFor } from '../testbed/windlass.ts'

let bed: Testbed
let healthy: TestDocker
let broken: TestDocker
let spies: Spies
let windlass: Windlass

before(async () => {
  bed = await openTestbed()
  healthy = await startDocker(await bed.makeDirectory('docker'))
  spies = await plantSpies(join(bed.root, '../spies'), ['unpigz', 'pigz', 'igzip'])
  broken = await startDocker(await bed.makeDirectory('broken'), spies.directory)
  windlass = windlassFor(bed.root, { DOCKER_HOST: `unix://${broken.socket}` })
})
after(async () => {
  spies?.[Symbol.dispose]()
  await broken?.[Symbol.asyncDispose]()
  await healthy?.[Symbol.asyncDispose]()
  await bed?.[Symbol.asyncDispose]()
})

/** What a daemon says of an image under one name; the same image may have others. */
async function inspect({ docker }: TestDocker, reference: string) {
  const [image] = JSON.parse(await docker(['image', 'inspect', reference]))
  const { Id, RepoTags, RepoDigests, RootFS, Config, Architecture } = image
  const repository = reference.replace(/:latest$/, '')
  const ofName = (names: string[]) => names.filter(name => /[:@]/.test(name.charAt(repository.length)))
  const names = { tags: ofName(RepoTags), digests: ofName(RepoDigests) }
  assert.ok(names.tags.length > 0 && names.digests.length > 0)
  return { Id, ...names, RootFS, Config, Architecture }
}

async function assertLikeOwnPull(image: ImageName, ...args: string[]): Promise<string> {
  const reference = bed.refer(image)
  await healthy.docker(['pull', '-q', reference])
  const wanted = await inspect(healthy, reference)
  const { status, stdout, stderr } = await windlass.try('pull', '--into', 'docker', ...args, reference)
  assert.equal(status, 0, stderr)
  assert.match(stdout, new RegExp(`^${reference}@sha256:[0-9a-f]{64}\n$`))
  assert.deepEqual(await inspect(broken, reference), wanted)
  return stderr
}

test('an image comes into docker as if it had pulled it, and no decompressor is started', async () => {
  await assertLikeOwnPull('debian')
  assert.deepEqual(await spies.started(), [])
  assert.equal(await broken.docker(['run', '--rm', '--network', 'none', bed.refer('debian'), 'echo', 'alive']), 'alive')
})

test('an image that docker has under another name gets this one, too, and nothing is sent', async () => {
  const stderr = await assertLikeOwnPull('debian-plain', '--progress', 'plain')
  assert.match(stderr, /, 0 layers sent, with the digest/)
})

test('a layer that docker has is neither fetched nor sent again', async () => {
  await broken.docker(['rmi', '-f', await broken.docker(['image', 'inspect', '-f', '{{.Id}}', bed.refer('debian')])])
  const [base = ''] = await bed.images.tarsOf('debian')
  await broken.docker(['import', base, 'base'])
  const stderr = await assertLikeOwnPull('debian', '--progress', 'plain')
  assert.match(stderr, /Delivering into docker at .* by docker load, 2 of 3 layers as plain tars/)
  assert.match(stderr, /: Already exists\n/)
})

test('an image of an index comes with the digest of the index', async () => {
  await assertLikeOwnPull('multi')
})

test('a digest does not lead to another image of the index, which docker would have chosen', {
  skip: process.arch !== 'x64' && 'wants the levels of amd64',
}, async () => {
  await using registry = await startDockerRegistry()
  const path = 'twofold'
  const accept = `${mediaTypes.dockerManifest}, ${mediaTypes.ociManifest}`
  await windlass.run('copy', '-q', `docker://${bed.refer('debian')}`, `docker://${registry.host}/${path}:1`)
  const get = async (name: string): Promise<Buffer> => {
    const answer = await fetch(`${registry.url}/v2/${path}/${name}`, { headers: { accept } })
    return Buffer.from(await answer.arrayBuffer())
  }
  const bytes = await get('manifests/1')
  const manifest = JSON.parse(String(bytes))
  const document = JSON.parse(String(await get(`blobs/${manifest.config.digest}`)))
  const text = JSON.stringify({ ...document, config: { ...document.config, Cmd: ['other'] } })
  const config = { ...(await pushBlob(registry.url, path, text)), mediaType: manifest.config.mediaType }
  const name = (reference: string, mediaType: string) => ({ path, reference, mediaType })
  // Plain, as windlass gave them to docker: it has them under these digests, and fetches none.
  const layers = []
  for (const tar of await bed.images.tarsOf('debian')) {
    const layer = await pushBlob(registry.url, path, await readFile(tar))
    layers.push({ ...layer, mediaType: manifest.layers[0].mediaType })
  }
  const other = { ...manifest, config, layers }
  await pushManifest(registry.url, name('other', manifest.mediaType), other)
  const platform = { os: 'linux', architecture: 'amd64' }
  const manifests = [
    { ...descriptorOf(bytes, manifest.mediaType), platform: { ...platform, variant: 'v2' } },
    { ...descriptorOf(JSON.stringify(other), manifest.mediaType), platform },
  ]
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }
  const { digest } = await pushManifest(registry.url, name('both', mediaTypes.ociIndex), index)
  const { status, stderr } = await windlass.try('pull', '--into', 'docker', `${registry.host}/${path}:both`)
  assert.equal(status, 0, stderr)
  assert.match(stderr, /docker chose another image of the index/)
  const idOf = (reference: string) => broken.docker(['image', 'inspect', '-f', '{{.Id}}', reference])
  assert.equal(await idOf(`${registry.host}/${path}:both`), manifest.config.digest)
  await assert.rejects(idOf(`${registry.host}/${path}@${digest}`))
})

test('an archive that leaves out a layer which docker has not is refused, and nothing of it stays', async () => {
  const { signal } = new AbortController()
  using client = await DockerClient.connect({ kind: 'unix', path: broken.socket }, { env: {}, signal })
  const list = async () => (await broken.docker(['images', '-aq'])).split('\n').sort()
  const before = await list()
  const diffId = digestOf('a layer that nobody has')
  const config = Buffer.from(
    JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [diffId] } }),
  )
  const archive = writeArchive({
    config: { digest: digestOf(config), bytes: config },
    layers: [{ diffId, ready: Promise.resolve({ diffId }) }],
    names: ['never:was'],
  })
  await assert.rejects(
    loadArchive(client, archive, { signal }),
    error => isWindlassError(error, 'FAILED') && error.facts['engine'] === 'docker',
  )
  assert.deepEqual(await list(), before)
})

test('an image leaves one docker for another as a stream', async () => {
  const name = bed.refer('debian')
  const { Id } = await inspect(broken, name)
  await healthy.docker(['rmi', '-f', Id])
  const { signal } = new AbortController()
  const connect = ({ socket: path }: TestDocker) => DockerClient.connect({ kind: 'unix', path }, { env: {}, signal })
  using from = await connect(broken)
  using to = await connect(healthy)
  await loadArchive(to, await saveImage(from, name, signal), { signal })
  assert.equal((await healthy.docker(['image', 'inspect', '-f', '{{.Id}}', name])).trim(), Id)
  await assert.rejects(
    saveImage(from, 'never:was', signal),
    /Cannot save never:was from docker at .*: there is no such image/,
  )
})

test('an image leaves docker for an archive, by name and by ID', async () => {
  const { Id } = await inspect(broken, bed.refer('debian'))
  for (const name of [bed.refer('debian'), Id]) {
    const archive = join(await bed.makeDirectory('archives'), `${name.replace(/\W/g, '-')}.tar`)
    await windlass.run('copy', `docker-daemon:${name}`, `oci-archive:${archive}:out`)
    const manifest = JSON.parse(await run('skopeo', ['inspect', '--raw', `oci-archive:${archive}:out`]))
    assert.equal(manifest.config.digest, Id)
  }
})

test('an image comes into a docker whose own pull hangs on its decompressor', async () => {
  const pull = spawn('docker', ['-H', `unix://${broken.socket}`, 'pull', '-q', bed.refer('odd')], { stdio: 'ignore' })
  try {
    await waitUntil('the pull hangs', 30_000, async () => (await spies.started()).length > 0)
    const before = (await spies.started()).length
    const stderr = await assertLikeOwnPull('odd')
    assert.match(stderr, /a pull of the engine's own hangs and will go on to hang\. dockerd \d+ /)
    await broken.docker(['rmi', '-f', bed.refer('odd')])
    await assertLikeOwnPull('odd', '--route', 'load')
    assert.equal((await spies.started()).length, before)
    assert.equal(pull.exitCode, null, 'the pull that hangs was to hang on')
  } finally {
    pull.kill()
  }
})

test('a route that this docker does not have is refused before anything is downloaded', async () => {
  const { status, stderr } = await windlass.try('pull', '--into', 'docker', '--route', 'containerd', bed.refer('odd'))
  assert.equal(status, 1, stderr)
  assert.match(stderr, /Cannot use route containerd: docker at .* does not keep its images in one/)
})

test('a docker that cannot reach our loopback is served by docker load', async () => {
  const directory = await bed.makeDirectory('elsewhere')
  await using far = await startDocker(directory, spies.directory, ['unshare', '--net'])
  const env = { DOCKER_HOST: `unix://${far.socket}` }
  const pullInto = (...args: string[]) =>
    windlassFor(bed.root, env).try('pull', '--into', 'docker', '--progress', 'plain', ...args, bed.refer('multi'))
  const named = await pullInto('--route', 'registry')
  assert.equal(named.status, 1, named.stderr)
  const { status, stderr } = await pullInto()
  assert.equal(status, 0, stderr)
  assert.match(stderr, /; going on with docker load/)
  assert.match(stderr, /the image is in docker under its name, but not under its digest/)
  assert.match(await far.docker(['images', '-q', bed.refer('multi')]), /^[0-9a-f]{12}$/)
})
